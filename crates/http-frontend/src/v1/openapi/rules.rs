//! Rules between the fields of a body, which no field can state for itself.

use serde_json::{Value, json};

/// Adds them to the schemas that they are about.
pub(super) fn add(description: &mut Value) {
    let rules = [
        (
            "CreateSessionBody",
            // Hosts are allowed to sealed sessions alone.
            json!({
                "properties": {"network": {"const": "open"}, "allow": {"minItems": 1}},
                "required": ["network", "allow"],
            }),
        ),
        (
            "McpBody",
            // None of the servers, and some.
            json!({
                "properties": {"none": {"const": true}},
                "required": ["none"],
                "anyOf": [
                    {"properties": {"profile": {"type": "string"}}, "required": ["profile"]},
                    {"properties": {"servers": {"minItems": 1}}, "required": ["servers"]},
                ],
            }),
        ),
        (
            "TokenBody",
            // All tokens but those of the scope `use` see all sessions anyway.
            json!({
                "properties": {"all_sessions": {"const": true}, "scope": {"enum": ["read", "admin"]}},
                "required": ["all_sessions", "scope"],
            }),
        ),
        (
            "CommandBody",
            json!({"anyOf": [
                // Standard input that follows, and nobody to whom it could follow.
                {
                    "properties": {"stdin": {"const": true}, "detach": {"const": false}},
                    "required": ["stdin"],
                },
                // A key for what cannot be come back to.
                {
                    "properties": {"idempotency_key": {"type": "string"}, "detach": {"const": false}},
                    "required": ["idempotency_key"],
                },
                // Input that a second request would write a second time.
                {
                    "properties": {"idempotency_key": {"type": "string"}, "stdin": {"type": ["string", "object"]}},
                    "required": ["idempotency_key", "stdin"],
                },
            ]}),
        ),
    ];
    for (schema, never) in rules {
        if let Some(schema) = description["components"]["schemas"].get_mut(schema) {
            schema["not"] = never;
        }
    }
    // Each has a target of its own.
    description["components"]["schemas"]["CreateSessionBody"]["properties"]["mounts"]["uniqueItems"] =
        json!(true);
    // Each form of these is as strict as a body, which their derived schemas do not say.
    for schema in ["AccountBody", "ProgramBody", "WorkspaceBody"] {
        let forms = description["components"]["schemas"][schema]["oneOf"].as_array_mut();
        for form in forms.into_iter().flatten() {
            form["additionalProperties"] = Value::Bool(false);
        }
    }
}
