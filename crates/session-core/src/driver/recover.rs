//! How a session comes back whose container was lost: with the same workspace and the same conversation.
//!
//! ```text
//!                 ┌ runs ───────── link ┐
//!   Interrupted ──┼ ended ─ start ─────┼─ workspace whole? ── Ready, and `Recovered` is told
//!        ▲        └ gone ── launch ────┘          │
//!        └───────── whatever fails, or whoever dies in between ┘
//! ```
//!
//! The record says `Interrupted` until all of it is done, so that whoever dies in the middle is followed by one that begins
//! anew; each step finds what an earlier attempt has done. Attempts are counted in the store before they begin: a session
//! that brings its manager down, or that never comes up, is given up after a few of them and waits for a person. A turn that
//! ran is not run again. One process brings a session back: the one with its agent's lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::Driver;
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventKind;
use crate::id::CheckpointId;
use crate::lifetime::{OnInterrupt, RecoveryPolicy};
use crate::policy::mounts::{JudgedDir, judge_again, judge_mount_source_again};
use crate::runtime::{ContainerState, Storage};
use crate::session::{Carrier, SessionInfo, WorkspaceSource};
use crate::state::{InterruptCause, SessionState, StateName, Transition};
use crate::store::{Batch, RecoveryRecord, SessionRecord};

const OPERATION: &str = "bring the session back";
/// While nobody can try: the engine is away, or another process is at it.
const WAIT: Duration = Duration::from_secs(1);
/// What is to be done about a session that was lost, or came back.
#[derive(Debug, Default)]
pub(super) struct Comeback {
    /// When it is brought back. Nobody who waits for work to end leaves before.
    due: Option<(Instant, TaskTrackerToken)>,
    /// When it is said to be well.
    well_at: Option<Instant>,
    /// What was recorded before the attempt that is being made.
    uncounted: Option<RecoveryRecord>,
    /// Whether it is brought back, for those who look from outside.
    coming: Arc<AtomicBool>,
}

impl Comeback {
    pub(super) fn new(coming: Arc<AtomicBool>) -> Self {
        Self {
            coming,
            ..Self::default()
        }
    }

    fn schedule(&mut self, due: Option<(Instant, TaskTrackerToken)>) {
        self.coming.store(due.is_some(), Ordering::Relaxed);
        self.due = due;
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let due = self.due.as_ref().map(|(at, _)| *at);
        due.into_iter().chain(self.well_at).min()
    }

    pub(super) fn is_due(&self) -> bool {
        self.due.as_ref().is_some_and(|(at, _)| *at <= Instant::now())
    }
}

/// What the next attempt is judged by, from what is stored. The clock may have been set meanwhile: nobody waits longer than
/// the longest pause.
fn pause_of(recovery: &RecoveryRecord, policy: &RecoveryPolicy) -> Duration {
    let left = recovery
        .not_before
        .map(|at| at.duration_since(Timestamp::now()))
        .and_then(|left| Duration::try_from(left).ok());
    left.unwrap_or_default().min(policy.last_pause)
}

/// Whether nothing is known of the session after it, because nobody could look.
pub(super) fn engine_is_away(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::EngineUnavailable | ErrorKind::EngineTimeout
    )
}

/// Whether a container has directories of the host, and was started by somebody who did not live to see that they are the
/// judged ones: a session that is interrupted has none that was seen to its end.
pub(super) fn may_be_unverified(record: &SessionRecord, state: ContainerState) -> bool {
    let runs = matches!(state, ContainerState::Running | ContainerState::Paused);
    let mounts =
        matches!(record.info.workspace, WorkspaceSource::Mount { .. }) || !record.info.mounts.is_empty();
    runs && mounts && record.info.state.name() == StateName::Interrupted
}

impl Driver {
    /// A session was found interrupted: by its policy it comes back, or what waits in it ends.
    pub(super) async fn found_interrupted(&mut self, record: &SessionRecord) -> Result<()> {
        let SessionState::Interrupted { cause } = record.info.state else {
            return Ok(());
        };
        match record.info.on_interrupt {
            OnInterrupt::Stop => self.fail_waiting_turns(cause).await,
            OnInterrupt::Resume if record.recovery.attempts > self.max_attempts() => Ok(()),
            OnInterrupt::Resume => {
                if self.comeback.due.is_none() {
                    self.try_in(pause_of(&record.recovery, &self.foundation.recovery));
                }
                Ok(())
            }
        }
    }

    /// It was taken up by a process that did not bring it back itself.
    pub(super) fn watch_health(&mut self, record: &SessionRecord) {
        if record.recovery.attempts > 0 && self.comeback.well_at.is_none() {
            self.comeback.well_at = Some(Instant::now() + self.foundation.recovery.well_after);
        }
    }

    fn max_attempts(&self) -> u32 {
        self.foundation.recovery.attempts
    }

    fn try_in(&mut self, pause: Duration) {
        let due = (Instant::now() + pause, self.foundation.work.token());
        self.comeback.schedule(Some(due));
    }

    /// Says that it is well when it has stayed up for long enough.
    pub(super) async fn attend_health(&mut self) {
        if self.comeback.well_at.is_some_and(|at| at <= Instant::now()) {
            self.comeback.well_at = None;
            self.is_well().await;
        }
    }

    /// Somebody could not wait for the attempt that was being made: it counts for nothing, and is made again. What it has done by
    /// then is found by the next one, as after a kill.
    pub(super) async fn comeback_broken_off(&mut self) {
        self.drop_connection();
        self.dismiss().await;
        if let Some(before) = self.comeback.uncounted.take()
            && let Err(error) = self.count_attempts(before).await
        {
            tracing::debug!(session = %self.id, %error, "an attempt that was broken off counts");
        }
    }

    /// By its policy, without anybody who waits for it. It stays due until the end of the attempt.
    pub(super) async fn come_back(&mut self) {
        let outcome = async {
            // As many as are made at once, those that are made for the first time included, and no more than the host holds.
            let Some(_turn) = self.foundation.door.turn_for_comeback() else {
                return Ok(false);
            };
            let record = self.record().await?;
            if record.info.state.name() != StateName::Interrupted {
                return Ok(true);
            }
            if record.recovery.attempts >= self.max_attempts() {
                return self.give_up(&record, None).await.map(|()| true);
            }
            self.bring_back().await
        };
        let outcome = outcome.await;
        self.comeback.uncounted = None;
        // Nobody who waits for work to end leaves in between.
        let _at_work = self.foundation.work.token();
        self.comeback.schedule(None);
        match outcome {
            Ok(true) => {}
            Ok(false) => self.try_in(WAIT),
            Err(error) if engine_is_away(&error) => {
                tracing::debug!(session = %self.id, %error, "the session cannot be brought back now");
                self.try_in(WAIT);
            }
            Err(error) => self.not_back(&error).await,
        }
    }

    /// An attempt failed: there is another one, or that was the last.
    async fn not_back(&mut self, error: &Error) {
        tracing::warn!(session = %self.id, %error, "the session could not be brought back");
        let told = async {
            let record = self.record().await?;
            if record.info.state.name() != StateName::Interrupted {
                return Ok(());
            }
            if record.recovery.attempts < self.max_attempts() {
                self.try_in(pause_of(&record.recovery, &self.foundation.recovery));
                return Ok(());
            }
            self.give_up(&record, Some(error)).await
        };
        let told: Result<()> = told.await;
        if let Err(error) = told {
            tracing::warn!(session = %self.id, %error, "what became of the session could not be stored");
            self.try_in(self.foundation.recovery.last_pause);
        }
    }

    /// It stays interrupted until somebody resumes it. Told once.
    async fn give_up(&mut self, record: &SessionRecord, error: Option<&Error>) -> Result<()> {
        let SessionState::Interrupted { cause } = record.info.state else {
            return Ok(());
        };
        let attempts = self.max_attempts();
        let message = format!("the session was not brought back in {attempts} attempts");
        let mut told = Error::new(ErrorKind::ContainerLost, OPERATION, message)
            .with_hint("see why, then resume it: it comes back with its workspace and its conversation")
            .with_retryable(true);
        if let Some(error) = error {
            told = told.with_context("last", error);
        }
        let mut report = told.report();
        if let Some(error) = error {
            report.message = format!("{}: {error}", report.message);
        }
        self.fail_waiting_turns(cause).await?;
        let batch = Batch {
            events: vec![(None, EventKind::Problem { error: report })],
            recovery: Some(RecoveryRecord {
                attempts: self.max_attempts() + 1,
                not_before: None,
            }),
            expect_state: Some(StateName::Interrupted),
            ..Batch::default()
        };
        self.foundation.store.commit(&self.id, batch).await.map(drop)
    }

    /// Somebody wants it back, whatever was tried before.
    pub(super) async fn bring_back_asked(&mut self) -> Result<()> {
        let _turn = self.foundation.door.turn_for_asked_comeback().await?;
        self.count_attempts(RecoveryRecord::default()).await?;
        let outcome = self.bring_back().await;
        self.comeback.uncounted = None;
        match outcome {
            Ok(true) => {
                self.comeback.schedule(None);
                Ok(())
            }
            Ok(false) => Err(
                Error::new(ErrorKind::Busy, OPERATION, "another process is bringing it back")
                    .with_retryable(true)
                    .with_hint("wait for it to be ready"),
            ),
            Err(error) => {
                let record = self.record().await?;
                self.found_interrupted(&record).await?;
                Err(error.with_context("session", self.id))
            }
        }
    }

    /// One attempt. `false` when another process is at it.
    async fn bring_back(&mut self) -> Result<bool> {
        let Some(lock) = self.foundation.state_dir.try_lock_agent(&self.id)? else {
            return Ok(false);
        };
        let record = self.record().await?;
        let SessionState::Interrupted { cause } = record.info.state else {
            return Ok(true);
        };
        // An engine that is away is no attempt.
        let state = self.own_status(&record).await?.state;
        let attempts = record.recovery.attempts.min(self.max_attempts()) + 1;
        self.comeback.uncounted = Some(record.recovery);
        let not_before = Timestamp::now() + self.foundation.recovery.pause(attempts);
        self.count_attempts(RecoveryRecord {
            attempts,
            not_before: Some(not_before),
        })
        .await?;
        tracing::info!(session = %self.id, attempts, ?state, "the session is brought back");
        match self.run_again(&record, state).await {
            Ok(checkpoint) => self.is_back(cause, attempts, checkpoint).await?,
            Err(error) => {
                // What runs by now is found by the next attempt.
                self.drop_connection();
                self.dismiss().await;
                return Err(error);
            }
        }
        drop(lock);
        Ok(true)
    }

    async fn count_attempts(&self, recovery: RecoveryRecord) -> Result<()> {
        let batch = Batch {
            recovery: Some(recovery),
            expect_state: Some(StateName::Interrupted),
            ..Batch::default()
        };
        self.foundation.store.commit(&self.id, batch).await.map(drop)
    }

    /// The container runs, the link is up, and the workspace is whole.
    async fn run_again(
        &mut self,
        record: &SessionRecord,
        state: ContainerState,
    ) -> Result<Option<CheckpointId>> {
        self.admit(record).await?;
        self.run_container(record, state).await?;
        self.put_certificates(&record.info).await?;
        self.bring_back_work().await
    }

    /// Has the session's container run, whatever became of it, with the directories of the host that were judged, and makes the
    /// link. Only for the one with the agent's lock, which `record` was read under.
    pub(super) async fn run_container(
        &mut self,
        record: &SessionRecord,
        state: ContainerState,
    ) -> Result<()> {
        self.drop_connection();
        self.launched = None;
        let state = if may_be_unverified(record, state) {
            // Nothing of value runs in it. Its storage stays.
            tracing::info!(session = %self.id, "another container is made: nobody saw what this one has of the host");
            self.foundation.runtime.discard(&self.container).await?;
            ContainerState::Absent
        } else {
            state
        };
        // The engine takes the paths of the host again, and they may lead elsewhere by now.
        let judged = self.judge_places(&record.info)?;
        match state {
            ContainerState::Running => self.link_again().await?,
            ContainerState::Paused => {
                self.foundation.runtime.resume(&self.container).await?;
                self.link_again().await?;
            }
            ContainerState::Created | ContainerState::Exited => self.start_or_launch(&record.info).await?,
            ContainerState::Absent => self.launch_anew(&record.info).await?,
        }
        self.expect_unmoved(&judged).await
    }

    /// The engine opened the paths by itself. A container that has something else of the host is not kept.
    async fn expect_unmoved(&mut self, judged: &[JudgedDir]) -> Result<()> {
        let Err(moved) = judged.iter().try_for_each(JudgedDir::verify_unmoved) else {
            return Ok(());
        };
        self.drop_connection();
        if let Err(left) = self.foundation.runtime.discard(&self.container).await {
            tracing::warn!(session = %self.id, error = %left, "a container was not removed whose directories moved; the next attempt does");
        }
        Err(moved)
    }

    fn judge_places(&self, info: &SessionInfo) -> Result<Vec<JudgedDir>> {
        let host = &self.foundation.host;
        let mut judged = Vec::new();
        if let WorkspaceSource::Mount { path } = &info.workspace {
            judged.push(judge_again(path, host)?);
        }
        for mount in &info.mounts {
            judged.push(judge_mount_source_again(&mount.source, host)?);
        }
        Ok(judged)
    }

    pub(super) async fn link_again(&mut self) -> Result<()> {
        let (io, carrier) = match self.listen()? {
            Some(listener) => self.dialled(&listener).await?,
            None => (
                self.foundation.runtime.bridge(&self.container).await?,
                Carrier::Bridge,
            ),
        };
        self.establish(io, carrier).await.map(drop)
    }

    /// One that does not start any more (what it mounts is gone, its files are damaged) makes room for a new one.
    async fn start_or_launch(&mut self, info: &SessionInfo) -> Result<()> {
        let runtime = self.foundation.runtime.clone();
        let container = self.container.clone();
        let listener = self.listen()?;
        let starting = async move { runtime.start(&container).await };
        let Err(error) = self.begin_and_link(starting, listener).await else {
            return Ok(());
        };
        if engine_is_away(&error) {
            return Err(error);
        }
        tracing::warn!(session = %self.id, %error, "the container does not start again, so another one is made");
        self.foundation.runtime.discard(&self.container).await?;
        self.launch_anew(info).await
    }

    async fn launch_anew(&mut self, info: &SessionInfo) -> Result<()> {
        let image = self.prepare(&info.image, info).await?;
        self.note_lost_workspace(info).await?;
        let listener = self.listen()?;
        let spec = self.container_spec(info, listener.is_some(), Storage::Kept)?;
        let runtime = self.foundation.runtime.clone();
        let launching = async move { runtime.launch(&spec, &image).await };
        let launched = self.begin_and_link(launching, listener).await?;
        self.launched = Some(launched);
        Ok(())
    }

    async fn is_back(
        &mut self,
        cause: InterruptCause,
        attempts: u32,
        checkpoint: Option<CheckpointId>,
    ) -> Result<()> {
        let state = SessionState::Interrupted { cause }.after(Transition::Recovered)?;
        let batch = Batch {
            state: Some(state),
            events: vec![(None, EventKind::Recovered { cause, checkpoint })],
            container_id: self.launched.take().map(String::from),
            boot_id: self.boot_id(),
            recovery: Some(RecoveryRecord {
                attempts,
                not_before: None,
            }),
            filling: Some(false),
            expect_state: Some(StateName::Interrupted),
            ..Batch::default()
        };
        self.foundation.store.commit(&self.id, batch).await?;
        tracing::info!(session = %self.id, ?cause, "the session is back");
        self.comeback.schedule(None);
        self.comeback.well_at = Some(Instant::now() + self.foundation.recovery.well_after);
        self.wants_work = true;
        Ok(())
    }

    /// It stayed up.
    async fn is_well(&mut self) {
        let well = async {
            let record = self.record().await?;
            let works = matches!(record.info.state, SessionState::Ready | SessionState::Busy);
            if !works || record.recovery == RecoveryRecord::default() {
                return Ok(());
            }
            let batch = Batch {
                recovery: Some(RecoveryRecord::default()),
                expect_state: Some(record.info.state.name()),
                ..Batch::default()
            };
            self.foundation.store.commit(&self.id, batch).await.map(drop)
        };
        let well: Result<()> = well.await;
        if let Err(error) = well {
            tracing::debug!(session = %self.id, %error, "attempts are not counted anew yet");
            self.comeback.well_at = Some(Instant::now() + WAIT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let policy = RecoveryPolicy::default();
        let pauses: Vec<_> = (1..=policy.attempts)
            .map(|attempts| policy.pause(attempts).as_secs())
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30]);
        assert_eq!(policy.pause(u32::MAX), policy.last_pause);
    }

    proptest! {
        #[test]
        fn a_clock_that_was_set_makes_nobody_wait_longer_than_the_longest_pause(seconds in -1_000_000_i64..1_000_000) {
            let policy = RecoveryPolicy::default();
            let not_before = Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
            let pause = pause_of(&RecoveryRecord { attempts: 1, not_before: Some(not_before) }, &policy);
            prop_assert!(pause <= policy.last_pause);
            prop_assert!(seconds > 0 || pause.is_zero());
        }
    }
}
