//! Prompts and their turns.

use std::time::Duration;

use axum::extract::State;
use axum::http::header::{HeaderName, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use http_api::query::WaitQuery;
use http_api::{Interrupted, PromptBody, headers, paths};
use session_core::api::{SessionApi, SessionApiExt};
use session_core::error::Result as CoreResult;
use session_core::id::{SessionId, TurnId};
use session_core::session::PromptRequest;
use session_core::turn::TurnInfo;

use super::idempotency;
use super::openapi::answers::{Basic, OfSession, WithBody};
use super::prefer::Preference;
use super::query::Query;
use super::route::Route;
use crate::caller::{Api, RequireUse};
use crate::json::Json;
use crate::problem::Failure;
use crate::state::AppState;

/// The turns of a session, oldest first.
#[utoipa::path(
    get,
    path = "/v1/sessions/{session}/turns",
    operation_id = "list_turns",
    tag = "turns",
    params(("session" = SessionId, Path, description = "The session.")),
    responses((status = 200, description = "The turns.", body = Vec<TurnInfo>), Basic, OfSession)
)]
pub(crate) async fn list(
    Api(api): Api,
    Route(session): Route<SessionId>,
) -> Result<Json<Vec<TurnInfo>>, Failure> {
    Ok(Json(api.turns(&session).await?))
}

/// Gives the agent a prompt. Turns of a session run one at a time, in order; the answer comes at once unless the caller
/// prefers to wait.
#[utoipa::path(
    post,
    path = "/v1/sessions/{session}/turns",
    operation_id = "prompt",
    tag = "turns",
    params(
        ("session" = SessionId, Path, description = "The session."),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key gives the same turn.",
            pattern = "^[!-~]+$", min_length = 1, max_length = 255, nullable = false),
        ("Prefer" = Option<String>, Header, description = "`wait=SECONDS` waits so long for the turn to end; `respond-async` does not wait.",
            nullable = false),
        WaitQuery
    ),
    request_body = PromptBody,
    responses(
        (status = 200, description = "The turn, which ended while the request waited.", body = TurnInfo,
            headers(("Location" = String, description = "Its address."), ("Preference-Applied" = String, description = "Which preference was followed, if one was."))),
        (status = 202, description = "The turn, which waits or runs.", body = TurnInfo,
            headers(("Location" = String, description = "Its address."), ("Preference-Applied" = String, description = "Which preference was followed, if one was."))),
        Basic, OfSession, WithBody
    )
)]
pub(crate) async fn prompt(
    State(state): State<AppState>,
    _: RequireUse,
    Api(api): Api,
    Route(session): Route<SessionId>,
    Query(query): Query<WaitQuery>,
    headers: HeaderMap,
    Json(mut body): Json<PromptBody>,
) -> Result<Response, Failure> {
    body.idempotency_key = idempotency::key(&headers, body.idempotency_key)?;
    let (patience, applied) = Preference::of(&headers).patience(query.wait_ms);
    let (request, asked) = (PromptRequest::from(body), api.clone());
    let turn = state
        .detached(async move { asked.prompt(&session, request).await })
        .await?;
    let turn = wait(&*api, turn, patience).await?;
    let status = if turn.status.is_ended() {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    let location = [(LOCATION, paths::turn(&session, &turn.id))];
    let mut answer = (status, location, Json(turn)).into_response();
    if let Some(applied) = applied.and_then(|applied| HeaderValue::try_from(applied).ok()) {
        let name = HeaderName::from_static(headers::PREFERENCE_APPLIED);
        answer.headers_mut().insert(name, applied);
    }
    Ok(answer)
}

/// The turn once it has ended, or as it is when patience ends.
async fn wait(api: &dyn SessionApi, turn: TurnInfo, patience: Duration) -> CoreResult<TurnInfo> {
    if patience.is_zero() || turn.status.is_ended() {
        return Ok(turn);
    }
    // However the wait comes to its end, by the session's own end among others: what became of the turn is stored.
    let _ = tokio::time::timeout(patience, api.wait_turn(&turn)).await;
    api.turn(&turn.session, &turn.id).await
}

/// A turn as it is now.
#[utoipa::path(
    get,
    path = "/v1/sessions/{session}/turns/{turn}",
    operation_id = "get_turn",
    tag = "turns",
    params(
        ("session" = SessionId, Path, description = "The session."),
        ("turn" = TurnId, Path, description = "The turn."),
    ),
    responses((status = 200, description = "The turn.", body = TurnInfo), Basic, OfSession)
)]
pub(crate) async fn get(
    Api(api): Api,
    Route((session, turn)): Route<(SessionId, TurnId)>,
) -> Result<Json<TurnInfo>, Failure> {
    Ok(Json(api.turn(&session, &turn).await?))
}

/// Takes a turn back that waits, or interrupts it if it runs.
#[utoipa::path(
    post,
    path = "/v1/sessions/{session}/turns/{turn}/interrupt",
    operation_id = "interrupt_turn",
    tag = "turns",
    params(
        ("session" = SessionId, Path, description = "The session."),
        ("turn" = TurnId, Path, description = "The turn."),
    ),
    responses((status = 200, description = "Whether it had not ended before.", body = Interrupted), Basic, OfSession)
)]
pub(crate) async fn interrupt(
    State(state): State<AppState>,
    _: RequireUse,
    Api(api): Api,
    Route((session, turn)): Route<(SessionId, TurnId)>,
) -> Result<Json<Interrupted>, Failure> {
    let interrupted = state
        .detached(async move { api.interrupt_turn(&session, &turn).await })
        .await?;
    Ok(Json(Interrupted { interrupted }))
}
