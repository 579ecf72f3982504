//! The server itself.

use axum::extract::State;
use axum::http::StatusCode;
use http_api::ServerInfo;

use super::openapi::answers::Basic;
use crate::caller::RequireAdmin;
use crate::json::Json;
use crate::state::AppState;

/// What the server says of itself.
#[utoipa::path(
    get,
    path = "/v1/server",
    operation_id = "get_server",
    tag = "server",
    responses((status = 200, description = "The server.", body = ServerInfo), Basic)
)]
pub(crate) async fn info(State(state): State<AppState>) -> Json<ServerInfo> {
    Json(state.control().info())
}

/// Asks the server to end in good order. Sessions go on; whoever serves them next finds them.
#[utoipa::path(
    post,
    path = "/v1/server/stop",
    operation_id = "stop_server",
    tag = "server",
    responses((status = 202, description = "It ends."), Basic)
)]
pub(crate) async fn stop(State(state): State<AppState>, _: RequireAdmin) -> StatusCode {
    state.control().stop();
    StatusCode::ACCEPTED
}
