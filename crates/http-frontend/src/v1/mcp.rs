//! MCP servers.

use http_api::query::OfSessionQuery;
use session_core::mcp::McpStatus;

use super::openapi::answers::{Basic, OfSession};
use super::query::Query;
use crate::caller::Api;
use crate::json::Json;
use crate::problem::Failure;

/// The MCP servers of a session, or all that the operator declared. Starts none.
#[utoipa::path(
    get,
    path = "/v1/mcp/servers",
    operation_id = "list_mcp_servers",
    tag = "mcp",
    params(OfSessionQuery),
    responses((status = 200, description = "The servers.", body = McpStatus), Basic, OfSession)
)]
pub(crate) async fn servers(
    Api(api): Api,
    Query(query): Query<OfSessionQuery>,
) -> Result<Json<McpStatus>, Failure> {
    Ok(Json(api.mcp_status(query.session.as_ref()).await?))
}
