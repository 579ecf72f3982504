//! What a tool call is about, in one line: the part of its input that a person would look for.

use serde_json::Value;

use crate::sanitize;

/// The longest summary, in characters.
const WIDTH: usize = 110;

/// The field of a tool's input that says what it is about, for the tools that we know.
const TELLING: &[(&str, &[&str])] = &[
    ("Bash", &["command"]),
    ("BashOutput", &["bash_id"]),
    ("Edit", &["file_path"]),
    ("Glob", &["pattern"]),
    ("Grep", &["pattern"]),
    ("LS", &["path"]),
    ("MultiEdit", &["file_path"]),
    ("NotebookEdit", &["notebook_path"]),
    ("Read", &["file_path"]),
    ("Skill", &["skill"]),
    ("Task", &["description"]),
    ("WebFetch", &["url"]),
    ("WebSearch", &["query"]),
    ("Write", &["file_path"]),
];

/// Summarises a call's input; empty when there is nothing to say.
pub(super) fn summary(tool: &str, input: &Value) -> String {
    let fields = TELLING.iter().find(|(known, _)| *known == tool).map_or(
        &["command", "file_path", "path", "query", "url", "description"][..],
        |(_, fields)| fields,
    );
    let text = fields
        .iter()
        .find_map(|field| input.get(field).and_then(Value::as_str))
        .map_or_else(|| whole(input), str::to_owned);
    let text = text.strip_prefix("/workspace/").unwrap_or(&text);
    sanitize::shorten(&sanitize::one_line(text), WIDTH).into_owned()
}

fn whole(input: &Value) -> String {
    match input {
        Value::Null => String::new(),
        Value::Object(fields) if fields.is_empty() => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_telling_field_is_shown() {
        assert_eq!(
            summary("Bash", &json!({"command": "ls\n-la", "timeout": 5})),
            "ls -la"
        );
        assert_eq!(
            summary(
                "Edit",
                &json!({"file_path": "/workspace/a.py", "old_string": "x"})
            ),
            "a.py"
        );
        assert_eq!(summary("mcp__x__y", &json!({"query": "q"})), "q");
        assert_eq!(summary("Unknown", &json!({"k": 1})), r#"{"k":1}"#);
        assert_eq!(summary("Unknown", &json!({})), "");
        assert_eq!(summary("Bash", &json!("\u{1b}[2J")), "\\u{1b}[2J");
    }
}
