//! How long work is kept: counted, never compared with a time of day.
//!
//! A clock that is set wrong, by a battery that is empty or by hand, would make all that is kept look old, and what was
//! removed does not come back when the clock does. So this adds up what passes between two looks by the clock since the
//! machine started, and of the time in which it did not run a day at most.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::SessionManager;
use super::lifetimes::Moment;
use crate::error::{Error, ErrorKind, Result};

/// Where the store has it.
const FACT: &str = "kept_time";
/// What counts of the time between two starts of the machine, which only the time of day knows.
const MOST_UNSEEN: Duration = Duration::from_secs(24 * 60 * 60);

/// The sum, and until when.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct KeptTime {
    counted_ms: u64,
    until: Moment,
}

impl KeptTime {
    /// Goes on counting.
    fn after(before: Option<&Self>, now: Moment) -> Self {
        let passed = before.map_or(Duration::ZERO, |before| {
            let passed = now.since(&before.until);
            if now.same_boot(&before.until) {
                passed
            } else {
                passed.min(MOST_UNSEEN)
            }
        });
        let passed = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        Self {
            counted_ms: before
                .map_or(0, |before| before.counted_ms)
                .saturating_add(passed),
            until: now,
        }
    }
}

impl SessionManager {
    /// The time by which it is judged how long work was kept, in milliseconds. Stored, and noted of what has begun to be
    /// kept only for a time, unless it is a dry run.
    pub(super) async fn kept_ms(&self, dry_run: bool) -> Result<u64> {
        let store = &self.inner.foundation.store;
        let before: Option<KeptTime> = store
            .meta(FACT)
            .await?
            .and_then(|before| serde_json::from_str(&before).ok());
        let now = KeptTime::after(before.as_ref(), Moment::now());
        if !dry_run {
            let written = serde_json::to_string(&now).map_err(|source| {
                Error::new(
                    ErrorKind::Internal,
                    "count how long work is kept",
                    "it cannot be written",
                )
                .with_source(source)
            })?;
            store.set_meta(FACT, Some(written)).await?;
            store.note_ended_checkpoints(now.counted_ms).await?;
        }
        Ok(now.counted_ms)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(boot: &str, uptime: Duration, wall_hours: i64) -> Moment {
        let wall = Timestamp::from_second(1_800_000_000 + wall_hours * 3600).unwrap();
        Moment::at(Some(boot), uptime, wall)
    }

    fn counted(moments: Vec<Moment>) -> Duration {
        let mut time: Option<KeptTime> = None;
        for moment in moments {
            time = Some(KeptTime::after(time.as_ref(), moment));
        }
        Duration::from_millis(time.unwrap().counted_ms)
    }

    #[test]
    fn a_clock_that_jumps_makes_nothing_older() {
        let jumps = vec![
            at("a", HOUR, 1),
            at("a", 2 * HOUR, 10_000),
            at("a", 3 * HOUR, -10_000),
        ];
        assert_eq!(counted(jumps), 2 * HOUR);
        let starts = vec![
            at("a", HOUR, 0),
            at("b", HOUR, 100_000),
            at("c", HOUR, -100_000),
            at("c", 2 * HOUR, 0),
        ];
        assert_eq!(counted(starts), MOST_UNSEEN + HOUR);
    }

    #[test]
    fn time_passes_also_while_nobody_looks() {
        assert_eq!(counted(vec![at("a", HOUR, 0), at("b", HOUR, 5)]), 5 * HOUR);
        assert_eq!(
            counted(vec![at("a", HOUR, 0), at("a", 800 * HOUR, 0)]),
            799 * HOUR
        );
    }
}
