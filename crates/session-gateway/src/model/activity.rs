//! What goes on at the model door of a session, so that whoever watches its agent can tell waiting from hanging.
//!
//! Counters only: written on the way of every byte, read whenever somebody asks, and never waited for.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use session_core::gateway::{ModelActivity, ModelFailure};
use tokio::time::Instant;

use super::refusal::Refusal;

/// How long a failure that comes back is no news.
const QUIET: Duration = Duration::from_secs(60);
/// The `ended` of a session without a request that ended.
const NEVER: u64 = u64::MAX;

/// One session's counters.
#[derive(Debug)]
pub(crate) struct Activity {
    /// All times are milliseconds since then.
    born: Instant,
    under_way: AtomicU32,
    queued: AtomicU32,
    moved: AtomicU64,
    ended: AtomicU64,
    failures: Mutex<Failures>,
}

#[derive(Debug, Default)]
struct Failures {
    /// How the last request failed.
    last: Option<ModelFailure>,
    /// How many in a row did.
    count: u32,
    /// What was told, and when.
    told: Vec<(ModelFailure, Instant)>,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            born: Instant::now(),
            under_way: AtomicU32::new(0),
            queued: AtomicU32::new(0),
            moved: AtomicU64::new(0),
            ended: AtomicU64::new(NEVER),
            failures: Mutex::default(),
        }
    }
}

impl Activity {
    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(NEVER - 1)
    }

    /// A request waits here.
    pub(crate) fn queue(&self) {
        self.queued.fetch_add(1, Ordering::Relaxed);
    }

    /// It waits no more.
    pub(crate) fn unqueue(&self) {
        self.queued.fetch_sub(1, Ordering::Relaxed);
    }

    /// A request goes out.
    pub(crate) fn begin(&self) {
        self.moved();
        self.under_way.fetch_add(1, Ordering::Relaxed);
    }

    /// Something moved on a request, in either direction.
    pub(crate) fn moved(&self) {
        self.moved.store(self.now(), Ordering::Relaxed);
    }

    /// A request that went out is over.
    pub(crate) fn end(&self) {
        self.ended.store(self.now(), Ordering::Relaxed);
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }

    /// A request was answered as it should be.
    pub(crate) fn succeeded(&self) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.last = None;
        failures.count = 0;
    }

    /// A request failed. Whether that is news: the first of its kind since the last success, and not heard of lately.
    pub(crate) fn failed(&self, how: ModelFailure) -> bool {
        let now = Instant::now();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.count = failures.count.saturating_add(1);
        let continues = failures.last.replace(how) == Some(how);
        failures.told.retain(|(_, at)| now.duration_since(*at) < QUIET);
        if continues || failures.told.iter().any(|(told, _)| *told == how) {
            return false;
        }
        failures.told.push((how, now));
        true
    }

    /// All of it, now.
    pub(crate) fn snapshot(&self) -> ModelActivity {
        let now = self.now();
        let under_way = self.under_way.load(Ordering::Relaxed);
        let ended = self.ended.load(Ordering::Relaxed);
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        ModelActivity {
            under_way,
            queued: self.queued.load(Ordering::Relaxed),
            silent_ms: (under_way > 0).then(|| now.saturating_sub(self.moved.load(Ordering::Relaxed))),
            idle_ms: (ended != NEVER).then(|| now.saturating_sub(ended)),
            failure: failures.last,
            failures: failures.count,
        }
    }
}

/// How a provider that answers with this status fails. `None` when it works, also when it finds a request wrong.
pub(crate) fn failure_of_status(status: StatusCode) -> Option<ModelFailure> {
    match status.as_u16() {
        401 | 403 => Some(ModelFailure::Unauthorized),
        429 | 503 | 529 => Some(ModelFailure::Overloaded),
        408 | 504 => Some(ModelFailure::Silent),
        402 | 500.. => Some(ModelFailure::Failing),
        _ => None,
    }
}

/// How a provider fails, or what stands for it, from which no answer could be passed on. `None` when it is not the provider that failed.
pub(crate) fn failure_of_refusal(refusal: Refusal) -> Option<ModelFailure> {
    match refusal {
        Refusal::Unreachable { .. } | Refusal::Broken | Refusal::NoTls => Some(ModelFailure::Unreachable),
        Refusal::TimedOut | Refusal::CredentialTimedOut => Some(ModelFailure::Silent),
        Refusal::Redirected | Refusal::Encoded | Refusal::Garbled => Some(ModelFailure::Failing),
        Refusal::NoCredential | Refusal::CredentialExpired | Refusal::CredentialUnusable => {
            Some(ModelFailure::Unauthorized)
        }
        // The session's own doing, or ours: nothing that is wrong with the provider.
        Refusal::Unauthenticated
        | Refusal::MalformedTarget
        | Refusal::UnknownPath
        | Refusal::WrongMethod { .. }
        | Refusal::OtherProject
        | Refusal::BodyTooLarge { .. }
        | Refusal::BodyStalled
        | Refusal::BodyBroken
        | Refusal::TooManyRequests { .. }
        | Refusal::NoMemory
        | Refusal::BudgetSpent(_)
        | Refusal::AccountsUnavailable
        | Refusal::QueueFull { .. }
        | Refusal::QueueTimeout => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ModelFailure::{Overloaded, Silent, Unreachable};

    #[tokio::test(start_paused = true)]
    async fn silence_counts_from_the_last_byte_and_idleness_from_the_last_end() {
        let activity = Activity::default();
        assert_eq!(activity.snapshot(), ModelActivity::default());
        activity.begin();
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(activity.snapshot().silent_ms, Some(3_000));
        activity.moved();
        tokio::time::advance(Duration::from_secs(2)).await;
        activity.begin();
        let now = activity.snapshot();
        assert_eq!((now.under_way, now.silent_ms, now.idle_ms), (2, Some(0), None));
        activity.end();
        activity.end();
        tokio::time::advance(Duration::from_secs(5)).await;
        let now = activity.snapshot();
        assert_eq!(
            (now.under_way, now.silent_ms, now.idle_ms),
            (0, None, Some(5_000))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_news_when_it_starts() {
        let activity = Activity::default();
        assert!(activity.failed(Overloaded));
        assert!(!activity.failed(Overloaded), "it goes on");
        assert!(activity.failed(Unreachable), "another one");
        assert_eq!(
            (activity.snapshot().failure, activity.snapshot().failures),
            (Some(Unreachable), 3)
        );
        activity.succeeded();
        assert_eq!(
            (activity.snapshot().failure, activity.snapshot().failures),
            (None, 0)
        );
        assert!(
            !activity.failed(Overloaded),
            "one that comes and goes is no news each time"
        );
        tokio::time::advance(QUIET).await;
        assert!(!activity.failed(Overloaded), "it went on meanwhile");
        activity.succeeded();
        assert!(activity.failed(Overloaded));
        assert!(activity.failed(Silent));
    }

    #[test]
    fn statuses_tell_how_a_provider_fails() {
        for (status, failure) in [
            (200, None),
            (304, None),
            (400, None),
            (404, None),
            (413, None),
            (401, Some(ModelFailure::Unauthorized)),
            (403, Some(ModelFailure::Unauthorized)),
            (402, Some(ModelFailure::Failing)),
            (429, Some(Overloaded)),
            (503, Some(Overloaded)),
            (529, Some(Overloaded)),
            (504, Some(Silent)),
            (500, Some(ModelFailure::Failing)),
            (520, Some(ModelFailure::Failing)),
        ] {
            assert_eq!(
                failure_of_status(StatusCode::from_u16(status).unwrap()),
                failure,
                "{status}"
            );
        }
    }
}
