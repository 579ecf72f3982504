//! A turn followed to its end: events shown as they come, Ctrl-C turned into an interrupt of the agent.

use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use session_core::api::SessionApi;
use session_core::error::{Error, ErrorKind, Result};
use session_core::event::{Event, EventKind};
use session_core::turn::{TurnInfo, TurnOutcome};
use tokio::time::{Instant, MissedTickBehavior};

use crate::failure::print_warning;
use crate::interrupts::{Interrupt, Interrupts};
use crate::printer::{Printer, TICK};
use crate::render::Timeline;

/// How long an interrupted agent may take to end its turn.
const INTERRUPT_GRACE: Duration = Duration::from_secs(20);

/// How following ended.
#[derive(Debug)]
pub enum Followed {
    /// The turn ended; `by` when the user interrupted it.
    Finished {
        /// How the turn ended.
        outcome: TurnOutcome,
        /// The first signal.
        by: Option<Interrupt>,
    },
    /// The user did not want to wait for the end, or it did not come after an interrupt.
    Left(Interrupt),
}

/// Shows events and waits.
pub struct Follower<'a> {
    api: &'a dyn SessionApi,
    printer: &'a Printer,
    interrupts: &'a mut Interrupts,
    timeline: &'a mut Timeline,
    turn: &'a TurnInfo,
    stopped: Option<Interrupt>,
    deadline: Option<Instant>,
}

impl<'a> Follower<'a> {
    /// Follows `turn`.
    pub fn new(
        api: &'a dyn SessionApi,
        printer: &'a Printer,
        interrupts: &'a mut Interrupts,
        timeline: &'a mut Timeline,
        turn: &'a TurnInfo,
    ) -> Self {
        Self {
            api,
            printer,
            interrupts,
            timeline,
            turn,
            stopped: None,
            deadline: None,
        }
    }

    /// Shows the events after the number `after` that belong to the turn or to no turn, until the turn ends.
    ///
    /// # Errors
    /// Those of the events' stream; `ContainerLost` when the session ends before its turn.
    pub async fn run(mut self, after: u64) -> Result<Followed> {
        let mut events = self.api.events(&self.turn.session, after).await?;
        let mut ticker = tokio::time::interval(TICK);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut interrupting: Option<BoxFuture<'a, Result<bool>>> = None;
        let followed = loop {
            // Every arm may be dropped at any time: the streams, the ticker and the clock lose nothing, and the request
            // to interrupt is kept outside of the loop.
            tokio::select! {
                biased;
                Some(signal) = self.interrupts.next() => match self.stopped {
                    Some(first) => break Followed::Left(first),
                    None => interrupting = Some(self.stop(signal)),
                },
                answer = settled(&mut interrupting) => {
                    interrupting = None;
                    if let Err(error) = answer {
                        print_warning(self.printer, &error.to_string(), error.hint());
                    }
                }
                event = events.next() => if let Some(outcome) = self.take(event).await? {
                    break Followed::Finished { outcome, by: self.stopped };
                },
                first = too_late(self.stopped, self.deadline) => break Followed::Left(first),
                _ = ticker.tick(), if self.printer.shows_progress() => self.printer.tick(),
            }
        };
        self.printer.status(None);
        Ok(followed)
    }

    /// The first signal: asks the agent to stop.
    fn stop(&mut self, signal: Interrupt) -> BoxFuture<'a, Result<bool>> {
        self.stopped = Some(signal);
        self.deadline = Some(Instant::now() + INTERRUPT_GRACE);
        self.printer.note(
            self.printer
                .err_paint()
                .yellow("interrupting the agent; again to stop waiting for it"),
        );
        self.printer.status(Some("interrupting"));
        let (api, session) = (self.api, &self.turn.session);
        api.interrupt(session)
    }

    /// Shows an event; answers the outcome when it is the turn's end.
    async fn take(&mut self, event: Option<Result<Event>>) -> Result<Option<TurnOutcome>> {
        let Some(event) = event else {
            return self.outcome_of_an_ended_session().await.map(Some);
        };
        let event = event?;
        if event.turn.is_some_and(|turn| turn != self.turn.id) {
            return Ok(None);
        }
        show(self.printer, self.timeline, &event)?;
        Ok(match event.kind {
            EventKind::TurnFinished { outcome } if event.turn == Some(self.turn.id) => Some(outcome),
            _ => None,
        })
    }

    /// The stream of events ends with the session. The turn's end may have been recorded before.
    async fn outcome_of_an_ended_session(&self) -> Result<TurnOutcome> {
        let turn = self.api.turn(&self.turn.session, &self.turn.id).await?;
        turn.outcome.ok_or_else(|| {
            Error::new(
                ErrorKind::ContainerLost,
                "follow the turn",
                "the session ended before the turn did",
            )
            .with_context("session", self.turn.session)
        })
    }
}

/// Shows one event on standard error, or as JSON on standard output.
///
/// # Errors
/// `HostIo` when standard output cannot be written.
pub fn show(printer: &Printer, timeline: &mut Timeline, event: &Event) -> Result<()> {
    if printer.json() {
        return printer.object(event);
    }
    if let Some(text) = timeline.render(event) {
        printer.note(text);
    }
    printer.status(timeline.activity());
    Ok(())
}

/// The pending request's answer; never, when there is none.
async fn settled(request: &mut Option<BoxFuture<'_, Result<bool>>>) -> Result<bool> {
    match request {
        Some(request) => request.await,
        None => std::future::pending().await,
    }
}

/// Completes with the first signal when the grace after it is over.
async fn too_late(first: Option<Interrupt>, deadline: Option<Instant>) -> Interrupt {
    match (first, deadline) {
        (Some(first), Some(deadline)) => {
            tokio::time::sleep_until(deadline).await;
            first
        }
        _ => std::future::pending().await,
    }
}
