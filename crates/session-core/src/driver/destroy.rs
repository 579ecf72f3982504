//! How a session ends.
//!
//! The record says `Destroying` before anything is removed: whoever finds it later, this process or another, goes on.

use crate::error::Result;
use crate::state::{SessionState, Transition};

use super::Driver;

impl Driver {
    pub(super) async fn destroy(&mut self) -> Result<()> {
        if self.transition(Transition::DestroyAsked).await? == SessionState::Destroyed {
            return Ok(());
        }
        self.cancel_turns_of_destroyed_session().await?;
        self.agent = None;
        self.interface = None;
        self.drop_connection();
        self.dismiss().await;
        self.foundation.runtime.remove(&self.container).await?;
        self.foundation.state_dir.remove_session_dir(&self.id)?;
        self.transition(Transition::DestroyDone).await?;
        Ok(())
    }
}
