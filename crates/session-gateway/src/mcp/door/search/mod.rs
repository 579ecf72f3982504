//! Tools that are found by searching: two tools stand for all, so that hundreds cost an agent a few hundred tokens.

mod index;

use std::sync::{Arc, LazyLock};

use rmcp::model::{CallToolResult, JsonObject, Tool, ToolAnnotations};
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) use self::index::{Document, Index};
use super::catalog::Catalog;
use super::upstream::Upstream;

/// Finds tools.
pub(super) const SEARCH: &str = "search_tools";
/// Calls one that was found.
pub(super) const CALL: &str = "call_tool";

const DEFAULT_LIMIT: usize = 5;
const MAX_LIMIT: usize = 20;
/// What the definitions of found tools may take together, in bytes.
const MAX_FOUND: usize = 256 << 10;

/// The two tools.
pub(super) fn tools() -> &'static [Tool] {
    static TOOLS: LazyLock<[Tool; 2]> = LazyLock::new(|| [search_tool(), call_tool()]);
    &*TOOLS
}

fn search_tool() -> Tool {
    let schema = json!({
        "type": "object",
        "properties": {
            "query": { "type": "string", "description": "What the tool should do, in a few words." },
            "server": { "type": "string", "description": "Only tools of this server." },
            "limit": { "type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "description": "How many tools at most; 5 if left out." },
        },
        "required": ["query"],
        "additionalProperties": false,
    });
    let description = "Finds tools of the MCP servers by words of their names and descriptions. Returns their names, \
                       descriptions and input schemas; call one with call_tool. Without a query and with a server, \
                       its first tools.";
    Tool::new(SEARCH, description, object(schema))
        .with_annotations(ToolAnnotations::new().read_only(true).open_world(false))
}

fn call_tool() -> Tool {
    let schema = json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "description": "The tool's name as search_tools gave it, for example git__log." },
            "arguments": { "type": "object", "description": "As the tool's input schema wants them." },
        },
        "required": ["name"],
        "additionalProperties": false,
    });
    Tool::new(
        CALL,
        "Calls a tool that search_tools found. The result is that tool's own.",
        object(schema),
    )
}

fn object(schema: Value) -> Arc<JsonObject> {
    match schema {
        Value::Object(object) => Arc::new(object),
        _ => Arc::default(),
    }
}

/// What is searched for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    #[serde(default)]
    query: String,
    #[serde(default)]
    server: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
}

/// Which tool is called.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Called {
    pub(super) name: String,
    #[serde(default)]
    pub(super) arguments: Option<JsonObject>,
}

/// Searches the tools of a session.
pub(super) fn search(catalog: &Catalog, servers: &[Arc<dyn Upstream>], query: &Query) -> CallToolResult {
    let owners = catalog.tool_servers();
    let of_server = |at: usize| {
        query.server.as_deref().is_none_or(|wanted| {
            let owner = owners.get(at).and_then(|server| servers.get(*server));
            owner.is_some_and(|owner| owner.name().as_str() == wanted)
        })
    };
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    let found = if query.query.trim().is_empty() {
        (0..catalog.tools.len()).filter(|at| of_server(*at)).collect()
    } else {
        catalog
            .index(|catalog| index(catalog, servers))
            .search(&query.query, of_server)
    };
    let shown = render(catalog, &found, limit);
    let more = found.len().saturating_sub(shown.len());
    let mut result = json!({ "tools": shown, "more": more });
    if shown.is_empty() {
        let names: Vec<&str> = servers.iter().map(|server| server.name().as_str()).collect();
        result["hint"] = json!(format!(
            "no tool fits; use other words, or name one of the servers: {}",
            names.join(", ")
        ));
    }
    CallToolResult::structured(result)
}

fn render(catalog: &Catalog, found: &[usize], limit: usize) -> Vec<Value> {
    let mut room = MAX_FOUND;
    let mut shown = Vec::new();
    for tool in found.iter().filter_map(|at| catalog.tools.get(*at)).take(limit) {
        let mut value = json!({ "name": tool.name, "inputSchema": tool.input_schema });
        if let Some(description) = &tool.description {
            value["description"] = json!(description);
        }
        let size = value.to_string().len();
        if size > room {
            continue;
        }
        room -= size;
        shown.push(value);
    }
    shown
}

fn index(catalog: &Catalog, servers: &[Arc<dyn Upstream>]) -> Index {
    let about: Vec<String> = servers
        .iter()
        .map(|server| server.definition().description.clone().unwrap_or_default())
        .collect();
    let owners = catalog.tool_servers();
    let arguments: Vec<Vec<&str>> = catalog.tools.iter().map(arguments).collect();
    Index::new(catalog.tools.iter().enumerate().map(|(at, tool)| Document {
        name: &tool.name,
        title: tool.title.as_deref().unwrap_or_default(),
        description: tool.description.as_deref().unwrap_or_default(),
        arguments: &arguments[at],
        server: about.get(owners[at]).map_or("", String::as_str),
    }))
}

fn arguments(tool: &Tool) -> Vec<&str> {
    let properties = tool.input_schema.get("properties").and_then(Value::as_object);
    properties.map_or_else(Vec::new, |properties| {
        properties.keys().map(String::as_str).collect()
    })
}
