//! What the agent's model was told by the tools that it called.

use serde_json::Value;

use super::world::World;

/// Each result, in order. The last request to the model repeats the whole conversation.
pub(crate) fn told(world: &World) -> Vec<String> {
    let requests = world.model.conversation();
    let last = requests.last().map(|request| request.json()).unwrap_or_default();
    let messages = last["messages"].as_array().into_iter().flatten();
    let blocks = messages.flat_map(|message| message["content"].as_array().into_iter().flatten());
    blocks
        .filter(|block| block["type"] == "tool_result")
        .map(text)
        .collect()
}

fn text(result: &Value) -> String {
    match &result["content"] {
        Value::String(text) => text.clone(),
        parts => {
            let parts = parts.as_array().into_iter().flatten();
            parts.filter_map(|part| part["text"].as_str()).collect()
        }
    }
}
