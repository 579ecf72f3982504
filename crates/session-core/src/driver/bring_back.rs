//! A checkpoint's work, brought back into a workspace.

use futures::StreamExt;

use super::Driver;
use crate::checkpoint::{Checkpoint, CheckpointCause};
use crate::error::{ErrorKind, Result};
use crate::id::CheckpointId;
use crate::session::{SessionInfo, WorkspaceSource};
use crate::state::StateName;
use crate::store::{Batch, SessionRecord};
use crate::workspace_tree;

impl Driver {
    /// Makes the workspace what it was at a checkpoint, if it has no other changes.
    pub(super) async fn restore(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let base = self.checkpoint_base().await?;
        let (link, _) = self.connect().await?;
        let keeper = self.foundation.keeper();
        // A checkpoint that is being taken would have half of it.
        self.settle_checkpoints().await;
        let patch = keeper.patch(checkpoint).await?.boxed();
        workspace_tree::put(&link, &base, patch)
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
        if record.base_tree.is_some() {
            let link = self.live_link()?.clone();
            let base = workspace_tree::base_anew(&link).await?;
            self.new_base(base).await?;
        }
        let Some(checkpoint) = newest.filter(|newest| newest.bytes > 0) else {
            return Ok(None);
        };
        self.restore(&checkpoint).await?;
        Ok(Some(checkpoint.id))
    }

    /// Into a session that is being made: its first checkpoint is what it was made with.
    pub(super) async fn restore_into_new(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.restore(checkpoint).await?;
        self.checkpoint_now(CheckpointCause::Asked).await
    }
}
