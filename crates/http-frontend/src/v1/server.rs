//! The server itself.

use axum::extract::State;
use axum::http::StatusCode;
use http_api::{GarbageBody, ServerInfo, StopBody};
use session_core::garbage::GarbageReport;

use super::openapi::answers::{Basic, WithBody};
use crate::audit;
use crate::caller::{Api, RequireAdmin};
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
    RequireAdmin(caller): RequireAdmin,
    body: Option<Json<Option<StopBody>>>,
) -> Result<StatusCode, Failure> {
    let outcome = if body.and_then(|Json(body)| body).is_some_and(|body| body.if_idle) {
        state.stop_if_idle().map_err(Failure::from)
    } else {
        state.control().stop();
        Ok(())
    };
    let act = ("stop_server", "the server".to_owned());
    audit::concluded(&state, &caller, act, outcome).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Removes what no session wants, or says what would be removed: containers, storage and files of ours without a record.
/// Nothing that this server did not sign for is touched.
#[utoipa::path(
    post,
    path = "/v1/server/gc",
    operation_id = "collect_garbage",
    tag = "server",
    request_body = Option<GarbageBody>,
    responses(
        (status = 200, description = "What was done, or would be.", body = GarbageReport),
        (status = 502, description = "The engine failed.", body = http_api::Problem, content_type = "application/problem+json"),
        Basic, WithBody
    )
)]
pub(crate) async fn collect_garbage(
    State(state): State<AppState>,
    _: RequireAdmin,
    Api(api): Api,
    body: Option<Json<Option<GarbageBody>>>,
) -> Result<Json<GarbageReport>, Failure> {
    let dry_run = body.and_then(|Json(body)| body).is_some_and(|body| body.dry_run);
    let report = state
        .detached(async move { api.collect_garbage(dry_run).await })
        .await?;
    Ok(Json(report))
}
