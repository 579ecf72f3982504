//! Whether work that could not be done now is tried again, and when.
//!
//! A turn that runs in the agent does not end because we lost sight of it: the engine may be away for a moment, or the
//! link. It is failed only when nothing helped for a while. A turn that waits has somebody who waits for it, so it is
//! failed sooner, with the reason.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, ErrorKind};

/// How long a running turn is looked for.
const RUNNING_PATIENCE: Duration = Duration::from_secs(60);
/// How long handing over a waiting turn is tried.
const WAITING_PATIENCE: Duration = Duration::from_secs(5);
/// Between the first attempts; it doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// What was tried in vain so far.
#[derive(Debug, Default)]
pub(super) struct Retry {
    failing: Option<Failing>,
}

#[derive(Debug, Clone, Copy)]
struct Failing {
    since: Instant,
    pause: Duration,
    next: Instant,
}

impl Retry {
    /// It worked.
    pub(super) fn reset(&mut self) {
        self.failing = None;
    }

    /// When it may be tried again; `None` for at once.
    pub(super) fn next(&self) -> Option<Instant> {
        self.failing.map(|failing| failing.next)
    }

    pub(super) fn is_due(&self) -> bool {
        self.next().is_none_or(|next| next <= Instant::now())
    }

    /// It failed: makes the pause before the next attempt.
    pub(super) fn pause(&mut self) {
        let now = Instant::now();
        let failing = self.failing.get_or_insert(Failing {
            since: now,
            pause: FIRST_PAUSE,
            next: now,
        });
        failing.next = now + failing.pause;
        failing.pause = (failing.pause * 2).min(LAST_PAUSE);
    }

    /// It cannot work before somebody lets it: nothing that was tried so far counts, and it is looked at again in a while.
    pub(super) fn wait(&mut self) {
        let now = Instant::now();
        self.failing = Some(Failing {
            since: now,
            pause: FIRST_PAUSE,
            next: now + LAST_PAUSE,
        });
    }

    /// Whether `error` may pass, for a turn that is `running` in the agent or waits.
    pub(super) fn may_pass(&self, error: &Error, running: bool) -> bool {
        let patience = if running {
            RUNNING_PATIENCE
        } else {
            WAITING_PATIENCE
        };
        let spent = self
            .failing
            .is_some_and(|failing| failing.since.elapsed() >= patience);
        let final_for_both = matches!(
            error.kind(),
            ErrorKind::ContainerLost | ErrorKind::NotFound | ErrorKind::StateConflict
        );
        !spent && !final_for_both && (running || error.is_retryable())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: ErrorKind) -> Error {
        Error::new(kind, "test", "a test")
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_tried_for_a_while_and_what_may_not_is_final() {
        let mut retry = Retry::default();
        assert!(retry.may_pass(&error(ErrorKind::LinkLost), false));
        assert!(retry.may_pass(&error(ErrorKind::EngineFailed), true));
        assert!(!retry.may_pass(&error(ErrorKind::EngineFailed), false));
        assert!(!retry.may_pass(&error(ErrorKind::ContainerLost), true));
        retry.pause();
        assert!(!retry.is_due());
        tokio::time::advance(WAITING_PATIENCE).await;
        assert!(retry.is_due());
        assert!(!retry.may_pass(&error(ErrorKind::LinkLost), false));
        assert!(retry.may_pass(&error(ErrorKind::LinkLost), true));
        tokio::time::advance(RUNNING_PATIENCE).await;
        assert!(!retry.may_pass(&error(ErrorKind::LinkLost), true));
        retry.reset();
        assert!(retry.is_due() && retry.may_pass(&error(ErrorKind::LinkLost), false));
    }

    #[tokio::test(start_paused = true)]
    async fn what_somebody_froze_is_waited_for_and_has_all_the_patience_afterwards() {
        let mut retry = Retry::default();
        retry.pause();
        tokio::time::advance(RUNNING_PATIENCE).await;
        retry.wait();
        assert!(!retry.is_due());
        tokio::time::advance(LAST_PAUSE).await;
        assert!(retry.is_due() && retry.may_pass(&error(ErrorKind::LinkLost), true));
        tokio::time::advance(RUNNING_PATIENCE).await;
        assert!(!retry.may_pass(&error(ErrorKind::LinkLost), true));
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_stay_bounded() {
        let mut retry = Retry::default();
        let mut pauses = Vec::new();
        for _ in 0..10 {
            retry.pause();
            pauses.push(retry.next().unwrap() - Instant::now());
        }
        assert_eq!(pauses[..3], [FIRST_PAUSE, FIRST_PAUSE * 2, FIRST_PAUSE * 4]);
        assert_eq!(pauses[9], LAST_PAUSE);
    }
}
