//! Who wants the server, and what becomes of them: they wait, get it, or are told why not.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Keeper, Reply, Running, TAKEN_AWAY};
use crate::mcp::call::{Failure, FailureCause};
use crate::mcp::servers::start::{Order, Up, start};
use crate::mcp::servers::state::{Fault, Wanted};

/// Who wants a server that is held off for less than this waits; others are refused at once.
const PATIENCE: Duration = Duration::from_secs(2);
/// Calls that wait for a start.
const MAX_WAITING: usize = 1024;

impl Keeper {
    /// Somebody wants the server.
    pub(super) fn want(&mut self, reply: Reply) {
        let now = Instant::now();
        match self.life.wanted(now) {
            Wanted::Use => match &self.running {
                Running::Up(up) if !up.live.has_ended() => drop(reply.send(Ok(Arc::clone(&up.live)))),
                _ => self.wait(reply),
            },
            Wanted::Start => {
                self.wait(reply);
                self.begin(now);
            }
            Wanted::Join => self.wait(reply),
            Wanted::Wait(until) if until - now <= PATIENCE => self.wait(reply),
            Wanted::Wait(until) => drop(reply.send(Err(self.held_off(until - now)))),
            Wanted::Never => {
                drop(reply.send(Err(self.failed(FailureCause::Unavailable, TAKEN_AWAY))));
            }
        }
    }

    pub(super) fn wait(&mut self, reply: Reply) {
        self.waiting.retain(|waiting| !waiting.is_closed());
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push(reply);
        } else {
            drop(reply.send(Err(
                self.failed(FailureCause::Unavailable, "too many wait for it"),
            )));
        }
    }

    pub(super) fn failed(&self, cause: FailureCause, detail: impl Into<String>) -> Failure {
        Failure {
            server: self.name.clone(),
            cause,
            detail: detail.into(),
        }
    }

    /// What is said to those who come while it is held off: what happened last, and when to come again.
    pub(super) fn held_off(&self, left: Duration) -> Failure {
        let seconds = left.as_secs() + 1;
        match &self.failure {
            Some(last) if last.cause == FailureCause::NeedsLogin => last.clone(),
            Some(last) => self.failed(
                FailureCause::HeldOff,
                format!(
                    "it failed {} times in a row and is tried again in {seconds} s; last: {}",
                    self.life.failures(),
                    last.detail
                ),
            ),
            None => self.failed(FailureCause::HeldOff, format!("it is tried again in {seconds} s")),
        }
    }

    pub(super) fn begin(&mut self, now: Instant) {
        if !self.life.start(now) {
            return;
        }
        self.outdated = false;
        let order = Order {
            name: self.name.clone(),
            owner: self.owner,
            definition: Arc::clone(&self.definition),
            wiring: Arc::clone(&self.wiring),
            shelf: Arc::clone(&self.shelf),
            hub: Arc::clone(&self.hub),
        };
        self.running = Running::Starting(start(order));
    }

    pub(super) async fn started(&mut self, outcome: Result<Up, Failure>) {
        let up = match outcome {
            Ok(up) => up,
            Err(failure) => {
                self.running = Running::Nothing;
                return self.fell(failure);
            }
        };
        self.life.started();
        self.failure = None;
        self.offer(up.offer.clone());
        let live = Arc::clone(&up.live);
        self.running = Running::Up(Box::new(up));
        self.outlets.live.send_replace(Some(Arc::clone(&live)));
        for reply in self.waiting.drain(..) {
            drop(reply.send(Ok(Arc::clone(&live))));
        }
        if let Running::Up(up) = &mut self.running {
            up.errands.listen(&live, &self.hub);
        }
    }

    /// It ended by itself, or has to be ended because it does not answer.
    pub(super) async fn ended(&mut self, failure: Failure) {
        let Running::Up(up) = std::mem::replace(&mut self.running, Running::Nothing) else {
            return;
        };
        if up.live.calls.is_proved() || up.since.elapsed() >= self.wiring.limits.max_backoff {
            self.life.proved();
        }
        self.outlets.live.send_replace(None);
        up.end(failure.clone(), self.wiring.limits.stop_grace).await;
        let waiting = std::mem::take(&mut self.waiting);
        self.fell(failure);
        // Who came meanwhile has not been let down yet.
        for reply in waiting {
            self.want(reply);
        }
    }

    /// It failed, and whoever waits is told.
    pub(super) fn fell(&mut self, failure: Failure) {
        tracing::info!(server = %self.name, cause = ?failure.cause, detail = failure.detail, "an MCP server failed");
        let fault = match failure.cause {
            FailureCause::NeedsLogin => Fault::Login,
            _ => Fault::Failure,
        };
        self.life.failed(fault, Instant::now());
        self.failure = Some(failure.clone());
        for reply in self.waiting.drain(..) {
            drop(reply.send(Err(failure.clone())));
        }
    }

    /// Ends what runs, as it should be.
    pub(super) async fn stop(&mut self, cause: FailureCause, why: &'static str) {
        let failure = self.failed(cause, why);
        self.outlets.live.send_replace(None);
        for reply in self.waiting.drain(..) {
            drop(reply.send(Err(failure.clone())));
        }
        match std::mem::replace(&mut self.running, Running::Nothing) {
            Running::Up(up) => {
                if up.live.calls.is_proved() {
                    self.life.proved();
                }
                up.end(failure, self.wiring.limits.stop_grace).await;
            }
            Running::Starting(starting) => starting.give_up(self.wiring.limits.stop_grace).await,
            Running::Nothing => {}
        }
        self.life.stopped();
        self.forget_if_outdated().await;
    }
}
