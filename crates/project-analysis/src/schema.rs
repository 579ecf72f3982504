//! The JSON Schema of the documents.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::report::Document;

/// The JSON Schema (draft 2020-12) of every document.
pub fn document() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Document>().to_value();
    if let Some(root) = schema.as_object_mut() {
        root.insert(
            "$id".to_owned(),
            Value::from("https://cofferdam.dev/schemas/analysis-1.json"),
        );
        root.insert("title".to_owned(), Value::from("Analysis of a project"));
    }
    schema
}
