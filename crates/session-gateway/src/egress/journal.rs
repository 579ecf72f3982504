//! Keeps repetitions down: the same outcome for the same host is told once a minute.
//!
//! A program in a retry loop, or one that floods the door with names, must not fill the session's history. The tables are
//! bounded, one for what was allowed and one for what was denied, so that a flood of denied names hides no host that was
//! reached.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use session_core::egress::DenialReason;
use tokio::time::Instant;

/// For how long the same is not told again.
const QUIET: Duration = Duration::from_secs(60);
/// Outcomes of each sort that are told within that time; more are told to nobody but the log.
const MAX_TOLD: usize = 256;

/// What is remembered of a session.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    allowed: Mutex<Table>,
    denied: Mutex<Table>,
}

type Table = HashMap<(String, u16, Option<DenialReason>), Instant>;

impl Journal {
    /// Whether this outcome is to be told: allowed when there is no reason.
    pub(crate) fn is_news(&self, host: &str, port: u16, reason: Option<DenialReason>) -> bool {
        let mut table = self.table(reason);
        let now = Instant::now();
        let key = (host.to_owned(), port, reason);
        match table.get(&key) {
            Some(told) if now.duration_since(*told) < QUIET => return false,
            Some(_) => {}
            None if table.len() >= MAX_TOLD => {
                table.retain(|_, told| now.duration_since(*told) < QUIET);
                if table.len() >= MAX_TOLD {
                    return false;
                }
            }
            None => {}
        }
        table.insert(key, now);
        true
    }

    /// What was news could not be told, so it is news still.
    pub(crate) fn take_back(&self, host: &str, port: u16, reason: Option<DenialReason>) {
        self.table(reason).remove(&(host.to_owned(), port, reason));
    }

    fn table(&self, reason: Option<DenialReason>) -> MutexGuard<'_, Table> {
        let table = if reason.is_none() {
            &self.allowed
        } else {
            &self.denied
        };
        table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO: Option<DenialReason> = Some(DenialReason::NotAllowed);

    #[tokio::test(start_paused = true)]
    async fn the_same_outcome_is_told_once_a_minute() {
        let journal = Journal::default();
        assert!(journal.is_news("a.example", 443, NO));
        assert!(!journal.is_news("a.example", 443, NO));
        assert!(journal.is_news("a.example", 80, NO));
        assert!(journal.is_news("a.example", 443, None));
        assert!(journal.is_news("a.example", 443, Some(DenialReason::Refused)));
        tokio::time::advance(QUIET).await;
        assert!(journal.is_news("a.example", 443, NO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_names_is_bounded_and_hides_nothing_that_was_allowed() {
        let journal = Journal::default();
        let told = (0..10_000)
            .filter(|index| journal.is_news(&format!("{index}.example"), 443, NO))
            .count();
        assert_eq!(told, MAX_TOLD);
        assert!(journal.is_news("reached.example", 443, None));
        tokio::time::advance(QUIET).await;
        assert!(journal.is_news("later.example", 443, NO));
        assert_eq!(journal.denied.lock().unwrap().len(), 1);
    }
}
