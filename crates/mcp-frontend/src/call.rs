//! One call of a tool: who waits for it, how they are told how far it is, and how they take it back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::{CreateTaskResult, ProgressNotificationParam, ProgressToken};
use rmcp::service::Peer;
use session_core::error::Error;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::core::Core;
use crate::failure::Failure;

/// How often a client is told about progress at most.
const PACE: Duration = Duration::from_millis(400);

/// Why a tool gives no output of its own.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It failed.
    Failed(Failure),
    /// The client takes a task of the protocol's extension and asks for the result by itself.
    Handed(Box<CreateTaskResult>),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error.into())
    }
}

/// See the module.
pub(crate) struct Call {
    pub(crate) core: Arc<Core>,
    /// The client took the call back, or went away.
    pub(crate) cancelled: CancellationToken,
    /// The client declared the tasks extension.
    pub(crate) takes_tasks: bool,
    audience: Option<(Peer<RoleServer>, ProgressToken)>,
    told: Mutex<Told>,
    warnings: Mutex<Vec<String>>,
}

#[derive(Debug)]
struct Told {
    count: u32,
    last: Option<Instant>,
    /// What would have been said, had it not been too soon.
    held: Option<String>,
}

impl Call {
    pub(crate) fn new(
        core: Arc<Core>,
        cancelled: CancellationToken,
        takes_tasks: bool,
        audience: Option<(Peer<RoleServer>, ProgressToken)>,
    ) -> Self {
        Self {
            core,
            cancelled,
            takes_tasks,
            audience,
            told: Mutex::new(Told {
                count: 0,
                last: None,
                held: None,
            }),
            warnings: Mutex::default(),
        }
    }

    /// Adds a sentence to the result's warnings.
    pub(crate) fn warn(&self, warning: impl Into<String>) {
        self.warnings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(warning.into());
    }

    /// The sentences, for the result.
    pub(crate) fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether anybody hears of progress.
    pub(crate) fn is_watched(&self) -> bool {
        self.audience.is_some()
    }

    /// Says what goes on, unless something was said a moment ago; then it is kept for the next beat.
    pub(crate) async fn tell(&self, message: String) {
        let soon = {
            let mut told = self.told();
            let soon = told.last.is_some_and(|last| last.elapsed() < PACE);
            if soon {
                told.held = Some(message.clone());
            }
            soon
        };
        if !soon {
            self.say(message).await;
        }
    }

    /// Says what was kept back, or that it still goes on.
    pub(crate) async fn beat(&self, otherwise: impl FnOnce() -> String) {
        let held = self.told().held.take();
        let overdue = self
            .told()
            .last
            .is_none_or(|last| last.elapsed() >= self.core.options.heartbeat);
        match held {
            Some(message) => self.say(message).await,
            None if overdue => self.say(otherwise()).await,
            None => {}
        }
    }

    /// Ticks for [`Call::beat`]; the first comes at once.
    pub(crate) fn beats(&self) -> tokio::time::Interval {
        let mut beats = tokio::time::interval(
            PACE.max(Duration::from_millis(500))
                .min(self.core.options.heartbeat),
        );
        beats.set_missed_tick_behavior(MissedTickBehavior::Skip);
        beats
    }

    async fn say(&self, message: String) {
        let Some((peer, token)) = &self.audience else {
            return;
        };
        let count = {
            let mut told = self.told();
            told.count += 1;
            told.last = Some(Instant::now());
            told.held = None;
            told.count
        };
        let progress = ProgressNotificationParam::new(token.clone(), f64::from(count)).with_message(message);
        // Both arms only wait: a client that does not read must not keep us from noticing that it gave up.
        tokio::select! {
            sent = peer.notify_progress(progress) => {
                if sent.is_err() {
                    tracing::debug!("the client is gone; progress is not told");
                }
            }
            () = self.cancelled.cancelled() => {}
        }
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
