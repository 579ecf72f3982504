//! A viewer of a terminal: what it shows him, and what he can do.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream;
use tokio::sync::watch;

use super::super::lifetimes::AtWork;
use super::hub::{Hub, window};
use super::screen::{Over, Place, Sight};
use crate::error::{Error, ErrorKind, Result};
use crate::link_error::from_link;
use crate::terminal::{AttachedTerminal, MAX_VIEWERS, TerminalControl, TerminalEvent, TerminalSize};

/// His seat: he has it for as long as he can see or type.
struct Seat {
    hub: Arc<Hub>,
    number: u64,
    /// Somebody who looks at a terminal works in its session.
    _work: AtWork,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.seat(|screen| screen.leave(self.number));
    }
}

/// Seats a viewer.
///
/// # Errors
/// `InvalidArgument` for a size that cannot be, `LimitExceeded` when there are too many.
pub(super) fn sit(hub: &Arc<Hub>, size: TerminalSize, work: AtWork) -> Result<AttachedTerminal> {
    window(size)?;
    let (number, place) = hub.seat(|screen| screen.sit(size)).ok_or_else(|| {
        Error::new(
            ErrorKind::LimitExceeded,
            "attach to a terminal",
            "too many look at this terminal",
        )
        .with_context("limit", MAX_VIEWERS)
        .with_hint("detach another one first")
    })?;
    let seat = Arc::new(Seat {
        hub: hub.clone(),
        number,
        _work: work,
    });
    let view = View {
        happened: hub.happened(),
        seat: seat.clone(),
        place,
        done: false,
    };
    let events = stream::unfold(view, |mut view| async move {
        let event = view.next().await?;
        Some((event, view))
    });
    Ok(AttachedTerminal {
        info: hub.info(),
        events: Box::pin(events),
        control: Box::new(Control { seat }),
    })
}

struct View {
    seat: Arc<Seat>,
    happened: watch::Receiver<u64>,
    place: Place,
    done: bool,
}

impl View {
    async fn next(&mut self) -> Option<Result<TerminalEvent>> {
        while !self.done {
            // Before looking, so that nothing that happens after the look is missed.
            self.happened.borrow_and_update();
            let hub = &self.seat.hub;
            match hub.look(|screen| screen.look(&mut self.place)) {
                Some(Sight::Output(bytes)) => return Some(Ok(TerminalEvent::Output(bytes))),
                Some(Sight::Skipped) => return Some(Ok(TerminalEvent::Skipped)),
                Some(Sight::Resized(size)) => return Some(Ok(TerminalEvent::Resized(size))),
                Some(Sight::Over(over)) => {
                    self.done = true;
                    return Some(match over {
                        Over::Exited(exit) => Ok(TerminalEvent::Exited(exit)),
                        Over::Lost { kind, message, hint } => Err(lost(hub, kind, message, hint)),
                    });
                }
                None => self.happened.changed().await.ok()?,
            }
        }
        None
    }
}

fn lost(hub: &Hub, kind: ErrorKind, message: String, hint: Option<String>) -> Error {
    let error = Error::new(kind, "watch the terminal", message)
        .with_context("session", hub.session)
        .with_context("terminal", hub.id);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

struct Control {
    seat: Arc<Seat>,
}

#[async_trait]
impl TerminalControl for Control {
    async fn write(&self, bytes: Bytes) -> Result<()> {
        let operation = "type into the terminal";
        let hub = &self.seat.hub;
        let mut way = hub.writer();
        let writer = tokio::select! {
            biased;
            // Cancel-safe: nothing is taken out of it.
            Ok(writer) = async { way.wait_for(Option::is_some).await.map(|writer| writer.clone()) } => writer,
            () = hub.over() => None,
        };
        let Some(writer) = writer.filter(|_| !hub.is_over()) else {
            let message = "the terminal has ended";
            return Err(Error::new(ErrorKind::StateConflict, operation, message)
                .with_context("terminal", hub.id)
                .with_hint("open another one"));
        };
        writer
            .write(bytes)
            .await
            .map_err(|error| from_link(operation, error))
    }

    async fn resize(&self, size: TerminalSize) -> Result<()> {
        window(size)?;
        self.seat.hub.seat(|screen| screen.fit(self.seat.number, size));
        Ok(())
    }
}
