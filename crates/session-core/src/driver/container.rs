//! What becomes of a session's container: paused and resumed by us, and whatever others do to it.

use std::time::Duration;

use super::Driver;
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::{ContainerEventKind, ContainerState, ContainerStatus};
use crate::state::{InterruptCause, Operation, SessionState, Transition};
use crate::store::SessionRecord;

/// How long the engine may take between the end of a container and its removal.
const REMOVAL_GRACE: Duration = Duration::from_millis(300);

impl Driver {
    pub(super) async fn pause(&mut self) -> Result<()> {
        let record = self.record().await?;
        record.info.state.permits(Operation::Pause)?;
        if !self.foundation.runtime.capability().pause {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "pause the session",
                "this runtime cannot pause",
            ));
        }
        fail::fail_point!("driver.pause.before", |_| crate::fault::engine(
            "pause the session"
        ));
        let outcome = self.foundation.runtime.pause(&self.container).await;
        fail::fail_point!("driver.pause.after");
        self.truth_after(outcome).await?;
        if record.info.state == SessionState::Ready {
            self.transition(Transition::Paused).await?;
        }
        Ok(())
    }

    pub(super) async fn resume(&mut self) -> Result<()> {
        let record = self.record().await?;
        record.info.state.permits(Operation::Resume)?;
        fail::fail_point!("driver.resume.before", |_| crate::fault::engine(
            "resume the session"
        ));
        let outcome = self.foundation.runtime.resume(&self.container).await;
        fail::fail_point!("driver.resume.after");
        self.truth_after(outcome).await?;
        if record.info.state == SessionState::Paused {
            self.transition(Transition::Resumed).await?;
        }
        self.wants_work = true;
        Ok(())
    }

    /// A call that failed may have done its work all the same.
    async fn truth_after(&mut self, outcome: Result<()>) -> Result<()> {
        if outcome.is_err()
            && let Err(unknown) = self.refresh().await
        {
            tracing::debug!(session = %self.id, error = %unknown, "the container could not be looked at");
        }
        outcome
    }

    /// Brings the record in line with what the engine says.
    pub(super) async fn refresh(&mut self) -> Result<()> {
        let record = self.record().await?;
        if matches!(
            record.info.state,
            SessionState::Ready | SessionState::Busy | SessionState::Paused
        ) {
            fail::fail_point!("driver.inspect.before", |_| crate::fault::engine(
                "look at the container"
            ));
            let status = self.foundation.runtime.inspect(&self.container).await?;
            self.apply_status(&record, &status).await?;
        }
        Ok(())
    }

    async fn apply_status(&mut self, record: &SessionRecord, status: &ContainerStatus) -> Result<()> {
        match (status.state, &record.info.state) {
            (ContainerState::Absent, _) => self.lost(InterruptCause::ContainerRemoved).await,
            (ContainerState::Exited | ContainerState::Created, _) => {
                let cause = self.cause_of_end(status).await?;
                self.lost(cause).await
            }
            (ContainerState::Paused, SessionState::Ready) => {
                self.transition(Transition::Paused).await.map(drop)
            }
            (ContainerState::Running, SessionState::Paused) => {
                self.transition(Transition::Resumed).await.map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Whoever removes a container ends it first: an end without a cause of its own is looked at once more.
    async fn cause_of_end(&self, status: &ContainerStatus) -> Result<InterruptCause> {
        if status.out_of_memory {
            return Ok(InterruptCause::OutOfMemory);
        }
        tokio::time::sleep(REMOVAL_GRACE).await;
        let now = self.foundation.runtime.inspect(&self.container).await?;
        Ok(match now.state {
            ContainerState::Absent => InterruptCause::ContainerRemoved,
            _ if now.out_of_memory => InterruptCause::OutOfMemory,
            _ => InterruptCause::ContainerExited,
        })
    }

    pub(super) async fn container_event(&mut self, event: ContainerEventKind) {
        let outcome = match event {
            ContainerEventKind::Started => Ok(()),
            // The details (exit code, out of memory) are in the status.
            _ => self.refresh().await,
        };
        if let Err(error) = outcome {
            tracing::debug!(session = %self.id, %error, "the container's event could not be applied");
        }
    }

    /// The container is gone although nobody asked for it.
    pub(super) async fn lost(&mut self, cause: InterruptCause) -> Result<()> {
        self.agent = None;
        self.interface = None;
        self.drop_connection();
        fail::fail_point!("driver.lost.before", |_| crate::fault::store("record the loss"));
        self.fail_turns_of_lost_session(cause).await?;
        fail::fail_point!("driver.lost.turns_ended", |_| crate::fault::store(
            "record the loss"
        ));
        match self.transition(Transition::Lost { cause }).await {
            Err(error) if error.kind() == ErrorKind::StateConflict => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    pub(super) async fn link_lost(&mut self) {
        tracing::debug!(session = %self.id, "the link was lost");
        self.drop_connection();
        let owned = self.agent.take().is_some() || self.interface.is_some();
        match self.refresh().await {
            // The container lives: an owner comes back at once, so that a turn goes on.
            Ok(()) if owned => self.wants_work = true,
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(session = %self.id, %error, "the container could not be looked at");
                self.wants_work = owned;
            }
        }
    }
}
