//! What becomes of a session's container: paused and resumed by us, and whatever others do to it.

use std::time::Duration;

use super::inbox::Inbox;
use super::sight::ended_with_engine;
use super::{Answer, Driver, Request, STEP_ATTEMPTS};
use crate::error::{Error, ErrorKind, Result};
use crate::lifetime::OnInterrupt;
use crate::runtime::{ContainerEventKind, ContainerState, ContainerStatus, OwnedResource};
use crate::state::{InterruptCause, Operation, SessionState, Transition};
use crate::store::{Batch, SessionRecord};

/// How often an end without a cause of its own is looked at again, and how many times: whoever removes a container ends it
/// first, and an engine that stops ends its containers before it goes away.
const LOOK_AGAIN: Duration = Duration::from_millis(300);
const LOOKS: u32 = 3;

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

    /// One that comes back may take long, and waits for nobody who could not wait for it.
    pub(super) async fn resume_asked(&mut self, answer: Answer<()>, inbox: &mut Inbox) {
        let lost = match self.record().await {
            Ok(record) => matches!(record.info.state, SessionState::Interrupted { .. }),
            Err(error) => return drop(answer.send(Err(error))),
        };
        if !lost {
            return drop(answer.send(self.resume().await));
        }
        tokio::select! {
            biased;
            urgent = inbox.cannot_wait_for_comeback() => {
                // What it has done by then is found by the next attempt, as after a kill.
                self.comeback_broken_off().await;
                inbox.put_back(Request::Resume(answer), urgent);
            }
            outcome = self.resume() => drop(answer.send(outcome)),
        }
    }

    async fn resume(&mut self) -> Result<()> {
        let record = self.record().await?;
        record.info.state.permits(Operation::Resume)?;
        if matches!(record.info.state, SessionState::Interrupted { .. }) {
            return self.bring_back_asked().await;
        }
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
            let status = self.own_status(&record).await?;
            self.apply_status(&record, &status).await?;
        }
        self.found_interrupted(&record).await
    }

    /// What is true of the session's own container: under another name it is given its own back, and what bears its name
    /// without being it does not count.
    pub(super) async fn own_status(&mut self, record: &SessionRecord) -> Result<ContainerStatus> {
        let runtime = self.foundation.runtime.clone();
        let outcome = runtime.inspect(&self.container).await;
        if outcome
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::EngineUnavailable)
        {
            self.foundation.sight.went_away();
        }
        let status = outcome?;
        let Some(known) = &record.container_id else {
            return self.remember_id(status).await;
        };
        if status.id.as_ref().is_some_and(|id| id.as_str() == known) {
            return Ok(status);
        }
        let signer = &self.foundation.signer;
        let mut listed = runtime.list(signer.owner()).await?;
        listed.retain(|resource| signer.verify(&resource.labels) == Some(self.id));
        let bears_name =
            |resource: &OwnedResource| !resource.renamed && resource.id.is_some() && resource.id == status.id;
        // Made by an attempt to bring it back that was not seen to its end, or since the backup that the record is from.
        let lost = matches!(record.info.state, SessionState::Interrupted { .. });
        if (lost || record.boot_id.is_none()) && listed.iter().any(bears_name) {
            return self.remember_id(status).await;
        }
        let renamed = listed.into_iter().filter_map(|resource| resource.id);
        match renamed.into_iter().find(|id| id.as_str() == known) {
            Some(id) => {
                tracing::info!(session = %self.id, "somebody renamed the container; it gets its name back");
                runtime.rename(&id, &self.container).await?;
                runtime.inspect(&self.container).await
            }
            None => Ok(ContainerStatus::ABSENT),
        }
    }

    /// A container that was made before its id was recorded.
    async fn remember_id(&self, status: ContainerStatus) -> Result<ContainerStatus> {
        if let Some(id) = &status.id {
            let batch = Batch {
                container_id: Some(id.as_str().to_owned()),
                ..Batch::default()
            };
            self.foundation.store.commit(&self.id, batch).await?;
        }
        Ok(status)
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
                self.transition(Transition::Resumed).await?;
                // A turn may have waited since before.
                self.wants_work = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Why a container ended: for lack of memory, because it was removed, with its engine, or by itself.
    async fn cause_of_end(&self, status: &ContainerStatus) -> Result<InterruptCause> {
        if status.out_of_memory {
            return Ok(InterruptCause::OutOfMemory);
        }
        if self.ended_with_engine(status).await? {
            return Ok(InterruptCause::EngineRestart);
        }
        self.foundation.sight.ended(self.id);
        for _ in 0..LOOKS {
            tokio::time::sleep(LOOK_AGAIN).await;
            // An engine that is gone by now fails this: what became of it is judged when there is one again.
            let now = self.foundation.runtime.inspect(&self.container).await?;
            if now.state == ContainerState::Absent {
                return Ok(InterruptCause::ContainerRemoved);
            }
            if now.out_of_memory {
                return Ok(InterruptCause::OutOfMemory);
            }
            if self.foundation.sight.restarts(&self.id) {
                return Ok(InterruptCause::EngineRestart);
            }
        }
        Ok(InterruptCause::ContainerExited)
    }

    async fn ended_with_engine(&self, status: &ContainerStatus) -> Result<bool> {
        let engine = self.foundation.runtime.started_at().await?;
        Ok(match (engine, status.started_at, status.ended_at) {
            (Some(engine), Some(began), Some(ended)) => ended_with_engine(began, ended, engine),
            _ => false,
        })
    }

    pub(super) async fn look(&mut self) {
        if let Err(error) = self.refresh().await {
            tracing::debug!(session = %self.id, %error, "the container could not be looked at");
        }
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

    /// The container is gone although nobody asked for it. The turn that ran ends with it, in the same transaction; what
    /// waits goes on when the session comes back by its policy, and ends otherwise.
    pub(super) async fn lost(&mut self, cause: InterruptCause) -> Result<()> {
        self.agent = None;
        self.interface = None;
        self.drop_connection();
        fail::fail_point!("driver.lost.before", |_| crate::fault::store("record the loss"));
        let mut attempts = 0;
        loop {
            let record = self.record().await?;
            let comes_back = record.info.on_interrupt == OnInterrupt::Resume;
            if !comes_back {
                self.fail_waiting_turns(cause).await?;
            }
            // Another process may have seen it, or it is being removed.
            let Ok(state) = record.info.state.after(Transition::Lost { cause }) else {
                return Ok(());
            };
            let batch = Batch {
                state: Some(state),
                expect_state: Some(record.info.state.name()),
                turn: self.end_of_running_turn(cause).await?,
                ..Batch::default()
            };
            fail::fail_point!("driver.lost.turns_ended", |_| crate::fault::store(
                "record the loss"
            ));
            attempts += 1;
            match self.foundation.store.commit(&self.id, batch).await {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StateConflict && attempts < STEP_ATTEMPTS => {
                    continue;
                }
                Err(error) => return Err(error),
            }
            tracing::info!(session = %self.id, cause = cause.as_str(), comes_back, "the session's container is gone");
            let record = self.record().await?;
            return self.found_interrupted(&record).await;
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
