//! A checkpoint's work, brought back into a workspace.

use futures::StreamExt;
use session_link::Link;

use super::Driver;
use crate::checkpoint::{Checkpoint, CheckpointCause};
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventKind;
use crate::id::CheckpointId;
use crate::session::{SessionInfo, WorkspaceSource};
use crate::state::StateName;
use crate::store::{Batch, SessionRecord};
use crate::workspace_tree;

const OPERATION: &str = "bring the session's work back";

impl Driver {
    /// Makes the workspace what it was at a checkpoint, if it has no other changes.
    pub(super) async fn restore(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let base = self.checkpoint_base().await?;
        let (link, _) = self.connect().await?;
        self.put(&link, &base, checkpoint).await
    }

    async fn put(&mut self, link: &Link, base: &str, checkpoint: &Checkpoint) -> Result<()> {
        let keeper = self.foundation.keeper();
        // A checkpoint that is being taken would have half of it.
        self.settle_checkpoints().await;
        let patch = keeper.patch(checkpoint).await?.boxed();
        workspace_tree::put(link, base, patch)
            .await
            .map_err(|error| error.with_context("checkpoint", checkpoint.id))
    }

    /// Fills a workspace that was lost and made anew: with its project as when it was made, and with the work of its newest
    /// checkpoint. Whether that is so is recorded on this side alone ([`Self::note_lost_workspace`]): nothing that is found inside
    /// has the host's files read again, or keeps them from being read. It may be broken off anywhere and called again.
    ///
    /// The link must be up. Answers with the checkpoint whose work was brought back.
    pub(super) async fn bring_back_work(&mut self) -> Result<Option<CheckpointId>> {
        let record = self.record().await?;
        if !record.filling {
            return Ok(None);
        }
        let link = self.live_link()?.clone();
        match workspace_tree::empty(&link, &record.info.mounts).await {
            Ok(()) => {}
            // It was made empty. What an attempt before this one brought, this one brings again.
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                tracing::debug!(session = %self.id, %error, "its image has nothing to empty a directory with");
            }
            Err(error) => return Err(error),
        }
        self.fill_workspace(&record).await?;
        self.newest_work(&record).await
    }

    /// A workspace that is not there is about to be made anew, and is filled from then on until it is whole, whoever does it.
    /// Noted before it is made: afterwards it could not be told from one that was worked in.
    pub(super) async fn note_lost_workspace(&self, info: &SessionInfo) -> Result<()> {
        let mounted = matches!(info.workspace, WorkspaceSource::Mount { .. });
        if mounted || self.foundation.runtime.has_workspace(&self.container).await? {
            return Ok(());
        }
        tracing::info!(session = %self.id, "the session's workspace is gone; it is filled anew");
        let batch = Batch {
            filling: Some(true),
            expect_state: Some(StateName::Interrupted),
            ..Batch::default()
        };
        self.foundation.store.commit(&self.id, batch).await.map(drop)
    }

    async fn newest_work(&mut self, record: &SessionRecord) -> Result<Option<CheckpointId>> {
        let store = self.foundation.store.clone();
        let newest = store.checkpoint(&self.id, None).await?;
        let link = self.live_link()?.clone();
        if record.base_tree.is_some() {
            let base = workspace_tree::base_anew(&link).await?;
            self.new_base(base).await?;
        }
        let Some(checkpoint) = newest.filter(|newest| newest.bytes > 0) else {
            return Ok(None);
        };
        let base = self.checkpoint_base().await?;
        match self.put(&link, &base, &checkpoint).await {
            Ok(()) => Ok(Some(checkpoint.id)),
            // Nor would it the next time. The session is worth more with its project alone than not at all.
            Err(error) if error.kind() == ErrorKind::StateConflict => {
                self.tell_unfit(&checkpoint, &error).await;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Work that does not fit what its project has become stays where it is kept.
    async fn tell_unfit(&self, checkpoint: &Checkpoint, error: &Error) {
        tracing::warn!(session = %self.id, checkpoint = %checkpoint.id, %error, "the session comes back without its newest work");
        let message = format!(
            "the session comes back without the work of checkpoint {}, which is kept: {error}",
            checkpoint.id
        );
        let told = Error::new(error.kind(), OPERATION, message).with_hint(
            "read the checkpoint's patch and apply it by hand, for example with `git apply --3way`",
        );
        self.log(EventKind::Problem { error: told.report() }).await;
    }

    /// Into a session that is being made: its first checkpoint is what it was made with.
    pub(super) async fn restore_into_new(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.restore(checkpoint).await?;
        self.checkpoint_now(CheckpointCause::Asked).await
    }
}
