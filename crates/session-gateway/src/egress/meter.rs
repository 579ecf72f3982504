//! What a session moves: counted, bounded in total, and slowed down to a rate.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How far ahead of its rate a session may be: a short connection is not slowed down at all.
const BURST: Duration = Duration::from_secs(1);

/// The session may move nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spent;

/// The bytes of one session, both ways and over all its connections.
#[derive(Debug)]
pub(crate) struct Meter {
    moved: AtomicU64,
    limit: Option<u64>,
    /// Bytes per second.
    rate: Option<u64>,
    /// When what was let through so far is paid for by time.
    paid_at: Mutex<Option<Instant>>,
}

impl Meter {
    pub(crate) fn new(limit: Option<u64>, rate: Option<u64>) -> Self {
        Self {
            moved: AtomicU64::new(0),
            limit,
            rate: rate.filter(|rate| *rate > 0),
            paid_at: Mutex::new(None),
        }
    }

    pub(crate) fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.limit.is_some_and(|limit| self.moved() >= limit)
    }

    /// Counts `bytes` that are about to pass.
    ///
    /// # Errors
    /// `Spent` when they are more than what is left; then they must not pass.
    pub(crate) fn count(&self, bytes: usize) -> Result<Option<Instant>, Spent> {
        let bytes = bytes as u64;
        let before = self.moved.fetch_add(bytes, Ordering::Relaxed);
        if self
            .limit
            .is_some_and(|limit| before.saturating_add(bytes) > limit)
        {
            return Err(Spent);
        }
        Ok(self.rate.and_then(|rate| self.schedule(bytes, rate)))
    }

    /// The moment at which the bytes may pass; `None` for now. Whoever asks gets the next free stretch of time, so the
    /// connections of a session share its rate.
    fn schedule(&self, bytes: u64, rate: u64) -> Option<Instant> {
        let now = Instant::now();
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        // What was not used before the burst is lost.
        let start = paid_at.map_or(now, |at| at.max(now));
        let takes = Duration::from_secs_f64(bytes as f64 / rate as f64);
        *paid_at = Some(start + takes);
        let wait = (start - now).saturating_sub(BURST);
        (!wait.is_zero()).then(|| now + wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_byte_passes_and_one_more_does_not() {
        let meter = Meter::new(Some(10), None);
        assert_eq!(meter.count(4), Ok(None));
        assert!(!meter.is_spent());
        assert_eq!(meter.count(6), Ok(None));
        assert!(meter.is_spent());
        assert_eq!(meter.count(1), Err(Spent));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_holds_over_all_that_ask() {
        let meter = Meter::new(None, Some(1000));
        let started = Instant::now();
        for _ in 0..100 {
            if let Ok(Some(until)) = meter.count(100) {
                tokio::time::sleep_until(until).await;
            }
        }
        let took = started.elapsed();
        // Ten seconds' worth, less the burst and the piece that starts last.
        assert!((8.0..=10.0).contains(&took.as_secs_f64()), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_connection_is_not_slowed_down() {
        let meter = Meter::new(None, Some(1000));
        assert_eq!(meter.count(900), Ok(None));
        assert_eq!(meter.count(50), Ok(None));
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(meter.count(1000), Ok(None));
        // Idle time is not saved up.
        assert_eq!(meter.count(1000), Ok(None));
        assert!(meter.count(1000).unwrap().is_some());
    }
}
