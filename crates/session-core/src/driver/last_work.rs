//! The last checkpoint of a session that ends, whatever stands in its way: it is reached where it stands still, and started
//! again where it was lost. What could not be kept is told before it is gone.
//!
//! A session that ends by itself waits for it a few times over: nobody asked for its end now. One that somebody destroys
//! does not wait for long.

use std::time::Duration;

use session_link::Link;

use super::Driver;
use super::checkpoints::{keeps_by_itself, known_base};
use super::recover::{engine_is_away, may_be_unverified};
use crate::checkpoint::CheckpointCause;
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventKind;
use crate::runtime::ContainerState;
use crate::state::SessionState;
use crate::store::SessionRecord;

const OPERATION: &str = "take a checkpoint";
/// How long the end of a session waits for its last checkpoint.
const PATIENCE: Duration = Duration::from_secs(20);
/// The same for one that somebody destroys while it stands still or is gone.
const STILL_PATIENCE: Duration = Duration::from_secs(5);
/// How many times the end of a session that ends by itself is begun before it ends without one.
const TRIES: u32 = 3;

/// What was done for the last checkpoint of a session.
#[derive(Debug, Default)]
pub(super) struct LastWork {
    /// It was tried so often in vain.
    tries: u32,
    /// It was frozen, and is not any more.
    thawed: bool,
}

/// Changes that are too large are so the next time.
fn is_hopeless(error: &Error) -> bool {
    error.kind() == ErrorKind::LimitExceeded && !error.is_retryable()
}

impl Driver {
    /// Before somebody's end of the session: what could not be kept is told, and it ends all the same.
    pub(super) async fn keep_last_work(&mut self) {
        if let Err(error) = self.last_checkpoint(STILL_PATIENCE).await {
            self.tell_unkept(
                "the session was destroyed without a checkpoint of its last work",
                &error,
            )
            .await;
        }
    }

    /// Before the session ends by itself.
    ///
    /// # Errors
    /// When its work could not be kept and the end is to be tried again.
    pub(super) async fn expect_last_work(&mut self) -> Result<()> {
        let Err(error) = self.last_checkpoint(PATIENCE).await else {
            return Ok(());
        };
        // Without it there is no end either.
        if engine_is_away(&error) {
            return Err(error);
        }
        self.last_work.tries += 1;
        if is_hopeless(&error) || self.last_work.tries >= TRIES {
            self.tell_unkept("the session ended without a checkpoint of its last work", &error)
                .await;
            return Ok(());
        }
        if self.last_work.tries == 1 {
            let message =
                "the session's time has come, and it is kept for a while because its last work could not be";
            self.tell_unkept(message, &error).await;
        }
        Err(error.with_context("session", self.id))
    }

    /// It did not end after all, so it is what it was.
    pub(super) async fn stays_after_all(&mut self) {
        if !std::mem::take(&mut self.last_work.thawed) {
            return;
        }
        if let Err(error) = self.foundation.runtime.pause(&self.container).await {
            tracing::warn!(session = %self.id, %error, "a session that was paused goes on");
        }
    }

    async fn tell_unkept(&self, message: &str, error: &Error) {
        tracing::warn!(session = %self.id, %error, "{message}");
        if is_hopeless(error) && self.checkpoints.was_told(error.kind()) {
            return;
        }
        let told = Error::new(error.kind(), OPERATION, format!("{message}: {error}"))
            .with_hint("what was kept before is there: see its checkpoints");
        self.log(EventKind::Problem { error: told.report() }).await;
    }

    /// `Ok` when nothing of its work is unsaved, as far as work of its kind is kept at all.
    async fn last_checkpoint(&mut self, still: Duration) -> Result<()> {
        let record = self.record().await?;
        let lives = matches!(
            record.info.state,
            SessionState::Ready
                | SessionState::Busy
                | SessionState::Paused
                | SessionState::Interrupted { .. }
        );
        // A workspace that was lost has nothing that is not in its checkpoints.
        if !lives
            || record.filling
            || !self.foundation.checkpoints.automatic
            || !keeps_by_itself(&record.info)
        {
            return Ok(());
        }
        let Some(base) = known_base(&record) else {
            return Ok(());
        };
        let state = self.own_status(&record).await?.state;
        let limit = if state == ContainerState::Running {
            PATIENCE
        } else {
            still
        };
        let taking = self.take_last(&record, base, state);
        tokio::time::timeout(limit, taking).await.unwrap_or_else(|_| {
            let message = "the last checkpoint took too long";
            Err(Error::new(ErrorKind::LimitExceeded, OPERATION, message)
                .with_context("limit_s", limit.as_secs())
                .with_retryable(true))
        })
    }

    async fn take_last(&mut self, record: &SessionRecord, base: String, state: ContainerState) -> Result<()> {
        let Some(link) = self.reach(record, state).await? else {
            return Ok(());
        };
        let turn = self.active_turn().map(|active| active.id);
        let job = self.job_on(link, base, CheckpointCause::Destroy, turn);
        match job.take().await {
            // That there is no git was told when the first turn began.
            Err(error) if error.kind() != ErrorKind::Unsupported => Err(error),
            _ => Ok(()),
        }
    }

    /// The link to whatever there is of it; `None` when there is nothing.
    async fn reach(&mut self, record: &SessionRecord, state: ContainerState) -> Result<Option<Link>> {
        let up = self
            .connection
            .as_ref()
            .is_some_and(|connection| !connection.link.is_closed());
        let known = !may_be_unverified(record, state);
        match state {
            ContainerState::Running if known && up => {}
            ContainerState::Running if known => self.link_again().await?,
            ContainerState::Paused if known => {
                self.last_work.thawed = true;
                self.foundation.runtime.resume(&self.container).await?;
                if !up {
                    self.link_again().await?;
                }
            }
            _ => {
                if !self.foundation.runtime.has_workspace(&self.container).await? {
                    return Ok(None);
                }
                self.run_once_more().await?;
            }
        }
        Ok(Some(self.live_link()?.clone()))
    }

    /// Its container again, over what is left; of its doors none is answered.
    async fn run_once_more(&mut self) -> Result<()> {
        let Some(_lock) = self.foundation.state_dir.try_lock_agent(&self.id)? else {
            let message = "another process is bringing it back";
            return Err(Error::new(ErrorKind::Busy, OPERATION, message).with_retryable(true));
        };
        // Whoever held it before may have brought the session back.
        let record = self.record().await?;
        let state = self.own_status(&record).await?.state;
        self.run_container(&record, state).await
    }
}
