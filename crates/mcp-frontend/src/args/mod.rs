//! Arguments of tools: from JSON to typed values, with refusals that name the place and never repeat a secret.
//!
//! Arguments that a tool does not know are ignored, because existing clients send some of their own, and named in the
//! result's `warnings`, because a misspelt argument must not go unnoticed.

mod budget;
mod number;
mod quantity;
mod secret;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use session_core::id::{ImageRef, SessionId};

pub(crate) use self::budget::{Minutes, Usd};
pub(crate) use self::number::{Count, Seconds};
pub(crate) use self::quantity::{Cpus, Size};
pub(crate) use self::secret::Secret;
use crate::failure::Failure;
use crate::text::one_line;

/// How much of a message about a wrong value is passed on: it may repeat the value.
const SHOWN: usize = 240;

/// Reads a tool's arguments.
pub(crate) fn read<T: DeserializeOwned>(arguments: Map<String, Value>) -> Result<T, Failure> {
    serde_path_to_error::deserialize(Value::Object(arguments)).map_err(|error| {
        let path = error.path().to_string();
        let place = if path == "." {
            String::new()
        } else {
            format!("{}: ", one_line(&path, 80))
        };
        Failure::invalid(
            format!("{place}{}", one_line(&error.into_inner().to_string(), SHOWN)),
            "see the tool's input schema",
        )
    })
}

/// One sentence for each argument that the tool does not know, with the name that was probably meant.
pub(crate) fn unknown(arguments: &Map<String, Value>, schema: &Map<String, Value>) -> Vec<String> {
    const MENTIONED: usize = 8;
    let Some(Value::Object(known)) = schema.get("properties") else {
        return Vec::new();
    };
    arguments
        .keys()
        .filter(|name| !known.contains_key(*name))
        .take(MENTIONED)
        .map(|name| {
            let shown = one_line(name, 60);
            match known.keys().find(|other| is_close(name, other)) {
                Some(meant) => {
                    format!("the argument `{shown}` is not known and was ignored; did you mean `{meant}`?")
                }
                None => format!("the argument `{shown}` is not known and was ignored"),
            }
        })
        .collect()
}

/// Same letters in another style, a part of the other, or almost the same spelling.
fn is_close(given: &str, known: &str) -> bool {
    let plain = |text: &str| -> String {
        text.chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .take(64)
            .collect()
    };
    let (given, known) = (plain(given), plain(known));
    let long = given.len() >= 4;
    given == known
        || (long && (known.starts_with(&given) || given.starts_with(&known) || distance(&given, &known) <= 2))
}

/// Levenshtein's distance.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let change = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

/// Reads a session's id. What is no id at all is refused apart from an id that nobody has.
pub(crate) fn session_id(text: &str) -> Result<SessionId, Failure> {
    text.trim().parse().map_err(|_| {
        Failure::invalid(
            format!("sessionId: `{}` is not the id of a session", one_line(text, 60)),
            "use an id as create_session and list_sessions give it",
        )
    })
}

/// Reads an image's name.
pub(crate) fn image(text: Option<&str>) -> Result<Option<ImageRef>, Failure> {
    Ok(given(text).map(str::parse).transpose()?)
}

/// Some clients send an empty text for what they leave out.
pub(crate) fn given(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    #[expect(dead_code, reason = "only reading it is tested")]
    struct Sample {
        session_id: String,
        #[serde(default)]
        mounts: Vec<Mount>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    #[expect(dead_code, reason = "only reading it is tested")]
    struct Mount {
        read_only: bool,
    }

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn wrong_types_name_their_place() {
        let error =
            read::<Sample>(map(json!({"sessionId": "x", "mounts": [{"readOnly": "yes"}]}))).unwrap_err();
        assert!(
            error
                .text()
                .starts_with("invalid_argument: mounts[0].readOnly: invalid type"),
            "{}",
            error.text()
        );
        let error = read::<Sample>(map(json!({}))).unwrap_err();
        assert!(
            error.text().contains("missing field `sessionId`"),
            "{}",
            error.text()
        );
    }

    #[test]
    fn a_wrong_value_of_any_size_is_not_repeated_whole() {
        let error =
            read::<Sample>(map(json!({"sessionId": "x", "mounts": "y".repeat(1 << 20)}))).unwrap_err();
        assert!(error.text().len() < 500);
    }

    #[test]
    fn misspelt_arguments_are_pointed_out() {
        let schema = map(json!({"properties": {"timeoutSeconds": {}, "sessionId": {}}}));
        let told = unknown(
            &map(json!({"timeout": 1, "session_id": 1, "sesionId": 1, "zzz": 1})),
            &schema,
        );
        assert_eq!(told.len(), 4);
        assert!(
            told.iter().filter(|line| line.contains("`sessionId`?")).count() == 2,
            "{told:?}"
        );
        assert!(
            told.iter().any(|line| line.contains("`timeoutSeconds`?")),
            "{told:?}"
        );
        assert!(told.iter().any(|line| line.ends_with("was ignored")), "{told:?}");
    }
}
