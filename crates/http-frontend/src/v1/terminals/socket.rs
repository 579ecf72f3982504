//! A terminal over a WebSocket: what is shown one way, what is typed the other.

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures::stream::BoxStream;
use http_api::query::ScreenQuery;
use http_api::{TerminalClientFrame, TerminalServerFrame};
use session_core::error::Result as CoreResult;
use session_core::id::{SessionId, TerminalId};
use session_core::terminal::{AttachedTerminal, TerminalControl, TerminalEvent, TerminalInfo, TerminalSize};
use tokio::sync::mpsc;

use crate::caller::{Api, RequireUse};
use crate::problem::Failure;
use crate::state::AppState;
use crate::v1::openapi::answers::{Basic, OfSession, Socketed};
use crate::v1::query::Query;
use crate::v1::route::Route;
use crate::v1::ws::{Gone, Incoming, Outgoing, Socket, Upgrade, Word};

/// How many pieces of what was typed wait for the program.
const QUEUE: usize = 16;

/// Looks at a terminal over a WebSocket. Binary messages are raw bytes both ways; in text the client sends
/// `TerminalClientFrame` and the server `TerminalServerFrame`. Leaving detaches; the terminal stays.
#[utoipa::path(
    get,
    path = "/v1/sessions/{session}/terminals/{terminal}/stream",
    operation_id = "attach_terminal_socket",
    tag = "terminals",
    params(
        ("session" = SessionId, Path, description = "The session."),
        ("terminal" = TerminalId, Path, description = "The terminal."),
        ScreenQuery
    ),
    responses(Socketed, Basic, OfSession)
)]
pub(crate) async fn attach(
    State(state): State<AppState>,
    _: RequireUse,
    upgrade: Upgrade,
    Api(api): Api,
    Route((session, terminal)): Route<(SessionId, TerminalId)>,
    Query(ScreenQuery { rows, columns }): Query<ScreenQuery>,
) -> Result<Response, Failure> {
    api.session(&session).await?;
    let upgrade = upgrade.wanted()?.for_typing();
    let size = TerminalSize { rows, columns };
    let attached = api.attach_terminal(&session, &terminal, size).await?;
    Ok(upgrade.serve(&state, move |socket| serve(attached, socket)))
}

/// Until the program has ended or the viewer has gone.
async fn serve(attached: AttachedTerminal, socket: Socket) {
    let AttachedTerminal {
        info,
        events,
        control,
    } = attached;
    let Socket {
        mut outgoing,
        mut incoming,
    } = socket;
    let (typing, typed) = mpsc::channel(QUEUE);
    // Whichever ends first ends the others where they stand: what is still on its way has no taker. `write` never ends by
    // itself.
    let ending = tokio::select! {
        ending = show(&mut outgoing, info, events) => ending,
        failure = listen(&mut incoming, &*control, &typing) => failure.map_or(Ok(()), |failure| Err(Some(failure))),
        () = write(&*control, typed) => Ok(()),
    };
    if let Err(Some(failure)) = ending {
        let problem = failure.problem().clone();
        let _ = outgoing.text(&TerminalServerFrame::Error { problem }).await;
    }
    outgoing.close().await;
}

/// Shows the viewer what there is to see. Fails with nothing when the viewer has gone.
async fn show(
    outgoing: &mut Outgoing,
    info: TerminalInfo,
    mut events: BoxStream<'static, CoreResult<TerminalEvent>>,
) -> Result<(), Option<Failure>> {
    let gone = |_: Gone| None;
    let attached = TerminalServerFrame::Attached { info };
    outgoing.text(&attached).await.map_err(gone)?;
    while let Some(event) = outgoing.next_of(&mut events).await.map_err(gone)? {
        let frame = match event.map_err(|error| Some(error.into()))? {
            TerminalEvent::Output(bytes) => {
                outgoing.binary(bytes).await.map_err(gone)?;
                continue;
            }
            TerminalEvent::Skipped => TerminalServerFrame::Skipped,
            TerminalEvent::Resized(size) => TerminalServerFrame::Resized(size),
            TerminalEvent::Exited(exit) => {
                let exited = TerminalServerFrame::Exited { exit };
                return outgoing.text(&exited).await.map_err(gone);
            }
        };
        outgoing.text(&frame).await.map_err(gone)?;
    }
    Ok(())
}

/// Hears what the viewer does, until it has gone (nothing) or says what nobody understands.
async fn listen(
    incoming: &mut Incoming,
    control: &dyn TerminalControl,
    typing: &mpsc::Sender<Bytes>,
) -> Option<Failure> {
    loop {
        match incoming.next::<TerminalClientFrame>().await? {
            Ok(Word::Bytes(bytes)) => typing.send(bytes).await.ok()?,
            Ok(Word::Frame(TerminalClientFrame::Resize(size))) => {
                if let Err(error) = control.resize(size.into()).await {
                    return Some(error.into());
                }
            }
            Err(failure) => return Some(failure),
        }
    }
}

/// Types. What the program does not take is lost, as at any terminal that hangs.
async fn write(control: &dyn TerminalControl, mut typed: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = typed.recv().await {
        let _ = control.write(bytes).await;
    }
    // Its end is not the terminal's.
    std::future::pending().await
}
