//! What this process saw of the engine as a whole: so that containers which ended with it are told from those which ended by
//! themselves.
//!
//! An engine that knows since when it runs is believed. Of one that does not, or that is about to go, it is known that its
//! watch broke off, or that many containers ended at once.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::id::SessionId;

/// How long after the engine was away an end is put down to that.
const AFTERMATH: Duration = Duration::from_secs(10);
/// Ends of several sessions within this time are one event.
const AT_ONCE: Duration = Duration::from_secs(2);
/// How far the end of a container and the start of the engine lie apart at most: an engine that stops waits for its
/// containers, and one that starts clears up after those that it lost.
const AROUND_START: Duration = Duration::from_secs(60);
/// Ends that are remembered.
const ENDS: usize = 64;

/// See the module. Shared by the sessions of one manager.
#[derive(Debug, Default)]
pub(crate) struct EngineSight {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    away: Option<Instant>,
    ends: VecDeque<(Instant, SessionId)>,
}

impl EngineSight {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Nothing is left half done under this lock.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engine does not answer, or broke off.
    pub(crate) fn went_away(&self) {
        self.seen().away = Some(Instant::now());
    }

    /// A container ended without a cause of its own.
    pub(super) fn ended(&self, session: SessionId) {
        let mut seen = self.seen();
        if seen.ends.len() >= ENDS {
            seen.ends.pop_front();
        }
        seen.ends.push_back((Instant::now(), session));
    }

    /// Whether the engine was away just now, or another session's container ended at the same time.
    pub(super) fn restarts(&self, session: &SessionId) -> bool {
        let seen = self.seen();
        let away = seen.away.is_some_and(|at| at.elapsed() <= AFTERMATH);
        let mut ends = seen.ends.iter();
        away || ends.any(|(at, other)| other != session && at.elapsed() <= AT_ONCE)
    }
}

/// Whether a container that ran from `began` to `ended` ended with the engine that was there before the one that runs since
/// `engine`.
pub(super) fn ended_with_engine(began: Timestamp, ended: Timestamp, engine: Timestamp) -> bool {
    began < engine && engine.duration_since(ended).unsigned_abs() <= AROUND_START
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_end_is_an_end_and_several_at_once_are_a_restart() {
        let sight = EngineSight::default();
        let (one, other) = (SessionId::new(), SessionId::new());
        sight.ended(one);
        assert!(!sight.restarts(&one));
        sight.ended(other);
        assert!(sight.restarts(&one) && sight.restarts(&other));
        tokio::time::advance(AT_ONCE * 2).await;
        assert!(!sight.restarts(&one));
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_that_was_away_explains_ends_for_a_while() {
        let sight = EngineSight::default();
        sight.went_away();
        assert!(sight.restarts(&SessionId::new()));
        tokio::time::advance(AFTERMATH * 2).await;
        assert!(!sight.restarts(&SessionId::new()));
    }

    #[test]
    fn an_end_long_before_or_after_the_start_has_another_cause() {
        let engine = Timestamp::now();
        let at = |seconds| engine + jiff::SignedDuration::from_secs(seconds);
        for (seconds, expected) in [(-3600, false), (-15, true), (5, true), (3600, false)] {
            assert_eq!(
                ended_with_engine(at(-7200), at(seconds), engine),
                expected,
                "{seconds} s"
            );
        }
        assert!(
            !ended_with_engine(at(1), at(5), engine),
            "it began under the engine that runs"
        );
    }
}
