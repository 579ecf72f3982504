//! The reconciler: brings the engine in line with the records (I9).
//!
//! It takes no input, can run at any time and any number of times, and touches only what our signature proves to be
//! ours. A thing of ours is an orphan when no record wants it: the record is absent, or says that the session is gone.
//! Records are written before anything is made for them, and the engine is listed before the records are read, so a
//! session in the making is never an orphan.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;

use super::SessionManager;
use super::programs::is_sidecar;
use crate::driver::Request;
use crate::error::{Error, ErrorKind, Result};
use crate::id::SessionId;
use crate::runtime::ContainerState;
use crate::session::SessionFilter;
use crate::state::{SessionState, Transition};
use crate::store::{Batch, SessionRecord};

/// How often a supervising manager reconciles.
pub(super) const PERIOD: Duration = Duration::from_secs(5);
/// Between writing a record and taking the lock a maker needs an instant; a younger record is not looked at.
const MAKER_GRACE: Duration = Duration::from_secs(10);

/// What a run of the reconciler did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Containers and storage of no session, removed.
    pub removed: Vec<String>,
    /// Sessions whose making or end had been broken off, brought to an end.
    pub finished: Vec<SessionId>,
    /// What could not be removed now, with the reason; the next run tries again.
    pub left: Vec<(String, String)>,
}

impl SessionManager {
    /// Removes orphans and finishes what was broken off.
    ///
    /// # Errors
    /// When the engine cannot be listed or the records cannot be read. What fails for one thing is in
    /// [`Reconciled::left`] and does not stop the rest.
    pub async fn reconcile(&self) -> Result<Reconciled> {
        let foundation = &self.inner.foundation;
        let listed = foundation.runtime.list(foundation.signer.owner()).await?;
        fail::fail_point!("manager.reconcile.listed", |_| crate::fault::engine("reconcile"));
        let mut done = Reconciled::default();
        let mut alive = HashSet::new();
        for resource in listed {
            let Some(session) = foundation.signer.verify(&resource.labels) else {
                continue;
            };
            // A copied label on another name proves nothing about that name.
            if crate::id::ContainerName::of(&session) != resource.name {
                continue;
            }
            let wanted = match foundation.store.session(&session).await? {
                Some(record) => record.info.state.may_have_container(),
                None => false,
            };
            if wanted {
                if matches!(resource.state, ContainerState::Running | ContainerState::Paused) {
                    alive.insert((session, resource.state == ContainerState::Paused));
                }
            } else {
                fail::fail_point!("manager.orphan.before");
                match foundation.runtime.remove(&resource.name).await {
                    Ok(()) => done.removed.push(resource.name.to_string()),
                    Err(error) => done.left.push((resource.name.to_string(), error.to_string())),
                }
            }
        }
        self.finish_broken_off(&alive, &mut done).await?;
        self.remove_stray_directories(&mut done).await?;
        Ok(done)
    }

    async fn finish_broken_off(
        &self,
        alive: &HashSet<(SessionId, bool)>,
        done: &mut Reconciled,
    ) -> Result<()> {
        for record in self
            .inner
            .foundation
            .store
            .sessions(&SessionFilter::default())
            .await?
        {
            let id = record.info.id;
            if is_sidecar(&record.info) && self.end_abandoned(&record, done).await {
                continue;
            }
            let outcome = match record.info.state {
                SessionState::Creating if self.live_driver(&id).is_none() => {
                    self.fail_abandoned(&record).await
                }
                SessionState::Destroying if self.live_driver(&id).is_none() => {
                    self.driver(&record).ask(Request::Destroy).await.map(|()| true)
                }
                SessionState::Ready | SessionState::Busy if !alive.contains(&(id, false)) => {
                    self.driver(&record).ask(Request::Refresh).await.map(|()| false)
                }
                SessionState::Ready | SessionState::Busy => self.take_up(&record).await.map(|()| false),
                SessionState::Paused if !alive.contains(&(id, true)) => {
                    self.driver(&record).ask(Request::Refresh).await.map(|()| false)
                }
                _ => Ok(false),
            };
            match outcome {
                Ok(true) => done.finished.push(id),
                Ok(false) => {}
                Err(error) => done.left.push((id.to_string(), error.to_string())),
            }
        }
        Ok(())
    }

    /// Whether it was a sidecar that nobody wants any more.
    async fn end_abandoned(&self, record: &SessionRecord, done: &mut Reconciled) -> bool {
        let id = record.info.id;
        match self.end_if_abandoned(record).await {
            Ok(true) => done.finished.push(id),
            Ok(false) => return false,
            Err(error) => done.left.push((id.to_string(), error.to_string())),
        }
        true
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
        if Timestamp::now()
            .duration_since(record.info.created_at)
            .unsigned_abs()
            < MAKER_GRACE
        {
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

    async fn remove_stray_directories(&self, done: &mut Reconciled) -> Result<()> {
        let foundation = &self.inner.foundation;
        for session in foundation.state_dir.session_dirs()? {
            let wanted = match foundation.store.session(&session).await? {
                Some(record) => record.info.state.may_have_container(),
                None => false,
            };
            if !wanted && let Err(error) = foundation.state_dir.remove_session_dir(&session) {
                done.left.push((session.to_string(), error.to_string()));
            }
        }
        Ok(())
    }
}

impl Reconciled {
    /// Whether anything is left that should be gone.
    ///
    /// # Errors
    /// `EngineFailed` naming the first thing that was left.
    pub fn complete(&self) -> Result<()> {
        match self.left.first() {
            None => Ok(()),
            Some((name, reason)) => Err(Error::new(
                ErrorKind::EngineFailed,
                "remove what no session wants",
                format!("{} things are left", self.left.len()),
            )
            .with_context("first", name)
            .with_context("reason", reason)),
        }
    }
}
