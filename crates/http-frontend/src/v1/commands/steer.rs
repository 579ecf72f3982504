//! Steers a command from beside its reader.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use futures::StreamExt;
use http_api::query::StdinQuery;
use http_api::{SignalBody, SurfaceCode, headers};
use session_core::command::CommandControl;
use session_core::id::{CommandId, SessionId};

use crate::caller::{Api, RequireUse};
use crate::json::Json;
use crate::problem::Failure;
use crate::state::AppState;
use crate::v1::openapi::answers::{Basic, OfSession, WithBody};
use crate::v1::query::Query;
use crate::v1::route::Route;

/// Sends a signal to a command's whole process tree.
#[utoipa::path(
    post,
    path = "/v1/sessions/{session}/commands/{command}/signal",
    operation_id = "signal_command",
    tag = "commands",
    params(
        ("session" = SessionId, Path, description = "The session."),
        ("command" = CommandId, Path, description = "The command."),
    ),
    request_body = SignalBody,
    responses((status = 204, description = "It was sent."), Basic, OfSession, WithBody)
)]
pub(crate) async fn signal(
    State(state): State<AppState>,
    _: RequireUse,
    Api(api): Api,
    Route((session, command)): Route<(SessionId, CommandId)>,
    Json(SignalBody { signal }): Json<SignalBody>,
) -> Result<StatusCode, Failure> {
    // From the beginning: a reader at position zero acknowledges nothing, so nobody loses output by it.
    let signalling = async move {
        let running = api.attach_command(&session, &command, 0).await?;
        running.control.signal(signal).await
    };
    state.detached(signalling).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Writes to a command's standard input. Waits while the command does not read.
#[utoipa::path(
    post,
    path = "/v1/sessions/{session}/commands/{command}/stdin",
    operation_id = "write_stdin",
    tag = "commands",
    params(
        ("session" = SessionId, Path, description = "The session."),
        ("command" = CommandId, Path, description = "The command."),
        StdinQuery
    ),
    request_body(content = inline(crate::v1::openapi::Bytes), content_type = "application/octet-stream", description = "The bytes."),
    responses((status = 204, description = "It was written."), Basic, OfSession, WithBody)
)]
pub(crate) async fn stdin(
    State(state): State<AppState>,
    _: RequireUse,
    Api(api): Api,
    Route((session, command)): Route<(SessionId, CommandId)>,
    Query(query): Query<StdinQuery>,
    request: Request,
) -> Result<StatusCode, Failure> {
    let announced = request.headers().get(CONTENT_TYPE);
    if announced.is_some_and(|kind| kind != headers::OCTETS) {
        return Err(Failure::new(
            SurfaceCode::UnsupportedMediaType,
            "standard input is announced as `Content-Type: application/octet-stream`",
        ));
    }
    let running = api.attach_command(&session, &command, 0).await?;
    let closing = state.closing().clone();
    let writing = async move {
        let writing = write(&*running.control, request.into_body(), query.eof);
        closing
            .run_until_cancelled(writing)
            .await
            .unwrap_or_else(|| Err(Failure::new(SurfaceCode::Unavailable, "the server ends")))
    };
    state.detached(writing).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Piece by piece, so that the caller waits for the command.
async fn write(control: &dyn CommandControl, body: Body, eof: bool) -> Result<(), Failure> {
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| Failure::new(SurfaceCode::BadRequest, "the body broke off"))?;
        if !piece.is_empty() {
            control.write(piece).await?;
        }
    }
    if eof {
        control.close_stdin().await?;
    }
    Ok(())
}
