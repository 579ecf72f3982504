//! One entry into a file with others, comments and habits of its own.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstObject, CstObjectProp, CstRootNode};
use serde_json::Value;
use session_core::error::{Error, ErrorKind, Result};

use super::{ClientKind, ServerEntry, client_config};

const OPERATION: &str = "add the server to the client's file";

/// The client's file with this server in it. In an entry of the same name only what says how the server is started is
/// brought in line, and nothing when it says that already: clients and people add fields of their own. Everything else
/// stays as it is, comments included. An empty file becomes the snippet.
///
/// # Errors
/// `InvalidArgument` for what is not JSON (with comments) or has something else where servers are listed; then nothing
/// should be written.
pub fn merge(kind: ClientKind, existing: &str, server: &ServerEntry) -> Result<String> {
    if existing.trim_start_matches('\u{feff}').trim().is_empty() {
        return Ok(client_config(kind, server));
    }
    let root = CstRootNode::parse(existing, &ParseOptions::default()).map_err(|source| {
        refused("the file is not JSON")
            .with_hint("repair it, or add the snippet by hand")
            .with_source(source)
    })?;
    let file = root.object_value_or_create().ok_or_else(|| {
        refused("the file holds something else than an object").with_hint("add the snippet by hand")
    })?;
    let servers = file.object_value_or_create(kind.key()).ok_or_else(|| {
        refused("the file lists its servers in a form that is not known")
            .with_context("key", kind.key())
            .with_hint("add the snippet by hand")
    })?;
    let fields = server.fields(kind);
    match servers.get(&server.name) {
        Some(known) => match known.object_value().filter(starts_a_program) {
            Some(entry) => bring_in_line(&entry, fields),
            None => known.set_value(object(fields)),
        },
        None => {
            servers.append(&server.name, object(fields));
        }
    }
    Ok(root.to_string())
}

/// One that is reached over the network has fields that would contradict ours.
fn starts_a_program(entry: &CstObject) -> bool {
    entry.get("url").is_none()
}

fn bring_in_line(entry: &CstObject, fields: Vec<(&'static str, Value)>) {
    for (name, value) in fields {
        match entry.get(name) {
            Some(known) if says(&known, &value) => {}
            Some(known) => known.set_value(input(value)),
            None => {
                entry.append(name, input(value));
            }
        }
    }
}

/// A value with comments in it counts as another one.
fn says(known: &CstObjectProp, value: &Value) -> bool {
    let text = known.value().map(|node| node.to_string());
    text.is_some_and(|text| serde_json::from_str::<Value>(&text).is_ok_and(|said| said == *value))
}

fn object(fields: Vec<(&'static str, Value)>) -> CstInputValue {
    let fields = fields.into_iter();
    CstInputValue::Object(
        fields
            .map(|(name, value)| (name.to_owned(), input(value)))
            .collect(),
    )
}

fn refused(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidArgument, OPERATION, message)
}

fn input(value: Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(value) => CstInputValue::Bool(value),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text),
        Value::Array(items) => CstInputValue::Array(items.into_iter().map(input).collect()),
        Value::Object(fields) => CstInputValue::Object(
            fields
                .into_iter()
                .map(|(name, value)| (name, input(value)))
                .collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> ServerEntry {
        ServerEntry::new("/opt/cofferdam-mcp")
    }

    fn parsed(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn other_entries_comments_and_order_stay() {
        let existing = "{\n  // mine\n  \"zeta\": 1,\n  \"servers\": {\n    \"other\": { \"command\": \"x\" }, // keep\n  },\n  \"alpha\": 2\n}\n";
        let merged = merge(ClientKind::VsCode, existing, &server()).unwrap();
        insta::assert_snapshot!(merged);
    }

    #[test]
    fn an_entry_of_the_same_name_is_brought_in_line() {
        let once = merge(
            ClientKind::Cursor,
            r#"{"mcpServers": {"cofferdam": {"command": "old"}, "b": {}}}"#,
            &server(),
        )
        .unwrap();
        assert_eq!(
            parsed(&once)["mcpServers"]["cofferdam"]["command"],
            "/opt/cofferdam-mcp"
        );
        assert_eq!(parsed(&once)["mcpServers"]["b"], serde_json::json!({}));
        assert_eq!(
            merge(ClientKind::Cursor, &once, &server()).unwrap(),
            once,
            "merging twice changes nothing"
        );
    }

    #[test]
    fn what_clients_and_people_add_to_the_entry_stays() {
        let theirs = r#"{"mcpServers":{"cofferdam":{"args" : [],"command":"/opt/cofferdam-mcp","type":"stdio","env":{"A":"b"}}}}"#;
        assert_eq!(
            merge(ClientKind::ClaudeCode, theirs, &server()).unwrap(),
            theirs,
            "another form of the same is the same"
        );
        let moved = theirs.replace("/opt/", "/old/");
        let merged = merge(ClientKind::ClaudeCode, &moved, &server()).unwrap();
        assert_eq!(parsed(&merged), parsed(theirs));
        let remote =
            r#"{"mcpServers":{"cofferdam":{"type":"http","url":"http://127.0.0.1:3001/mcp","headers":{}}}}"#;
        let merged = merge(ClientKind::ClaudeCode, remote, &server()).unwrap();
        let snippet = parsed(&client_config(ClientKind::ClaudeCode, &server()));
        assert_eq!(parsed(&merged), snippet, "one that contradicts it is replaced");
    }

    #[test]
    fn a_file_without_servers_gets_some() {
        let merged = merge(ClientKind::ClaudeCode, r#"{"numStartups": 3}"#, &server()).unwrap();
        assert_eq!(parsed(&merged)["numStartups"], 3);
        assert_eq!(parsed(&merged)["mcpServers"]["cofferdam"]["type"], "stdio");
        assert_eq!(
            merge(ClientKind::Cursor, " \n", &server()).unwrap(),
            client_config(ClientKind::Cursor, &server())
        );
    }

    #[test]
    fn what_cannot_be_understood_is_left_alone() {
        for bad in [
            "{",
            "[]",
            "nonsense",
            r#"{"mcpServers": []}"#,
            r#"{"mcpServers": "x"}"#,
        ] {
            assert!(merge(ClientKind::Cursor, bad, &server()).is_err(), "{bad}");
        }
    }
}
