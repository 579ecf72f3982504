//! Files in and out, streamed, and what changed.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderMap};
use axum::http::{HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use http_api::query::PathQuery;
use http_api::{SurfaceCode, headers};
use session_core::api::ArchiveStream;
use session_core::error::{Error, ErrorKind};
use session_core::id::SessionId;
use session_core::session::{CopyReport, WorkspaceDiff};

use super::openapi::answers::{Basic, OfSession, WithBody};
use super::query::Query;
use super::route::Route;
use crate::caller::{Api, RequireUse};
use crate::json::Json;
use crate::problem::Failure;
use crate::state::AppState;

/// Packs a path inside into a tar archive. The archive is the session's own work: hostile. One that could not be packed to
/// its end breaks off: the body has no last chunk.
#[utoipa::path(
    get,
    path = "/v1/sessions/{session}/files",
    operation_id = "download_files",
    tag = "files",
    params(("session" = SessionId, Path, description = "The session."), PathQuery),
    responses(
        (status = 200, description = "The archive.", content_type = "application/x-tar", body = inline(crate::v1::openapi::Bytes)),
        Basic, OfSession
    )
)]
pub(crate) async fn download(
    Api(api): Api,
    Route(session): Route<SessionId>,
    Query(query): Query<PathQuery>,
    method: Method,
) -> Result<Response, Failure> {
    let mut archive = api.copy_out(&session, &query.path).await?;
    // What fails before the first byte can still be told as a status.
    let first = archive.next().await.transpose()?;
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        Body::from_stream(stream::iter(first.map(Ok)).chain(archive))
    };
    Ok(([(CONTENT_TYPE, headers::TAR)], body).into_response())
}

/// Unpacks a tar archive at a path inside, as the session's user. An upload that breaks off leaves nothing.
#[utoipa::path(
    put,
    path = "/v1/sessions/{session}/files",
    operation_id = "upload_files",
    tag = "files",
    params(("session" = SessionId, Path, description = "The session."), PathQuery),
    request_body(description = "The archive.", content(
        (inline(crate::v1::openapi::Bytes) = "application/x-tar"),
        (inline(crate::v1::openapi::Bytes) = "application/octet-stream")
    )),
    responses(
        (status = 200, description = "What was unpacked.", body = CopyReport),
        (status = 422, description = "The archive breaks a rule of the extractor.", body = http_api::Problem, content_type = "application/problem+json"),
        Basic, OfSession, WithBody
    )
)]
pub(crate) async fn upload(
    State(state): State<AppState>,
    _: RequireUse,
    Api(api): Api,
    Route(session): Route<SessionId>,
    Query(query): Query<PathQuery>,
    request: Request,
) -> Result<Json<CopyReport>, Failure> {
    must_be_tar(request.headers())?;
    let archive = archive(request.into_body());
    let copying = async move { api.copy_in(&session, &query.path, archive).await };
    state.detached(copying).await.map(Json)
}

fn must_be_tar(headers: &HeaderMap) -> Result<(), Failure> {
    let announced = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let known = [headers::TAR, headers::OCTETS];
    if announced.is_some_and(|kind| {
        known
            .iter()
            .any(|known| kind.eq_ignore_ascii_case(known.as_bytes()))
    }) {
        return Ok(());
    }
    Err(Failure::new(
        SurfaceCode::UnsupportedMediaType,
        "the body must be a tar archive, and be announced as `Content-Type: application/x-tar`",
    ))
}

/// The body as the core reads it: as fast as the session takes it, and with an error where the client broke off.
fn archive(body: Body) -> ArchiveStream {
    Box::pin(body.into_data_stream().map(|piece| {
        piece.map_err(|error| {
            Error::new(
                ErrorKind::Cancelled,
                "copy into the session",
                "the upload broke off",
            )
            .with_hint("send it again")
            .with_source(error)
        })
    }))
}

/// What changed in the workspace since the first turn or diff.
#[utoipa::path(
    get,
    path = "/v1/sessions/{session}/diff",
    operation_id = "diff",
    tag = "files",
    params(("session" = SessionId, Path, description = "The session.")),
    responses((status = 200, description = "The changes.", body = WorkspaceDiff), Basic, OfSession)
)]
pub(crate) async fn diff(
    Api(api): Api,
    Route(session): Route<SessionId>,
) -> Result<Json<WorkspaceDiff>, Failure> {
    Ok(Json(api.diff(&session).await?))
}
