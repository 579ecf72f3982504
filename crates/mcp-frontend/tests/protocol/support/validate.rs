//! The part of JSON Schema that our schemas use, to hold results against them. Closed: what no schema names is wrong.

use serde_json::Value;

/// Says what is wrong, with its place.
pub(crate) fn validate(schema: &Value, value: &Value) -> Result<(), String> {
    // What is said to be anything.
    if *schema == Value::Bool(true) {
        return Ok(());
    }
    if let Some(kinds) = schema.get("type") {
        let kinds: Vec<&str> = match kinds {
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            kind => kind.as_str().into_iter().collect(),
        };
        if !kinds.iter().any(|kind| is(kind, value)) {
            return Err(format!(": {value} is no {kinds:?}"));
        }
    }
    if let Some(Value::Array(values)) = schema.get("enum")
        && !values.contains(value)
    {
        return Err(format!(": {value} is none of {values:?}"));
    }
    match value {
        Value::Object(fields) => {
            for name in schema
                .get("required")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                if !fields.contains_key(name.as_str().unwrap()) {
                    return Err(format!(".{name} is missing"));
                }
            }
            for (name, value) in fields {
                let known = schema["properties"]
                    .get(name)
                    .or_else(|| schema.get("additionalProperties"));
                let Some(known) = known else {
                    return Err(format!(".{name} is not in the schema"));
                };
                validate(known, value).map_err(|wrong| format!(".{name}{wrong}"))?;
            }
            Ok(())
        }
        Value::Array(items) => items
            .iter()
            .try_for_each(|item| validate(&schema["items"], item).map_err(|wrong| format!("[]{wrong}"))),
        _ => Ok(()),
    }
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        other => panic!("a type that is not known: {other}"),
    }
}
