//! When a session ends by itself: idle for too long, as old as it may become, or with a lease that nobody renewed.
//!
//! A manager that supervises keeps the time of every session that has any limit ([`tally`]), notices who works in it
//! ([`work`]), and ends it when its time has come ([`expire`]). What was counted is stored every few seconds, so that
//! whoever serves next goes on counting.
//!
//! A session that works is never idle: a turn that waits or runs, a command, a copy, and a terminal with somebody at it are
//! work, whichever process serves them.

mod expire;
mod tally;
#[cfg(test)]
mod tests;
mod work;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Semaphore;

use self::expire::Expiry;
pub(super) use self::tally::Moment;
use self::tally::{Marks, Tally, Verdict};
pub(super) use self::work::AtWork;
use super::SessionManager;
use crate::error::{Error, ErrorKind, Result};
use crate::id::SessionId;
use crate::lifetime::ExpiryCause;
use crate::session::SessionInfo;
use crate::state::SessionState;
use crate::store::Batch;

/// How long at most it takes to notice a session that has begun, worked or renewed its lease.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// However short a limit is, it is not looked more often.
const LOOK_LEAST: Duration = Duration::from_millis(50);
/// How often what was counted is stored. A kill forgets so much of it at most, and nothing of who worked.
const STORE_EVERY: Duration = Duration::from_secs(10);
/// Before the end of a session is tried again that failed.
const RETRY: Duration = Duration::from_secs(5);
/// So often a lease is renewed of a session whose state changes meanwhile.
const RENEWALS: u32 = 8;
/// How many sessions are ended at once.
const AT_ONCE: usize = 8;

impl SessionManager {
    pub(super) async fn renew(&self, session: &SessionId) -> Result<SessionInfo> {
        const OPERATION: &str = "renew the lease";
        for _ in 1..RENEWALS {
            match self.try_renew(session, OPERATION).await {
                // A turn began or ended in between.
                Err(error) if error.kind() == ErrorKind::StateConflict => {}
                renewed => return renewed,
            }
        }
        self.try_renew(session, OPERATION).await
    }

    async fn try_renew(&self, session: &SessionId, operation: &'static str) -> Result<SessionInfo> {
        let record = self.record(session, operation).await?;
        if record.info.state.has_ended() || matches!(record.info.state, SessionState::Destroying) {
            return Err(
                Error::new(ErrorKind::StateConflict, operation, "the session has ended")
                    .with_context("session", session)
                    .with_hint("create a new one"),
            );
        }
        let Some(lease) = record.info.lifetime.lease_ms else {
            return Ok(record.info);
        };
        let batch = Batch {
            lease_until: Some(lease_until(lease)),
            expect_state: Some(record.info.state.name()),
            ..Batch::default()
        };
        self.inner.foundation.store.commit(session, batch).await?;
        Ok(self.record(session, operation).await?.info)
    }

    /// Whether a session lives here that ends by itself: a process that leaves would not be there to end it.
    pub fn keeps_time(&self) -> bool {
        self.inner.timed.load(Ordering::Relaxed) > 0
    }

    /// Keeps the time of every session that has a limit, for as long as it is polled.
    pub(super) async fn keep_time(&self) {
        let mut keeper = Keeper::new(self.clone());
        loop {
            let next = keeper.look().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "the sessions' time could not be kept");
                LOOK_EVERY
            });
            tokio::time::sleep(next).await;
        }
    }
}

/// What a lease that is given now is said to last until. Only for people to see: nobody judges by it. No finer than it is
/// stored, so that it is the same wherever it is read.
pub(super) fn lease_until(lease_ms: u64) -> Timestamp {
    let now = Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap_or(Timestamp::MAX);
    now.checked_add(Duration::from_millis(lease_ms))
        .unwrap_or(Timestamp::MAX)
}

/// What is stored of the time of a session that is about to be made; `None` of one that never ends by itself.
pub(super) fn begun(info: &SessionInfo) -> Result<Option<String>> {
    if info.lifetime.is_unlimited() {
        return Ok(None);
    }
    Tally::begin(info, Moment::now()).text().map(Some)
}

/// The time of the sessions with a limit, as one process counts it.
struct Keeper {
    manager: SessionManager,
    kept: HashMap<SessionId, Kept>,
    looked: Instant,
    stored: Instant,
    places: Arc<Semaphore>,
}

struct Kept {
    tally: Tally,
    ending: Option<tokio::task::JoinHandle<Result<Expiry>>>,
    /// Not before.
    again: Option<Instant>,
    /// Something happened that must not be forgotten for long.
    changed: bool,
}

impl Keeper {
    fn new(manager: SessionManager) -> Self {
        let now = Instant::now();
        Self {
            manager,
            kept: HashMap::new(),
            looked: now,
            stored: now,
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Looks once. Answers when to look again at the latest.
    async fn look(&mut self) -> Result<Duration> {
        let store = self.manager.inner.foundation.store.clone();
        let listing = store.listing().await?;
        let now = Instant::now();
        let elapsed = now - std::mem::replace(&mut self.looked, now);
        let mut next = LOOK_EVERY;
        let mut seen = HashMap::with_capacity(self.kept.len());
        for info in listing.sessions() {
            if info.lifetime.is_unlimited() || !may_end(&info.state) {
                continue;
            }
            let mut kept = match self.kept.remove(&info.id) {
                Some(mut kept) => {
                    kept.tally.pass(elapsed);
                    kept
                }
                None => match self.first_seen(info).await {
                    Ok(kept) => kept,
                    // The others' time goes on.
                    Err(error) => {
                        tracing::warn!(session = %info.id, %error, "the session's time could not be kept");
                        continue;
                    }
                },
            };
            next = next.min(self.judge(info, &mut kept, now).await);
            seen.insert(info.id, kept);
        }
        self.kept = seen;
        self.manager.inner.timed.store(self.kept.len(), Ordering::Relaxed);
        if now - self.stored >= STORE_EVERY || self.kept.values().any(|kept| kept.changed) {
            self.store().await?;
        }
        Ok(next.max(LOOK_LEAST))
    }

    async fn first_seen(&self, info: &SessionInfo) -> Result<Kept> {
        let foundation = &self.manager.inner.foundation;
        let stamp = foundation.state_dir.work_stamp(&info.id)?;
        let record = foundation.store.session(&info.id).await?;
        let counted = record
            .and_then(|record| record.timers)
            .and_then(|text| serde_json::from_str::<Tally>(&text).ok());
        let tally = Tally::stored(counted, info, Marks::of(info, stamp), Moment::now());
        if info.lifetime.idle_ms.is_some() {
            // What runs there that nobody watches is work as well.
            let (manager, session) = (self.manager.clone(), info.id);
            self.manager.inner.errands.spawn(async move {
                if let Err(error) = manager.adopt_commands(&session).await {
                    tracing::debug!(%session, %error, "nobody looked for commands that run");
                }
            });
        }
        Ok(Kept {
            tally,
            ending: None,
            again: None,
            changed: true,
        })
    }

    /// Counts what can be seen and ends what is to end. Answers when to look again.
    async fn judge(&self, info: &SessionInfo, kept: &mut Kept, now: Instant) -> Duration {
        let work = self.work_in(info);
        let marks = Marks::of(info, work.stamp);
        kept.changed |= kept.tally.see(info, work.held, marks) && kept.ending.is_none();
        self.collect(info.id, kept, now).await;
        let verdict = kept.tally.judge(&info.lifetime);
        match verdict {
            Verdict::Ends(cause) if kept.ending.is_none() && kept.again.is_none_or(|again| again <= now) => {
                kept.ending = Some(self.end(info, cause));
                LOOK_LEAST
            }
            Verdict::Ends(_) => LOOK_LEAST * 4,
            // Work is noticed in a fraction of the time after which the lack of it counts.
            Verdict::Lives(left) => info
                .lifetime
                .idle_ms
                .map_or(left, |idle| left.min(Duration::from_millis(idle / 8))),
        }
    }

    /// What became of the end that was begun.
    async fn collect(&self, session: SessionId, kept: &mut Kept, now: Instant) {
        let Some(ending) = kept.ending.take_if(|ending| ending.is_finished()) else {
            return;
        };
        match ending.await {
            Ok(Ok(Expiry::Ended)) => {}
            Ok(Ok(Expiry::Kept)) => kept.tally.spare(),
            Ok(Err(error)) => {
                tracing::warn!(%session, %error, "the session could not be ended; it is tried again");
                kept.again = Some(now + RETRY);
            }
            Err(_stopped) => kept.again = Some(now + RETRY),
        }
    }

    fn end(&self, info: &SessionInfo, cause: ExpiryCause) -> tokio::task::JoinHandle<Result<Expiry>> {
        let (manager, places) = (self.manager.clone(), self.places.clone());
        // A renewal that is acknowledged from here on has the session stay.
        let (session, lease) = (info.id, info.lease_until);
        // Seen to its end by the manager's shutdown; what is cut off says `Destroying`, and is gone on with.
        self.manager.inner.errands.spawn(async move {
            let _place = places.acquire_owned().await;
            manager.expire(&session, cause, lease).await
        })
    }

    async fn store(&mut self) -> Result<()> {
        let now = Moment::now();
        let mut timers = Vec::with_capacity(self.kept.len());
        for (session, kept) in &self.kept {
            timers.push((*session, kept.tally.counted_at(now.clone()).text()?));
        }
        self.stored = Instant::now();
        if !timers.is_empty() {
            self.manager.inner.foundation.store.save_timers(timers).await?;
        }
        for kept in self.kept.values_mut() {
            kept.changed = false;
        }
        Ok(())
    }
}

/// One that is being made or removed already is left alone.
fn may_end(state: &SessionState) -> bool {
    !matches!(state, SessionState::Creating | SessionState::Destroying) && !state.has_ended()
}
