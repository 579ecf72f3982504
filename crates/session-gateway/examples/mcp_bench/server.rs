//! The server at the far end: over standard input and output, with as many tools as it is told, each of which says at once what
//! it was given.

use std::sync::Arc;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, Implementation,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler, ServiceExt};
use serde_json::json;

use super::Result;

/// The first of the tools. All of them may be called again.
pub(super) const TOOL: &str = "echo_0";

/// Serves until the input ends.
pub(super) async fn serve(tools: usize) -> Result<()> {
    let server = Echo(Arc::new((0..tools).map(tool).collect()));
    let running = server.serve(rmcp::transport::stdio()).await?;
    running.waiting().await?;
    Ok(())
}

fn tool(number: usize) -> Tool {
    let schema = json!({
        "type": "object",
        "properties": { "text": { "type": "string", "description": "What to say" } },
        "required": ["text"],
    });
    let schema = schema.as_object().cloned().unwrap_or_default();
    let description = "Says what it was given, as it was given, and does nothing else with it.";
    Tool::new(format!("echo_{number}"), description, Arc::new(schema))
        .annotate(ToolAnnotations::new().read_only(true).idempotent(true))
}

#[derive(Clone)]
struct Echo(Arc<Vec<Tool>>);

impl ServerHandler for Echo {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("echo", "1"))
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> std::result::Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.0.to_vec()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> std::result::Result<CallToolResponse, ErrorData> {
        let text = request
            .arguments
            .as_ref()
            .and_then(|arguments| arguments.get("text")?.as_str());
        let text = text.unwrap_or_default().to_owned();
        Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
    }
}
