//! Terminals: programs in a session that a person sits in front of.

pub(crate) mod socket;

use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use http_api::{OpenTerminalBody, paths};
use session_core::id::{SessionId, TerminalId};
use session_core::terminal::{OpenTerminal, TerminalInfo};

use super::idempotency;
use super::openapi::answers::{Basic, OfSession, WithBody};
use super::route::Route;
use crate::caller::{Api, RequireUse};
use crate::json::Json;
use crate::problem::Failure;
use crate::state::AppState;

/// The terminals of a session, oldest first.
#[utoipa::path(
    get,
    path = "/v1/sessions/{session}/terminals",
    operation_id = "list_terminals",
    tag = "terminals",
    params(("session" = SessionId, Path, description = "The session.")),
    responses((status = 200, description = "The terminals.", body = Vec<TerminalInfo>), Basic, OfSession)
)]
pub(crate) async fn list(
    Api(api): Api,
    Route(session): Route<SessionId>,
) -> Result<Json<Vec<TerminalInfo>>, Failure> {
    Ok(Json(api.terminals(&session).await?))
}

/// Opens a terminal and starts its program. It stays until its program ends, its session ends, or somebody closes it.
#[utoipa::path(
    post,
    path = "/v1/sessions/{session}/terminals",
    operation_id = "open_terminal",
    tag = "terminals",
    params(
        ("session" = SessionId, Path, description = "The session."),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key gives the same terminal.",
            pattern = "^[!-~]+$", min_length = 1, max_length = 255, nullable = false)
    ),
    request_body = OpenTerminalBody,
    responses(
        (status = 201, description = "The terminal.", body = TerminalInfo,
            headers(("Location" = String, description = "Its address."))),
        (status = 422, description = "There is no such program in the session.", body = http_api::Problem, content_type = "application/problem+json"),
        Basic, OfSession, WithBody
    )
)]
pub(crate) async fn open(
    State(state): State<AppState>,
    _: RequireUse,
    Api(api): Api,
    Route(session): Route<SessionId>,
    headers: HeaderMap,
    Json(mut body): Json<OpenTerminalBody>,
) -> Result<Response, Failure> {
    body.idempotency_key = idempotency::key(&headers, body.idempotency_key)?;
    let request = OpenTerminal::from(body);
    let info = state
        .detached(async move { api.open_terminal(&session, request).await })
        .await?;
    let location = [(LOCATION, paths::terminal(&session, &info.id))];
    Ok((StatusCode::CREATED, location, Json(info)).into_response())
}

/// Ends a terminal with everything that runs in it. One that has ended already succeeds.
#[utoipa::path(
    delete,
    path = "/v1/sessions/{session}/terminals/{terminal}",
    operation_id = "close_terminal",
    tag = "terminals",
    params(
        ("session" = SessionId, Path, description = "The session."),
        ("terminal" = TerminalId, Path, description = "The terminal."),
    ),
    responses((status = 204, description = "It has ended."), Basic, OfSession)
)]
pub(crate) async fn close(
    State(state): State<AppState>,
    _: RequireUse,
    Api(api): Api,
    Route((session, terminal)): Route<(SessionId, TerminalId)>,
) -> Result<StatusCode, Failure> {
    state
        .detached(async move { api.close_terminal(&session, &terminal).await })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
