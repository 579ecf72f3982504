//! The tools about the configuration of MCP servers, over real declarations on disk.

mod bounds;
mod flow;
mod servers;
mod signatures;
mod toolsets;

use serde_json::{Value, json};

use crate::support::World;

const CODE: &str = "claude-code";

fn code() -> Value {
    json!({ "client_id": CODE })
}

fn code_with(server: &str) -> Value {
    json!({ "client_id": CODE, "server_id": server })
}

async fn publish(world: &mut World) -> Value {
    world.client.ok("publish_config", code()).await
}

fn names(list: &Value, field: &str) -> Vec<String> {
    let name = |item: &Value| item[field].as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(name).collect()
}

/// The tools, each with arguments that it takes.
fn all() -> Vec<(&'static str, Value)> {
    let whose = json!({ "client_id": "claude-code" });
    let server = json!({ "client_id": "claude-code", "server_id": "docs" });
    vec![
        ("initialize_keys", json!({})),
        ("list_clients", json!({})),
        ("list_profiles", whose.clone()),
        ("list_available_servers", json!({})),
        ("describe_server", json!({ "server_id": "docs" })),
        ("add_server_to_config", server.clone()),
        ("view_draft_config", whose.clone()),
        ("validate_config", whose.clone()),
        ("publish_config", whose.clone()),
        ("get_config", whose.clone()),
        ("diff_config", whose.clone()),
        ("deploy_config", whose.clone()),
        ("remove_server_from_config", server),
        ("clear_draft_config", whose),
    ]
}
