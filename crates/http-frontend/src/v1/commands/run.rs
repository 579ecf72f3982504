//! A command in one request: to its end, or detached.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use http_api::{CommandAccepted, CommandAnswer, CommandBody, Stdin, SurfaceCode};
use session_core::command::{
    CommandControl, CommandEvent, CommandOutput, OnDisconnect, OutputStream, RunningCommand,
};
use session_core::error::{Error, ErrorKind, Result as CoreResult};
use session_core::id::SessionId;

use crate::caller::{Api, RequireUse};
use crate::json::Json;
use crate::problem::Failure;
use crate::state::AppState;
use crate::v1::idempotency;
use crate::v1::openapi::answers::{Basic, OfSession, WithBody};
use crate::v1::route::Route;

/// How much of each stream an answer carries, in bytes. Who needs more reads a WebSocket.
const ANSWER_LIMIT: usize = 1 << 20;

/// Runs a command. The answer comes when it has ended, with at most 1 MiB of each stream; or at once when it is detached.
/// One that is not detached ends with the connection.
#[utoipa::path(
    post,
    path = "/v1/sessions/{session}/commands",
    operation_id = "run_command",
    tag = "commands",
    params(
        ("session" = SessionId, Path, description = "The session."),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key gives the same command; of a detached one.",
            pattern = "^[!-~]+$", min_length = 1, max_length = 255, nullable = false)
    ),
    request_body = CommandBody,
    responses(
        (status = 200, description = "It ended.", body = CommandAnswer),
        (status = 202, description = "It runs, detached.", body = CommandAccepted),
        Basic, OfSession, WithBody
    )
)]
pub(crate) async fn run(
    State(state): State<AppState>,
    _: RequireUse,
    Api(api): Api,
    Route(session): Route<SessionId>,
    headers: HeaderMap,
    Json(mut body): Json<CommandBody>,
) -> Result<Response, Failure> {
    body.idempotency_key = idempotency::key(&headers, body.idempotency_key)?;
    if body.stdin == Stdin::Open && !body.detach {
        return Err(Failure::new(
            SurfaceCode::BadRequest,
            "standard input that follows needs a WebSocket or a detached command",
        )
        .with_hint("send it as `stdin`, or set `detach`"));
    }
    judge_input(&body)?;
    let (request, stdin) = body.into_request();
    let detach = request.on_disconnect == OnDisconnect::Detach;
    // Started to the end even if the caller leaves: then nobody takes what was started, and dropping it ends it.
    let running = state
        .detached(async move { api.command(&session, request).await })
        .await?;
    let command = running.id;
    if detach {
        if let Some(stdin) = stdin {
            feed_detached(&state, running, stdin.into());
        }
        return Ok((StatusCode::ACCEPTED, Json(CommandAccepted { command })).into_response());
    }
    let output = to_the_end(running, stdin.map(Bytes::from), session).await?;
    Ok(Json(CommandAnswer::new(command, output)).into_response())
}

/// A second request with the same key comes back to the command, and would write its input a second time.
pub(super) fn judge_input(body: &CommandBody) -> Result<(), Failure> {
    if body.idempotency_key.is_none() || !matches!(body.stdin, Stdin::Data(_)) {
        return Ok(());
    }
    Err(Failure::new(
        SurfaceCode::BadRequest,
        "a command with an idempotency key cannot bring its standard input along",
    )
    .with_hint("let it read a file, or set `stdin` to true and write the input once it runs"))
}

/// Writes what came along to a command that nobody watches, for as long as it takes the input.
fn feed_detached(state: &AppState, running: RunningCommand, stdin: Bytes) {
    let closing = state.closing().clone();
    state.tasks().spawn(async move {
        let feeding = feed(&*running.control, Some(stdin));
        // A server that ends does not wait for a program that does not read; the program goes on without.
        let _ = closing.run_until_cancelled(feeding).await;
    });
}

/// Writes the input and ends it. A program that does not want it is not an error of the command.
async fn feed(control: &dyn CommandControl, stdin: Option<Bytes>) {
    let Some(stdin) = stdin else { return };
    if control.write(stdin).await.is_ok() {
        let _ = control.close_stdin().await;
    }
}

async fn to_the_end(
    running: RunningCommand,
    stdin: Option<Bytes>,
    session: SessionId,
) -> CoreResult<CommandOutput> {
    let RunningCommand { control, events, .. } = running;
    let fed = feed(&*control, stdin);
    let ended = collect(events, session);
    tokio::pin!(fed, ended);
    // Both are looked at again after either moved; neither loses anything by waiting, and the end does not wait for a
    // program that leaves its input alone.
    tokio::select! {
        output = &mut ended => output,
        () = &mut fed => ended.await,
    }
}

async fn collect(
    mut events: futures::stream::BoxStream<'static, CoreResult<CommandEvent>>,
    session: SessionId,
) -> CoreResult<CommandOutput> {
    let (mut stdout, mut stderr, mut truncated) = (Vec::new(), Vec::new(), false);
    while let Some(event) = events.next().await {
        match event? {
            CommandEvent::Output { stream, bytes, .. } => {
                let kept = match stream {
                    OutputStream::Stdout => &mut stdout,
                    OutputStream::Stderr => &mut stderr,
                };
                let room = ANSWER_LIMIT.saturating_sub(kept.len()).min(bytes.len());
                kept.extend_from_slice(&bytes[..room]);
                truncated |= room < bytes.len();
            }
            CommandEvent::Gap { .. } => truncated = true,
            CommandEvent::Exited(exit) => {
                return Ok(CommandOutput {
                    stdout,
                    stderr,
                    truncated,
                    exit,
                });
            }
        }
    }
    Err(Error::new(
        ErrorKind::LinkLost,
        "run a command",
        "the link to the session ended before the command did",
    )
    .with_context("session", session))
}
