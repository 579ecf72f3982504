//! The audit log, for those who write to it and have no store: doors and front ends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{AuditDecision, AuditEntry};
use crate::error::Result;
use crate::store::Store;

/// So many refusals that nobody was let in for are written at once, …
const BURST: u32 = 200;
/// … and then one in each of these spans: a stranger must not be able to fill the disk with lines.
const REFILL: Duration = Duration::from_millis(200);

/// Writes to the audit log. Cheap to clone; clones share the bound on refusals.
#[derive(Clone)]
pub struct AuditLog {
    store: Store,
    strangers: Arc<Mutex<Bucket>>,
}

impl std::fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("AuditLog").field(&self.store).finish()
    }
}

impl AuditLog {
    /// The audit log of a store.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            strangers: Arc::new(Mutex::new(Bucket::full(Instant::now()))),
        }
    }

    /// Writes a line; it is durable when this returns.
    ///
    /// # Errors
    /// As of every method of the store.
    pub async fn record(&self, entry: AuditEntry) -> Result<()> {
        self.store.audit(entry).await.map(drop)
    }

    /// Writes that somebody was turned away at a door before it could be told who that is: without a token, with a wrong
    /// one, from a wrong origin, too often. Bounded in rate; the next line that is written says how many were left out.
    ///
    /// # Errors
    /// As of every method of the store.
    pub async fn turned_away(
        &self,
        actor: impl Into<String> + Send,
        action: impl Into<String> + Send,
        rule: &'static str,
        detail: Option<String>,
    ) -> Result<()> {
        let Some(left_out) = self.take() else {
            return Ok(());
        };
        let detail = match left_out {
            0 => detail,
            count => Some(format!(
                "{}{count} more before it were left out",
                detail.map(|detail| detail + "; ").unwrap_or_default()
            )),
        };
        self.record(AuditEntry {
            actor: actor.into(),
            action: action.into(),
            session: None,
            decision: AuditDecision::Refused,
            rule: Some(rule.to_owned()),
            detail,
        })
        .await
    }

    fn take(&self) -> Option<u64> {
        self.strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(Instant::now())
    }
}

/// What may still be written of strangers.
#[derive(Debug)]
struct Bucket {
    places: u32,
    since: Instant,
    left_out: u64,
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self {
            places: BURST,
            since: now,
            left_out: 0,
        }
    }

    /// Takes a place. Answers with how many had none since the last that had.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let spans = now.duration_since(self.since).as_millis() / REFILL.as_millis();
        let gained = u32::try_from(spans).unwrap_or(u32::MAX);
        if gained > 0 {
            self.places = self.places.saturating_add(gained).min(BURST);
            self.since = now;
        }
        let Some(left) = self.places.checked_sub(1) else {
            self.left_out += 1;
            return None;
        };
        self.places = left;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_fills_no_disk_and_is_counted() {
        let start = Instant::now();
        let mut bucket = Bucket::full(start);
        let written = (0..10_000).filter(|_| bucket.take(start).is_some()).count();
        assert_eq!(written, BURST as usize);
        assert_eq!(bucket.take(start + REFILL), Some(10_000 - u64::from(BURST)));
        assert_eq!(bucket.take(start + REFILL), None);
        assert_eq!(bucket.take(start + 2 * REFILL), Some(1));
        let later = start + Duration::from_secs(1_000_000);
        let again = (0..10_000).filter(|_| bucket.take(later).is_some()).count();
        assert_eq!(again, BURST as usize);
    }
}
