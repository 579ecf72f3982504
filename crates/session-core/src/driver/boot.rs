//! Which start of its container a session's record speaks of.
//!
//! What runs in a session is known by names that are stored: its agent, its commands, the keys under which prompts were
//! written. They hold in the start of the container in which they were given. Somebody may start it anew while nobody of ours
//! looks; then nothing runs under them any more, and whatever is asked again under one of them would be done again. So each
//! start says its own name in its greeting, and one that is not the recorded one is a loss like any other.

use session_link::Link;

use super::Driver;
use crate::error::{Error, ErrorKind, Result};
use crate::link_error::from_link;
use crate::state::{InterruptCause, SessionState};
use crate::store::{Batch, SessionRecord};

const OPERATION: &str = "reach the session";

impl Driver {
    /// The name of the start that the link leads to.
    pub(super) fn boot_id(&self) -> Option<String> {
        let link = &self.connection.as_ref()?.link;
        Some(link.hello().boot_id.clone())
    }

    /// Before anybody gets the link of a session that was made and not lost.
    ///
    /// # Errors
    /// `LinkLost` when the container was started anew since; that is recorded, and what waits goes on when it is back.
    pub(super) async fn expect_same_boot(&mut self, link: &Link) -> Result<()> {
        let record = self.record().await?;
        let found = &link.hello().boot_id;
        if !matches!(record.info.state, SessionState::Ready | SessionState::Busy)
            || record.boot_id.as_ref() == Some(found)
        {
            return Ok(());
        }
        if record.boot_id.is_none() {
            return self.remember_boot(&record, found).await;
        }
        // One that is not there any more says nothing of what is recorded by now.
        link.ping().await.map_err(|error| from_link(OPERATION, error))?;
        tracing::info!(session = %self.id, "the session's container was started anew");
        self.lost(InterruptCause::ContainerExited).await?;
        let message = "its container was started anew, and what ran in it has ended";
        Err(Error::new(ErrorKind::LinkLost, OPERATION, message)
            .with_context("session", self.id)
            .with_retryable(true)
            .with_hint("resume it, unless it comes back by itself"))
    }

    /// A session that an older version made, or a backup brought.
    async fn remember_boot(&mut self, record: &SessionRecord, found: &str) -> Result<()> {
        if let Err(error) = self.own_status(record).await {
            tracing::debug!(session = %self.id, %error, "nobody says which container it is");
        }
        let batch = Batch {
            boot_id: Some(found.to_owned()),
            expect_state: Some(record.info.state.name()),
            ..Batch::default()
        };
        match self.foundation.store.commit(&self.id, batch).await {
            // A turn began or ended in between: the next link is for that.
            Err(error) if error.kind() == ErrorKind::StateConflict => Ok(()),
            outcome => outcome.map(drop),
        }
    }
}
