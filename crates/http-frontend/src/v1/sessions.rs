//! Sessions: made, looked at, paused, ended.

use axum::extract::{RawQuery, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use http_api::session::LabelText;
use http_api::{CreateSessionBody, Interrupted, SurfaceCode, paths};
use session_core::id::SessionId;
use session_core::session::{CreateSession, SessionDetails, SessionFilter, SessionInfo};

use super::idempotency;
use super::openapi::answers::{Basic, OfSession, WithBody};
use super::query::bad;
use super::route::Route;
use crate::caller::{Api, Caller, RequireUse, Scope};
use crate::json::Json;
use crate::problem::Failure;
use crate::state::AppState;

/// The sessions, newest first.
#[utoipa::path(
    get,
    path = "/v1/sessions",
    operation_id = "list_sessions",
    tag = "sessions",
    params(
        ("all" = Option<bool>, Query, description = "Destroyed and failed ones too.", nullable = false),
        ("label" = Option<Vec<LabelText>>, Query, description = "Only those that bear this label, as `KEY=VALUE`; more than one may be named.", nullable = false),
        ("owner" = Option<String>, Query, description = "Only those that were made on behalf of this one.", nullable = false),
    ),
    responses((status = 200, description = "The sessions.", body = Vec<SessionInfo>), Basic)
)]
pub(crate) async fn list(
    Api(api): Api,
    RawQuery(query): RawQuery,
) -> Result<Json<Vec<SessionInfo>>, Failure> {
    match filter(query.as_deref().unwrap_or_default())? {
        Some(filter) => Ok(Json(api.list(filter).await?)),
        None => Ok(Json(Vec::new())),
    }
}

/// A filter; by hand, because `label` may stand there more than once and nothing else may. `None` for one that nothing
/// passes: no label has two values.
fn filter(query: &str) -> Result<Option<SessionFilter>, Failure> {
    let mut impossible = false;
    let mut filter = SessionFilter::default();
    let mut all = None;
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "all" if all.is_none() => {
                let value = value.parse::<bool>();
                all = Some(value.map_err(|_| bad("all is neither `true` nor `false`"))?);
            }
            "label" => {
                let Some((key, value)) = value.split_once('=') else {
                    return Err(bad("a label is written as KEY=VALUE"));
                };
                let before = filter.labels.insert(key.to_owned(), value.to_owned());
                impossible |= before.is_some_and(|before| before != value);
            }
            "owner" if filter.owner.is_none() => filter.owner = Some(value.into_owned()),
            "all" | "owner" => return Err(bad(format!("duplicate field `{name}`"))),
            _ => return Err(bad("unknown field, expected `all`, `label` or `owner`")),
        }
    }
    filter.all = all.unwrap_or_default();
    Ok((!impossible).then_some(filter))
}

/// Makes a session and waits until it is ready.
#[utoipa::path(
    post,
    path = "/v1/sessions",
    operation_id = "create_session",
    tag = "sessions",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key gives the same session.",
        pattern = "^[!-~]+$", min_length = 1, max_length = 255, nullable = false)),
    request_body = CreateSessionBody,
    responses(
        (status = 201, description = "The session.", body = SessionInfo,
            headers(("Location" = String, description = "Its address."))),
        (status = 409, description = "The key was used for another request.", body = http_api::Problem, content_type = "application/problem+json"),
        (status = 422, description = "The workspace or the image cannot be had.", body = http_api::Problem, content_type = "application/problem+json"),
        (status = 501, description = "The engine lacks what the request needs.", body = http_api::Problem, content_type = "application/problem+json"),
        (status = 502, description = "The engine failed.", body = http_api::Problem, content_type = "application/problem+json"),
        Basic, WithBody
    )
)]
pub(crate) async fn create(
    State(state): State<AppState>,
    RequireUse(caller): RequireUse,
    Api(api): Api,
    headers: HeaderMap,
    Json(mut body): Json<CreateSessionBody>,
) -> Result<Response, Failure> {
    body.idempotency_key = idempotency::key(&headers, body.idempotency_key)?;
    judge_owner(&caller, body.owner.as_deref())?;
    let request = CreateSession::from(body);
    let info = state.detached(async move { api.create(request).await }).await?;
    let location = [(LOCATION, paths::session(&info.id))];
    Ok((StatusCode::CREATED, location, Json(info)).into_response())
}

/// Whoever makes sessions for nobody but themselves cannot say otherwise.
pub(super) fn judge_owner(caller: &Caller, owner: Option<&str>) -> Result<(), Failure> {
    if caller.scope() == Scope::Admin || owner.is_none() || owner == caller.name() {
        return Ok(());
    }
    Err(Failure::new(
        SurfaceCode::Forbidden,
        "this token makes sessions on its own behalf alone",
    )
    .with_hint("leave `owner` out"))
}

/// One session, as recorded.
#[utoipa::path(
    get,
    path = "/v1/sessions/{session}",
    operation_id = "get_session",
    tag = "sessions",
    params(("session" = SessionId, Path, description = "The session.")),
    responses((status = 200, description = "The session.", body = SessionInfo), Basic, OfSession)
)]
pub(crate) async fn get(
    Api(api): Api,
    Route(session): Route<SessionId>,
) -> Result<Json<SessionInfo>, Failure> {
    Ok(Json(api.session(&session).await?))
}

/// One session, brought in line with what is true on the engine. Asks its container.
#[utoipa::path(
    get,
    path = "/v1/sessions/{session}/details",
    operation_id = "inspect_session",
    tag = "sessions",
    params(("session" = SessionId, Path, description = "The session.")),
    responses((status = 200, description = "The session.", body = SessionDetails), Basic, OfSession)
)]
pub(crate) async fn details(
    Api(api): Api,
    Route(session): Route<SessionId>,
) -> Result<Json<SessionDetails>, Failure> {
    Ok(Json(api.inspect(&session).await?))
}

/// Ends and removes a session. Its history stays readable; one that is gone already succeeds.
#[utoipa::path(
    delete,
    path = "/v1/sessions/{session}",
    operation_id = "destroy_session",
    tag = "sessions",
    params(("session" = SessionId, Path, description = "The session.")),
    responses((status = 204, description = "Nothing of it is left on the engine."), Basic, OfSession)
)]
pub(crate) async fn destroy(
    State(state): State<AppState>,
    _: RequireUse,
    Api(api): Api,
    Route(session): Route<SessionId>,
) -> Result<StatusCode, Failure> {
    state.detached(async move { api.destroy(&session).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Freezes a session's processes.
#[utoipa::path(
    post,
    path = "/v1/sessions/{session}/pause",
    operation_id = "pause_session",
    tag = "sessions",
    params(("session" = SessionId, Path, description = "The session.")),
    responses((status = 204, description = "They are frozen."), Basic, OfSession)
)]
pub(crate) async fn pause(
    State(state): State<AppState>,
    _: RequireUse,
    Api(api): Api,
    Route(session): Route<SessionId>,
) -> Result<StatusCode, Failure> {
    state.detached(async move { api.pause(&session).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Renews a session's lease, from now on for as long as it was given. Without a lease it changes nothing.
#[utoipa::path(
    post,
    path = "/v1/sessions/{session}/lease",
    operation_id = "renew_lease",
    tag = "sessions",
    params(("session" = SessionId, Path, description = "The session.")),
    responses((status = 200, description = "The session; `lease_until` says until when.", body = SessionInfo), Basic, OfSession)
)]
pub(crate) async fn renew_lease(
    State(state): State<AppState>,
    _: RequireUse,
    Api(api): Api,
    Route(session): Route<SessionId>,
) -> Result<Json<SessionInfo>, Failure> {
    let info = state
        .detached(async move { api.renew_lease(&session).await })
        .await?;
    Ok(Json(info))
}

/// Lets them go on. Brings an interrupted session back, with its workspace and its conversation.
#[utoipa::path(
    post,
    path = "/v1/sessions/{session}/resume",
    operation_id = "resume_session",
    tag = "sessions",
    params(("session" = SessionId, Path, description = "The session.")),
    responses((status = 204, description = "They go on."), Basic, OfSession)
)]
pub(crate) async fn resume(
    State(state): State<AppState>,
    _: RequireUse,
    Api(api): Api,
    Route(session): Route<SessionId>,
) -> Result<StatusCode, Failure> {
    state.detached(async move { api.resume(&session).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Interrupts the running turn and takes back those that wait. The session stays usable.
#[utoipa::path(
    post,
    path = "/v1/sessions/{session}/interrupt",
    operation_id = "interrupt_session",
    tag = "sessions",
    params(("session" = SessionId, Path, description = "The session.")),
    responses((status = 200, description = "Whether anything was running or waiting.", body = Interrupted), Basic, OfSession)
)]
pub(crate) async fn interrupt(
    State(state): State<AppState>,
    _: RequireUse,
    Api(api): Api,
    Route(session): Route<SessionId>,
) -> Result<Json<Interrupted>, Failure> {
    let interrupted = state
        .detached(async move { api.interrupt(&session).await })
        .await?;
    Ok(Json(Interrupted { interrupted }))
}
