//! A command over a WebSocket: a new one, or one that goes on.

use axum::extract::State;
use axum::response::Response;
use http_api::query::OffsetQuery;
use http_api::{CommandBody, CommandClientFrame, CommandServerFrame, SurfaceCode};
use session_core::api::SessionApi;
use session_core::command::OnDisconnect;
use session_core::id::{CommandId, SessionId};
use std::sync::Arc;

use super::pump::{Pump, Start};
use super::run::judge_input;
use crate::caller::{Api, RequireUse};
use crate::problem::Failure;
use crate::state::AppState;
use crate::v1::openapi::answers::{Basic, OfSession, Socketed};
use crate::v1::query::Query;
use crate::v1::route::Route;
use crate::v1::ws::{Incoming, Socket, Upgrade, Word};

/// Runs a command over a WebSocket. The client's first message is text: `CommandClientFrame` of the type `start`; then
/// binary messages are standard input. The server answers with `CommandServerFrame` in text, and with output in binary
/// messages: one byte for the stream (1 standard output, 2 standard error), eight for the position (big-endian), the bytes.
/// No message is longer than 1 MiB.
/// A command that is not detached ends with the connection; one that is has its output acknowledged by `ack`.
#[utoipa::path(
    get,
    path = "/v1/sessions/{session}/commands/stream",
    operation_id = "run_command_socket",
    tag = "commands",
    params(("session" = SessionId, Path, description = "The session.")),
    responses(Socketed, Basic, OfSession)
)]
pub(crate) async fn start(
    State(state): State<AppState>,
    RequireUse(caller): RequireUse,
    upgrade: Upgrade,
    Api(api): Api,
    Route(session): Route<SessionId>,
) -> Result<Response, Failure> {
    api.session(&session).await?;
    let upgrade = upgrade.wanted()?.with_first_word(&state, &caller)?;
    let serving = state.clone();
    Ok(upgrade.serve(&state, move |socket| new(serving, api, session, socket)))
}

/// Comes back to a detached command from a position on, over a WebSocket with the frames of a new one. The server sends
/// more only after `ack` named a position at or behind the end of what it sent.
#[utoipa::path(
    get,
    path = "/v1/sessions/{session}/commands/{command}/stream",
    operation_id = "attach_command_socket",
    tag = "commands",
    params(
        ("session" = SessionId, Path, description = "The session."),
        ("command" = CommandId, Path, description = "The command."),
        OffsetQuery
    ),
    responses(Socketed, Basic, OfSession)
)]
pub(crate) async fn attach(
    State(state): State<AppState>,
    _: RequireUse,
    upgrade: Upgrade,
    Api(api): Api,
    Route((session, command)): Route<(SessionId, CommandId)>,
    Query(query): Query<OffsetQuery>,
) -> Result<Response, Failure> {
    api.session(&session).await?;
    let upgrade = upgrade.wanted()?;
    let running = api.attach_command(&session, &command, query.offset).await?;
    let pump = Pump {
        running,
        acknowledged: true,
        from: query.offset,
        start: Start::Nothing,
    };
    Ok(upgrade.serve(&state, move |socket| pump.run(socket)))
}

async fn new(state: AppState, api: Arc<dyn SessionApi>, session: SessionId, mut socket: Socket) {
    match begin(&state, api, session, &mut socket.incoming).await {
        None => {}
        Some(Ok(pump)) => pump.run(socket).await,
        Some(Err(failure)) => {
            let problem = failure.problem().clone();
            let _ = socket.outgoing.text(&CommandServerFrame::Error { problem }).await;
            socket.outgoing.close().await;
        }
    }
}

/// `None` when the client left before it said anything.
async fn begin(
    state: &AppState,
    api: Arc<dyn SessionApi>,
    session: SessionId,
    incoming: &mut Incoming,
) -> Option<Result<Pump, Failure>> {
    let word = incoming.first::<CommandClientFrame>().await?;
    let body = match word {
        Ok(Word::Frame(CommandClientFrame::Start(body))) => body,
        Ok(_) => {
            let detail = "the first message of a new command is text of the type `start`";
            return Some(Err(Failure::new(SurfaceCode::BadRequest, detail)));
        }
        Err(failure) => return Some(Err(failure)),
    };
    Some(launch(state, api, session, body).await)
}

async fn launch(
    state: &AppState,
    api: Arc<dyn SessionApi>,
    session: SessionId,
    body: CommandBody,
) -> Result<Pump, Failure> {
    judge_input(&body)?;
    let (request, stdin) = body.into_request();
    let acknowledged = request.on_disconnect == OnDisconnect::Detach;
    let running = state
        .detached(async move { api.command(&session, request).await })
        .await?;
    Ok(Pump {
        running,
        acknowledged,
        from: 0,
        start: stdin.map_or(Start::Nothing, |stdin| Start::Input(stdin.into())),
    })
}
