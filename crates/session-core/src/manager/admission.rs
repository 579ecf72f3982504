//! Admission: how many sessions there may be, and how many are made at once. What the host would not hold is refused at the
//! door, with the advice to come again, instead of being begun and lost.
//!
//! ```text
//!  request ──▶ a place in the queue ──▶ a turn to be made ──▶ room on the host? ──▶ recorded, made
//!                   │ full                                       │ no
//!                   └──────────── LimitExceeded, retryable ◀─────┘
//! ```
//!
//! A request that is repeated with its key comes back to its session without being asked any of this.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{Mutex, MutexGuard, OwnedSemaphorePermit, Semaphore};

use super::{SessionManager, lifetimes};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Inserted, SessionRecord, Store};

const OPERATION: &str = "create the session";
/// What Linux says of its memory.
const MEMORY: &str = "/proc/meminfo";

/// How many sessions a host is asked to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionPolicy {
    /// Sessions that have not ended, of the whole state directory.
    pub max_sessions: usize,
    /// Bytes of the host's memory that no session is to take.
    pub memory_reserve: u64,
    /// Bytes that a session takes soon after it was made. Its limit is not reserved for it: few ever reach theirs.
    pub session_memory: u64,
    /// Sessions that are made at the same time by one process.
    pub concurrent_creations: usize,
    /// Requests for sessions that wait for their turn in one process.
    pub waiting_creations: usize,
}

impl Default for AdmissionPolicy {
    /// 1,024 sessions; 256 MiB of memory left, and 128 MiB for each session; four at once for each core, and 256 that wait.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            max_sessions: 1024,
            memory_reserve: 256 << 20,
            session_memory: 128 << 20,
            concurrent_creations: 4 * cores,
            waiting_creations: 256,
        }
    }
}

/// Who may be made, of one process.
pub(crate) struct Door {
    policy: AdmissionPolicy,
    /// Whether sessions run on this host.
    here: bool,
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    /// How many turns there are.
    most: usize,
    /// One at a time looks for room and takes it.
    counter: Mutex<()>,
}

/// The right to make a session, for as long as it is made.
pub(crate) struct Turn {
    _place: Option<OwnedSemaphorePermit>,
    _turn: OwnedSemaphorePermit,
}

impl Door {
    pub(super) fn new(policy: AdmissionPolicy, here: bool) -> Self {
        let turns = policy.concurrent_creations.clamp(1, Semaphore::MAX_PERMITS / 2);
        let places = policy.waiting_creations.min(Semaphore::MAX_PERMITS / 2) + turns;
        Self {
            policy,
            here,
            places: Arc::new(Semaphore::new(places)),
            turns: Arc::new(Semaphore::new(turns)),
            most: turns,
            counter: Mutex::default(),
        }
    }

    /// Waits for a turn. Dropping the future leaves the queue.
    ///
    /// # Errors
    /// `LimitExceeded` when too many wait already.
    pub(super) async fn enter(&self) -> Result<Turn> {
        let full = || {
            refused("too many sessions are being made").with_context("waiting", self.policy.waiting_creations)
        };
        let place = self.places.clone().try_acquire_owned().map_err(|_| full())?;
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| full())?;
        Ok(Turn {
            _place: Some(place),
            _turn: turn,
        })
    }

    /// Whether there is room for one more. What is given back is held until the session is recorded, so that two do not
    /// take the same place.
    ///
    /// # Errors
    /// `LimitExceeded` when there is none.
    pub(super) async fn room(&self, store: &Store) -> Result<MutexGuard<'_, ()>> {
        let guard = self.counter.lock().await;
        let listing = store.listing().await?;
        let alive = listing.sessions().len();
        if alive >= self.policy.max_sessions {
            return Err(refused("there are as many sessions as there may be")
                .with_context("sessions", alive)
                .with_context("limit", self.policy.max_sessions)
                .with_hint("destroy sessions that are not needed any more, or wait until some end"));
        }
        self.has_memory()?;
        Ok(guard)
    }

    /// A turn for a session that comes back by itself; `None` when it has to wait, for those that are being made or for
    /// memory. Whoever asked for a session and waits comes before it.
    pub(crate) fn turn_for_comeback(&self) -> Option<Turn> {
        let turn = self.turns.clone().try_acquire_owned().ok()?;
        self.has_memory().ok()?;
        Some(Turn {
            _place: None,
            _turn: turn,
        })
    }

    /// A turn for a session that somebody wants back.
    ///
    /// # Errors
    /// `LimitExceeded` when too many wait already, or the host has too little memory left.
    pub(crate) async fn turn_for_asked_comeback(&self) -> Result<Turn> {
        let turn = self.enter().await?;
        self.has_memory()?;
        Ok(turn)
    }

    fn has_memory(&self) -> Result<()> {
        let known = || {
            std::fs::read_to_string(MEMORY)
                .ok()
                .and_then(|text| available(&text))
        };
        let Some(available) = self.here.then(known).flatten() else {
            return Ok(());
        };
        // What others are making has hardly begun to grow.
        let making = self.most.saturating_sub(self.turns.available_permits());
        self.judge_memory(available, making.max(1))
    }

    fn judge_memory(&self, available: u64, making: usize) -> Result<()> {
        let sessions = self.policy.session_memory.saturating_mul(making as u64);
        let needed = self.policy.memory_reserve.saturating_add(sessions);
        if available >= needed {
            return Ok(());
        }
        Err(refused("the host has too little memory left for another session")
            .with_context("available_bytes", available)
            .with_context("needed_bytes", needed)
            .with_hint("wait until other sessions have ended, destroy some, or let the host's operator lower the reserve"))
    }
}

impl SessionManager {
    /// Records a session when there is room for it. Its maker holds its turn until it is made.
    pub(super) async fn admit(&self, record: &mut SessionRecord) -> Result<(Option<Turn>, Inserted)> {
        let store = &self.inner.foundation.store;
        if let Some(key) = &record.idempotency_key
            && store.has_session_of_key(key).await?
        {
            return Ok((None, store.insert_session(record.clone()).await?));
        }
        let door = &self.inner.foundation.door;
        let turn = door.enter().await?;
        let _room = door.room(store).await?;
        // From here on it is being made. Whoever finds it later without its maker judges by this.
        let now = Timestamp::now();
        (record.info.created_at, record.info.updated_at) = (now, now);
        record.info.lease_until = record.info.lifetime.lease_ms.map(lifetimes::lease_until);
        record.timers = lifetimes::begun(&record.info)?;
        Ok((Some(turn), store.insert_session(record.clone()).await?))
    }
}

fn refused(message: &'static str) -> Error {
    Error::new(ErrorKind::LimitExceeded, OPERATION, message)
        .with_retryable(true)
        .with_hint("try again in a while")
}

/// The bytes that programs can get without swapping, as the kernel estimates them.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(policy: AdmissionPolicy) -> Door {
        Door::new(policy, true)
    }

    #[test]
    fn the_kernel_s_estimate_is_read() {
        let text = "MemTotal:       24683112 kB\nMemFree:         123 kB\nMemAvailable:   20933612 kB\n";
        assert_eq!(available(text), Some(20_933_612 << 10));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
        assert_eq!(available("MemAvailable: much\n"), None);
        assert!(available(&std::fs::read_to_string(MEMORY).unwrap()).unwrap() > 1 << 20);
    }

    #[test]
    fn memory_is_left_for_the_host_and_for_those_that_are_being_made() {
        let door = door(AdmissionPolicy {
            memory_reserve: 1000,
            session_memory: 100,
            ..AdmissionPolicy::default()
        });
        assert!(door.judge_memory(1100, 1).is_ok());
        assert!(door.judge_memory(1300, 3).is_ok());
        for (available, making) in [(1099, 1), (1299, 3), (0, 1)] {
            let refused = door.judge_memory(available, making).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::LimitExceeded);
            assert!(refused.is_retryable() && refused.hint().is_some());
        }
        let greedy = AdmissionPolicy {
            memory_reserve: u64::MAX,
            ..AdmissionPolicy::default()
        };
        assert!(Door::new(greedy, true).judge_memory(u64::MAX - 1, 7).is_err());
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_goes_on() {
        let door = Arc::new(door(AdmissionPolicy {
            concurrent_creations: 1,
            waiting_creations: 1,
            ..AdmissionPolicy::default()
        }));
        let first = door.enter().await.unwrap();
        let second = {
            let door = door.clone();
            tokio::spawn(async move { door.enter().await.map(drop) })
        };
        while door.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let third = door.enter().await.err().unwrap();
        assert_eq!(
            (third.kind(), third.is_retryable()),
            (ErrorKind::LimitExceeded, true)
        );
        drop(first);
        second.await.unwrap().unwrap();
        door.enter().await.unwrap();
    }
}
