//! What of a tool is approved, and how two versions of it differ.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest::Digest;

/// What an agent's model sees of a tool, or an agent goes by. The first is the most telling one.
const FACE: &[(&str, Option<Change>)] = &[
    ("name", None),
    ("inputSchema", Some(Change::Schema)),
    ("description", Some(Change::Description)),
    ("annotations", Some(Change::Annotations)),
    ("outputSchema", Some(Change::OutputSchema)),
    ("title", Some(Change::Title)),
];

/// Why a tool is held. Of several changes, the one that stands first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Change {
    /// Nobody has approved anything of this name.
    New,
    /// What it takes.
    Schema,
    /// What it says about itself.
    Description,
    /// What it says about its effects.
    Annotations,
    /// What it gives.
    OutputSchema,
    /// What people see as its name.
    Title,
    /// Another tool of the server has the same name. Cannot be approved.
    Duplicate,
    /// It has no name. Cannot be approved.
    Malformed,
}

/// The content address of what is approved of a tool: its name, title, description, schemas and annotations. What is null
/// counts as left out.
pub fn tool_digest(tool: &Value) -> Digest {
    Digest::of(&Value::Object(face(tool)))
}

/// The part of a tool that is approved.
pub(super) fn face(tool: &Value) -> Map<String, Value> {
    let part = |(field, _): &(&str, _)| match tool.get(*field) {
        None | Some(Value::Null) => None,
        Some(value) => Some(((*field).to_owned(), value.clone())),
    };
    FACE.iter().filter_map(part).collect()
}

pub(super) fn change_between(before: &Value, after: &Value) -> Change {
    let part = |tool: &Value, field: &str| tool.get(field).filter(|value| !value.is_null()).map(Digest::of);
    let differs = |field: &str| part(before, field) != part(after, field);
    FACE.iter()
        .find_map(|(field, change)| change.filter(|_| differs(field)))
        .unwrap_or(Change::New)
}
