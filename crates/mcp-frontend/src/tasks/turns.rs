//! Turns: accepted, followed to their end, taken back.

use std::sync::Arc;

use futures::StreamExt;
use session_core::api::SessionApiExt;
use session_core::error::{Error, ErrorKind};
use session_core::event::EventKind;
use session_core::turn::{TurnInfo, TurnOutcome};
use tokio::time::Instant;

use crate::activity;
use crate::call::{Call, Stop};
use crate::core::Core;
use crate::failure::Failure;

/// Follows a turn to its end and tells the client what the agent does. A client that gives up interrupts the agent; the
/// session stays usable.
pub(crate) async fn follow(call: &Call, turn: &TurnInfo) -> Result<TurnOutcome, Stop> {
    let guard = TakeBack {
        core: &call.core,
        turn,
        armed: true,
    };
    let outcome = attend(call, turn).await;
    // Whatever else went wrong is not the agent's fault: its work goes on and can be found again.
    if !call.cancelled.is_cancelled() && !call.core.stop.is_cancelled() {
        guard.disarm();
    }
    outcome
}

async fn attend(call: &Call, turn: &TurnInfo) -> Result<TurnOutcome, Stop> {
    let api = &call.core.api;
    let mut events = api
        .events(&turn.session, turn.first_event.saturating_sub(1))
        .await?;
    let mut beats = call.beats();
    let (begun, mut doing) = (Instant::now(), "the prompt is on its way to the agent".to_owned());
    loop {
        // Events stay in their stream and the token stays cancelled: no arm loses anything.
        tokio::select! {
            event = events.next() => {
                let Some(event) = event else { break };
                let event = event?;
                if event.turn != Some(turn.id) {
                    continue;
                }
                if let EventKind::TurnFinished { outcome } = event.kind {
                    return Ok(outcome);
                }
                if let Some(line) = activity::line(&event.kind) {
                    doing.clone_from(&line);
                    call.tell(line).await;
                }
            }
            () = call.cancelled.cancelled() => {
                return Err(Failure::cancelled("the call was cancelled and the agent is interrupted").into());
            }
            () = call.core.stop.cancelled() => {
                return Err(Failure::cancelled("the server ends and the agent is interrupted").into());
            }
            _ = beats.tick() => call.beat(|| format!("{doing} ({} s)", begun.elapsed().as_secs())).await,
        }
    }
    // The session ended; the turn may have ended before.
    match api.turn(&turn.session, &turn.id).await?.outcome {
        Some(outcome) => Ok(outcome),
        None => Err(Error::new(
            ErrorKind::StateConflict,
            "wait for the agent",
            "the session ended before the prompt did",
        )
        .with_context("session", turn.session)
        .with_hint("get_session says why; create a new session and prompt again")
        .into()),
    }
}

/// Takes the turn back when whoever followed it gave up.
struct TakeBack<'a> {
    core: &'a Arc<Core>,
    turn: &'a TurnInfo,
    armed: bool,
}

impl TakeBack<'_> {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for TakeBack<'_> {
    fn drop(&mut self) {
        if self.armed {
            let (core, turn) = (self.core.clone(), self.turn.clone());
            // The tracker owns the work: it outlives this call, and the server's end waits for it.
            self.core.tasks.spawn(async move {
                if let Err(error) = take_back(&core, &turn).await {
                    tracing::warn!(session = %turn.session, turn = %turn.id, %error, "a prompt could not be taken back");
                }
            });
        }
    }
}

/// Takes one turn back that waits, or interrupts it if it runs. Answers whether it had not ended before.
pub(crate) async fn take_back(core: &Core, turn: &TurnInfo) -> session_core::error::Result<bool> {
    core.api.interrupt_turn(&turn.session, &turn.id).await
}

/// Waits until a turn has ended, at most as long as `patience` says.
pub(crate) async fn wait(
    core: &Core,
    turn: &TurnInfo,
    patience: std::time::Duration,
) -> session_core::error::Result<()> {
    if turn.status.is_ended() {
        return Ok(());
    }
    match tokio::time::timeout(patience, core.api.wait_turn(turn)).await {
        // A session that ends before its turn is seen in the turn itself.
        Ok(Err(error)) if error.kind() != ErrorKind::StateConflict => Err(error),
        _ => Ok(()),
    }
}
