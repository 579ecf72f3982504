//! How a session ends: because somebody asked, or by itself.
//!
//! The record says `Destroying` before anything is removed: whoever finds it later, this process or another, goes on.

use jiff::Timestamp;

use crate::error::{ErrorKind, Result};
use crate::event::EventKind;
use crate::lifetime::ExpiryCause;
use crate::state::{SessionState, Transition};
use crate::store::{Batch, SessionRecord};

use super::Driver;

impl Driver {
    pub(super) async fn destroy(&mut self) -> Result<()> {
        self.keep_last_work().await;
        match self.transition(Transition::DestroyAsked).await {
            Ok(SessionState::Destroyed) => return Ok(()),
            Ok(_) => {}
            Err(error) => {
                self.stays_after_all().await;
                return Err(error);
            }
        }
        self.take_down().await
    }

    /// Ends the session by itself. Answers whether it did: not one that is being made, not for idleness when a turn waits or
    /// runs, and not for its lease when that is not the one by which it was judged any more.
    pub(super) async fn expire(&mut self, cause: ExpiryCause, lease: Option<Timestamp>) -> Result<bool> {
        let record = self.record().await?;
        if matches!(record.info.state, SessionState::Creating) || record.info.state.has_ended() {
            return Ok(false);
        }
        let ended = self.end_expired(&record, cause, lease).await;
        if !matches!(ended, Ok(true)) {
            self.stays_after_all().await;
            return ended;
        }
        self.take_down().await?;
        Ok(true)
    }

    /// From here on its end is certain, unless it works or its lease was renewed after all.
    async fn end_expired(
        &mut self,
        record: &SessionRecord,
        cause: ExpiryCause,
        lease: Option<Timestamp>,
    ) -> Result<bool> {
        self.expect_last_work().await?;
        let state = record.info.state.after(Transition::DestroyAsked)?;
        // One transaction tells why, makes the end certain, and sees every prompt that was accepted before it.
        let batch = Batch {
            events: vec![(None, EventKind::Expired { cause })],
            state: Some(state),
            expiry: Some(cause),
            expect_state: Some(record.info.state.name()),
            expect_no_turns: cause == ExpiryCause::Idle,
            expect_lease_until: lease.filter(|_| cause == ExpiryCause::LeaseLapsed),
            ..Batch::default()
        };
        match self.foundation.store.commit(&self.id, batch).await {
            Ok(_) => {}
            // It works, it was renewed, or another process was faster: looked at again, from there.
            Err(error) if error.kind() == ErrorKind::StateConflict => return Ok(false),
            Err(error) => return Err(error),
        }
        tracing::info!(session = %self.id, ?cause, "the session ends by itself");
        Ok(true)
    }

    async fn take_down(&mut self) -> Result<()> {
        fail::fail_point!("driver.destroy.asked", |_| crate::fault::store(
            "destroy the session"
        ));
        self.cancel_turns_of_destroyed_session().await?;
        self.agent = None;
        self.interface = None;
        self.drop_connection();
        self.dismiss().await;
        fail::fail_point!("driver.destroy.remove", |_| crate::fault::engine(
            "destroy the session"
        ));
        self.foundation.runtime.remove(&self.container).await?;
        fail::fail_point!("driver.destroy.removed", |_| crate::fault::engine(
            "destroy the session"
        ));
        self.foundation.state_dir.remove_session_dir(&self.id)?;
        fail::fail_point!("driver.destroy.done", |_| crate::fault::store(
            "destroy the session"
        ));
        self.transition(Transition::DestroyDone).await?;
        self.keep_newest_checkpoint().await;
        Ok(())
    }
}
