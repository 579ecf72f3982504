//! Checkpoints: a session's uncommitted work, kept, read and brought back.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use http_api::{RestoreBody, headers, paths};
use session_core::checkpoint::Checkpoint;
use session_core::id::{CheckpointId, SessionId};
use session_core::session::SessionInfo;

use super::idempotency;
use super::openapi::answers::{Basic, OfSession, WithBody};
use super::route::Route;
use super::sessions::judge_owner;
use crate::caller::{Api, RequireUse};
use crate::json::Json;
use crate::problem::Failure;
use crate::state::AppState;

/// The checkpoints of a session, newest first, also of one that has ended.
#[utoipa::path(
    get,
    path = "/v1/sessions/{session}/checkpoints",
    operation_id = "list_checkpoints",
    tag = "checkpoints",
    params(("session" = SessionId, Path, description = "The session.")),
    responses((status = 200, description = "The checkpoints.", body = Vec<Checkpoint>), Basic, OfSession)
)]
pub(crate) async fn list(
    Api(api): Api,
    Route(session): Route<SessionId>,
) -> Result<Json<Vec<Checkpoint>>, Failure> {
    Ok(Json(api.checkpoints(&session).await?))
}

/// Keeps the session's uncommitted work now. Work that is kept already is not kept twice.
#[utoipa::path(
    post,
    path = "/v1/sessions/{session}/checkpoints",
    operation_id = "checkpoint",
    tag = "checkpoints",
    params(("session" = SessionId, Path, description = "The session.")),
    responses(
        (status = 201, description = "The checkpoint.", body = Checkpoint,
            headers(("Location" = String, description = "The address of its patch."))),
        (status = 204, description = "Nothing differs from how the workspace began."),
        Basic, OfSession
    )
)]
pub(crate) async fn take(
    State(state): State<AppState>,
    _: RequireUse,
    Api(api): Api,
    Route(session): Route<SessionId>,
) -> Result<Response, Failure> {
    let taken = state
        .detached(async move { api.checkpoint(&session).await })
        .await?;
    Ok(match taken {
        Some(checkpoint) => {
            let location = paths::checkpoint_patch(&checkpoint.session, &checkpoint.id);
            (StatusCode::CREATED, [(LOCATION, location)], Json(checkpoint)).into_response()
        }
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

/// The patch of a checkpoint: what a session made, so hostile. It applies to the checkpoint's `base` with `git apply`. One
/// that could not be read to its end breaks off: the body has no last chunk.
#[utoipa::path(
    get,
    path = "/v1/sessions/{session}/checkpoints/{checkpoint}/patch",
    operation_id = "get_checkpoint_patch",
    tag = "checkpoints",
    params(
        ("session" = SessionId, Path, description = "The session."),
        ("checkpoint" = CheckpointId, Path, description = "The checkpoint."),
    ),
    responses(
        (status = 200, description = "The patch.", content_type = "text/x-diff", body = inline(crate::v1::openapi::Bytes)),
        Basic, OfSession
    )
)]
pub(crate) async fn patch(
    Api(api): Api,
    Route((session, checkpoint)): Route<(SessionId, CheckpointId)>,
    method: Method,
) -> Result<Response, Failure> {
    let mut patch = api.checkpoint_patch(&session, &checkpoint).await?;
    // What fails before the first byte can still be told as a status.
    let first = patch.next().await.transpose()?;
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        Body::from_stream(stream::iter(first.map(Ok)).chain(patch))
    };
    Ok(([(CONTENT_TYPE, headers::PATCH)], body).into_response())
}

/// Brings a checkpoint's work back: into the session itself when it lives and its workspace is as it began, otherwise into a
/// new session that is made as that one was.
#[utoipa::path(
    post,
    path = "/v1/sessions/{session}/restore",
    operation_id = "restore_session",
    tag = "checkpoints",
    params(
        ("session" = SessionId, Path, description = "The session; it may have ended."),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key gives the same session.",
            pattern = "^[!-~]+$", min_length = 1, max_length = 255, nullable = false)
    ),
    request_body = Option<RestoreBody>,
    responses(
        (status = 200, description = "The session, with its work.", body = SessionInfo),
        (status = 201, description = "A new session with the work of that one.", body = SessionInfo,
            headers(("Location" = String, description = "Its address."))),
        Basic, OfSession, WithBody
    )
)]
pub(crate) async fn restore(
    State(state): State<AppState>,
    RequireUse(caller): RequireUse,
    Api(api): Api,
    Route(session): Route<SessionId>,
    headers: HeaderMap,
    body: Option<Json<Option<RestoreBody>>>,
) -> Result<Response, Failure> {
    let mut body = body.and_then(|Json(body)| body).unwrap_or_default();
    body.idempotency_key = idempotency::key(&headers, body.idempotency_key)?;
    judge_owner(&caller, body.owner.as_deref())?;
    let request = body.into_request(session);
    let info = state.detached(async move { api.restore(request).await }).await?;
    if info.id == session {
        return Ok(Json(info).into_response());
    }
    let location = [(LOCATION, paths::session(&info.id))];
    Ok((StatusCode::CREATED, location, Json(info)).into_response())
}
