//! The server itself.

use axum::extract::State;
use axum::http::StatusCode;
use http_api::{ServerInfo, StopBody};

use super::openapi::answers::{Basic, WithBody};
use crate::caller::RequireAdmin;
use crate::json::Json;
use crate::problem::Failure;
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
    request_body = Option<StopBody>,
    responses(
        (status = 202, description = "It ends."),
        (status = 409, description = "It shall end only when it is idle, and it is not.", body = http_api::Problem, content_type = "application/problem+json"),
        Basic, WithBody
    )
)]
pub(crate) async fn stop(
    State(state): State<AppState>,
    _: RequireAdmin,
    body: Option<Json<Option<StopBody>>>,
) -> Result<StatusCode, Failure> {
    if body.and_then(|Json(body)| body).is_some_and(|body| body.if_idle) {
        state.stop_if_idle()?;
    } else {
        state.control().stop();
    }
    Ok(StatusCode::ACCEPTED)
}
