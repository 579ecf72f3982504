//! The schema that is in the documentation is the program's own, and documents keep to it.

use std::path::PathBuf;

use project_analysis::{AnalysisKind, schema};
use serde_json::Value;

use crate::support::{look, project};

fn documented() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/analysis.schema.json")
}

#[test]
fn the_documented_schema_is_the_programs() {
    let written = std::fs::read_to_string(documented()).unwrap_or_default();
    let written: Value = serde_json::from_str(&written).unwrap_or_default();
    assert_eq!(
        written,
        schema::document(),
        "write it with: cargo run -p project-analysis -- --schema | jq . > docs/reference/analysis.schema.json"
    );
}

/// Every property that the schema requires is there, in every object for which it says what it is.
fn keeps_to(value: &Value, schema: &Value, root: &Value, at: &str) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        let target = root
            .pointer(name.trim_start_matches('#'))
            .ok_or(format!("no {name}"))?;
        keeps_to(value, target, root, at)?;
    }
    for choice in ["oneOf", "anyOf"] {
        if let Some(choices) = schema[choice].as_array() {
            let fits = choices
                .iter()
                .any(|choice| keeps_to(value, choice, root, at).is_ok());
            fits.then_some(())
                .ok_or(format!("{at}: no choice fits {value}"))?;
        }
    }
    if let Some(constant) = schema.get("const") {
        (value == constant)
            .then_some(())
            .ok_or(format!("{at}: {value} is not {constant}"))?;
    }
    if let Some(names) = schema["enum"].as_array() {
        names
            .contains(value)
            .then_some(())
            .ok_or(format!("{at}: {value} is none of {names:?}"))?;
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    };
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => false,
    };
    if !types.is_empty() && !types.iter().any(|name| is(name)) {
        return Err(format!("{at}: {value} is no {types:?}"));
    }
    for name in schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        value.get(name).ok_or(format!("{at}: {name} is missing"))?;
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = value.get(name) {
            keeps_to(value, property, root, &format!("{at}.{name}"))?;
        }
    }
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        for value in values {
            keeps_to(value, items, root, &format!("{at}[]"))?;
        }
    }
    Ok(())
}

#[test]
fn documents_keep_to_the_schema() {
    let schema = schema::document();
    let dir = project(&[
        (
            "Cargo.toml",
            "[package]\nname = \"x\"\n[dependencies]\na = \"*\"\nb = \"1\"\n",
        ),
        (
            "Cargo.lock",
            "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n[[package]]\nname = \"a\"\nversion = \"2.0.0\"\n",
        ),
        ("src/main.rs", "// TO-DO\n"),
        ("README.md", "[x](gone.md) curl x | sh\n"),
        (".env", "x"),
    ]);
    for kind in AnalysisKind::ALL {
        let document = look(&dir, kind);
        keeps_to(&document, &schema, &schema, "document").unwrap();
        // What breaks the schema is seen.
        let mut broken = document;
        broken["coverage"]["files"] = Value::from("many");
        assert!(keeps_to(&broken, &schema, &schema, "document").is_err());
    }
}
