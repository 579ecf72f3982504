//! The reconciler: brings the engine in line with the records (I9).
//!
//! It takes no input, can run at any time and any number of times, and touches only what our signature proves to be
//! ours. What no record wants is garbage ([`super::garbage`]); what a record wants and was broken off is brought to an end
//! here, whoever began it.

use std::collections::HashSet;
use std::time::Duration;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use tokio::time::Instant;

use super::SessionManager;
use super::garbage::{STALE_EVERY, belongs_to};
use super::programs::is_sidecar;
use crate::driver::Request;
use crate::error::{Error, ErrorKind, Result};
use crate::garbage::{Garbage, GarbageKind, GarbageReport};
use crate::id::SessionId;
use crate::runtime::ContainerState;
use crate::session::SessionFilter;
use crate::state::{SessionState, Transition};
use crate::store::{Batch, SessionRecord};

/// How often a supervising manager reconciles.
pub(super) const PERIOD: Duration = Duration::from_secs(5);
/// Between writing a record and taking the lock a maker needs an instant; a younger record is not looked at.
const MAKER_GRACE: Duration = Duration::from_secs(3);
/// How many sessions are looked after at once.
const AT_ONCE: usize = 32;
/// How long one of them may keep the others waiting.
const PATIENCE: Duration = Duration::from_secs(10);

impl SessionManager {
    /// Removes orphans and finishes what was broken off.
    ///
    /// # Errors
    /// When the engine cannot be listed or the records cannot be read. What fails for one thing is in
    /// [`GarbageReport::left`] and does not stop the rest.
    pub async fn reconcile(&self) -> Result<GarbageReport> {
        let _alone = self.inner.sweeping.lock().await;
        self.reconcile_once(false).await
    }

    /// Reconciles for as long as it is polled.
    pub(super) async fn keep_reconciling(&self) {
        let mut stale_at = Instant::now();
        loop {
            if let Err(error) = self.reconcile().await {
                tracing::warn!(%error, "reconciling failed");
            }
            if stale_at <= Instant::now() {
                stale_at = Instant::now() + STALE_EVERY;
                if let Err(error) = self.collect(false).await {
                    tracing::warn!(%error, "nobody looked for what is stale");
                }
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// One run, or what it would do.
    pub(super) async fn reconcile_once(&self, dry_run: bool) -> Result<GarbageReport> {
        let foundation = &self.inner.foundation;
        let listed = foundation.runtime.list(foundation.signer.owner()).await?;
        fail::fail_point!("manager.reconcile.listed", |_| crate::fault::engine("reconcile"));
        let mut done = GarbageReport {
            dry_run,
            ..GarbageReport::default()
        };
        let alive = listed
            .iter()
            .filter(|resource| matches!(resource.state, ContainerState::Running | ContainerState::Paused))
            .filter_map(|resource| {
                let session = belongs_to(&foundation.signer, resource)?;
                Some((session, resource.state == ContainerState::Paused))
            })
            .collect();
        let left = self.sweep_orphans(&listed, &mut done).await?;
        self.finish_broken_off(&alive, &mut done).await?;
        self.sweep_directories(&left, &mut done).await?;
        Ok(done)
    }

    async fn finish_broken_off(
        &self,
        alive: &HashSet<(SessionId, bool)>,
        done: &mut GarbageReport,
    ) -> Result<()> {
        let store = &self.inner.foundation.store;
        let records = store.sessions(&SessionFilter::default()).await?;
        let dry_run = done.dry_run;
        let finishing = records
            .into_iter()
            .map(|record| self.finish_one(record, alive, dry_run));
        let finished: Vec<_> = stream::iter(finishing).buffered(AT_ONCE).collect().await;
        for (record, outcome) in finished {
            match outcome {
                Ok(true) => done.finished.push(record.info.id),
                Ok(false) => {}
                Err(error) => done.left.push(Garbage {
                    kind: GarbageKind::Container,
                    name: record.container.to_string(),
                    reason: error.to_string(),
                }),
            }
        }
        Ok(())
    }

    async fn finish_one(
        &self,
        record: SessionRecord,
        alive: &HashSet<(SessionId, bool)>,
        dry_run: bool,
    ) -> (SessionRecord, Result<bool>) {
        let outcome = if dry_run {
            self.is_broken_off(&record)
        } else {
            self.finish(&record, alive).await
        };
        (record, outcome)
    }

    /// Has a session looked at by its task.
    async fn refresh(&self, record: &SessionRecord) -> Result<()> {
        let driver = self.driver(record);
        let outcome = in_time(PATIENCE, driver.ask(Request::Refresh)).await;
        if outcome.is_err() {
            // What its task is at is broken off for this, if it can be.
            driver.look();
        }
        outcome
    }

    /// Brings one session in line with what is true. Answers whether that was its end.
    async fn finish(&self, record: &SessionRecord, alive: &HashSet<(SessionId, bool)>) -> Result<bool> {
        let id = record.info.id;
        if is_sidecar(&record.info) && self.end_if_abandoned(record).await? {
            return Ok(true);
        }
        match record.info.state {
            SessionState::Creating if self.live_driver(&id).is_none() => self.fail_abandoned(record).await,
            SessionState::Destroying => in_time(PATIENCE, self.destroy_session(&id)).await.map(|()| true),
            SessionState::Ready | SessionState::Busy if !alive.contains(&(id, false)) => {
                self.refresh(record).await.map(|()| false)
            }
            SessionState::Ready | SessionState::Busy => self.take_up(record).await.map(|()| false),
            SessionState::Paused if !alive.contains(&(id, true)) => {
                self.refresh(record).await.map(|()| false)
            }
            _ => Ok(false),
        }
    }

    /// Whether [`Self::finish`] would end it.
    fn is_broken_off(&self, record: &SessionRecord) -> Result<bool> {
        let (foundation, id) = (&self.inner.foundation, &record.info.id);
        Ok(match record.info.state {
            SessionState::Destroying => true,
            SessionState::Creating => {
                self.live_driver(id).is_none()
                    && is_old(record)
                    && foundation.state_dir.try_lock_agent(id)?.is_some()
            }
            _ => is_sidecar(&record.info) && foundation.state_dir.try_lock_sidecar(id)?.is_some(),
        })
    }

    /// Turns whose owner died run on where somebody reconciles.
    async fn take_up(&self, record: &SessionRecord) -> Result<()> {
        let (store, id) = (&self.inner.foundation.store, &record.info.id);
        if store.running_turn(id).await?.is_some() || store.next_queued_turn(id).await?.is_some() {
            self.driver(record).nudge(self.account(id));
        }
        Ok(())
    }

    /// A session whose maker died: the maker held the agent lock, so whoever gets it knows.
    async fn fail_abandoned(&self, record: &SessionRecord) -> Result<bool> {
        let foundation = &self.inner.foundation;
        let id = record.info.id;
        if !is_old(record) {
            return Ok(false);
        }
        let Some(_lock) = foundation.state_dir.try_lock_agent(&id)? else {
            return Ok(false);
        };
        let Some(record) = foundation.store.session(&id).await? else {
            return Ok(false);
        };
        if record.info.state != SessionState::Creating {
            return Ok(false);
        }
        fail::fail_point!("manager.abandoned.before", |_| crate::fault::engine(
            "end an abandoned session"
        ));
        foundation.runtime.remove(&record.container).await?;
        let cause = "the process that made it ended before it was ready".to_owned();
        let state = record.info.state.after(Transition::LaunchFailed { cause })?;
        let batch = Batch {
            state: Some(state),
            expect_state: Some(record.info.state.name()),
            ..Batch::default()
        };
        fail::fail_point!("manager.abandoned.removed", |_| crate::fault::store(
            "end an abandoned session"
        ));
        foundation.store.commit(&id, batch).await?;
        foundation.state_dir.remove_session_dir(&id)?;
        Ok(true)
    }
}

/// Waits for a session's task, and not for ever: what is asked for stays asked for.
pub(super) async fn in_time<T>(patience: Duration, asked: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(patience, asked)
        .await
        .unwrap_or_else(|_late| {
            let message = "the session is at something that does not end";
            Err(Error::new(ErrorKind::Busy, "look after the session", message)
                .with_retryable(true)
                .with_hint("it is looked at again in a while; destroy it if it stays so"))
        })
}

/// Whether its maker, if it lives, has had the time to take the lock.
fn is_old(record: &SessionRecord) -> bool {
    let age = Timestamp::now().duration_since(record.info.created_at);
    age.unsigned_abs() >= MAKER_GRACE
}
