//! JSON schemas of arguments and results, as plain as models and validators like them.
//!
//! Everything inline, no formats that only Rust knows, no `null` for what may simply be left out. Texts of `null` are
//! accepted all the same.

use std::sync::Arc;

use schemars::JsonSchema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

/// The schema of what a tool takes.
pub(crate) fn input<T: JsonSchema>() -> Arc<Map<String, Value>> {
    Arc::new(plain::<T>(SchemaSettings::draft2020_12()))
}

/// The schema of what a tool gives. Every result may carry `warnings`.
pub(crate) fn output<T: JsonSchema>() -> Arc<Map<String, Value>> {
    let mut schema = plain::<T>(SchemaSettings::draft2020_12().for_serialize());
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.insert(
            "warnings".to_owned(),
            json!({
                "description": "What about the call was not as the caller may think, for example arguments that were ignored.",
                "type": "array",
                "items": { "type": "string" },
            }),
        );
    }
    Arc::new(schema)
}

fn plain<T: JsonSchema>(mut settings: SchemaSettings) -> Map<String, Value> {
    settings.inline_subschemas = true;
    let mut schema = Value::from(SchemaGenerator::new(settings).into_root_schema_for::<T>());
    simplify(&mut schema);
    let Value::Object(mut object) = schema else {
        unreachable!("arguments and results are objects")
    };
    // The protocol's default dialect; older validators stumble over the name of it.
    object.remove("$schema");
    object.remove("title");
    object.remove("description");
    object.entry("properties").or_insert_with(|| json!({}));
    object
}

fn simplify(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(simplify),
        Value::Object(object) => {
            if object.get("format").is_some_and(|format| !format.is_object()) {
                object.remove("format");
            }
            without_null_type(object);
            without_null_choice(object);
            as_enum(object);
            if object.get("default").is_some_and(Value::is_null) {
                object.remove("default");
            }
            object.values_mut().for_each(simplify);
        }
        _ => {}
    }
}

fn without_null_type(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(values)) = object.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
}

fn without_null_choice(object: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = object.get_mut("anyOf") else {
        return;
    };
    choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
    if choices.len() == 1
        && let Some(Value::Object(only)) = choices.pop()
    {
        object.remove("anyOf");
        for (key, value) in only {
            object.entry(key).or_insert(value);
        }
    }
}

/// A choice of constants is a list of values.
fn as_enum(object: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = object.get("oneOf") else {
        return;
    };
    let constants: Option<Vec<Value>> = choices
        .iter()
        .map(|choice| choice.get("const").filter(|value| value.is_string()).cloned())
        .collect();
    if let Some(constants) = constants {
        object.remove("oneOf");
        object.insert("type".to_owned(), json!("string"));
        object.insert("enum".to_owned(), Value::Array(constants));
    }
}
