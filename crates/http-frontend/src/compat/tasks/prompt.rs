//! The prompt of a task: its description and its context. Taken apart again from what the store has of it, so that
//! neither is kept twice.

use serde_json::Value;

use crate::compat::request::Execute;

const BETWEEN: &str = "\n\nContext:\n";

/// The prompt.
pub(in crate::compat) fn of(asked: &Execute) -> String {
    together(&asked.task_description, &asked.context)
}

pub(super) fn together(description: &str, context: &Value) -> String {
    match context {
        Value::Null => description.to_owned(),
        Value::String(text) => format!("{description}{BETWEEN}{text}"),
        other => format!("{description}{BETWEEN}{other}"),
    }
}

/// How to take it apart, as a label.
pub(super) fn label(description: &str, context: &Value) -> String {
    let kind = match context {
        Value::Null => "none",
        Value::String(_) => "text",
        _ => "json",
    };
    format!("{kind}:{}", description.len())
}

/// Description and context; the whole prompt is the description when the label is not ours.
pub(super) fn apart(label: &str, prompt: &str) -> (String, Value) {
    let split = || {
        let (kind, length) = label.split_once(':')?;
        let (description, rest) = prompt.split_at_checked(length.parse().ok()?)?;
        let context = match (kind, rest.strip_prefix(BETWEEN)) {
            ("text", Some(text)) => Value::String(text.to_owned()),
            ("json", Some(text)) => serde_json::from_str(text).ok()?,
            ("none", None) => Value::Null,
            _ => return None,
        };
        Some((description.to_owned(), context))
    };
    split().unwrap_or_else(|| (prompt.to_owned(), Value::Null))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_put_together_comes_apart() {
        let description = "Fix it\n\nContext:\nof the bug, ä";
        for context in [
            json!(null),
            json!("plain\n\nContext:\ntext"),
            json!({"a": [1, 2]}),
            json!(false),
        ] {
            let prompt = together(description, &context);
            let label = label(description, &context);
            assert_eq!(apart(&label, &prompt), (description.to_owned(), context));
        }
    }

    #[test]
    fn a_label_of_somebody_else_breaks_nothing() {
        for label in [
            "",
            "json:3",
            "text:999999999999999999999",
            "none:1",
            "json:-1",
            "text:1",
        ] {
            assert_eq!(apart(label, "äbc").0, "äbc", "{label}");
        }
    }
}
