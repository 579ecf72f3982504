//! The tree with which a session's workspace is compared: what it was before the first turn.

use super::Driver;
use crate::error::Result;
use crate::store::Batch;
use crate::workspace_tree;

impl Driver {
    /// The base tree, written now if it was never written.
    pub(super) async fn snapshot(&mut self) -> Result<String> {
        if let Some(base) = self.record().await?.base_tree {
            return Ok(base);
        }
        let (link, _) = self.connect().await?;
        let base = workspace_tree::base(&link).await?;
        let batch = Batch {
            base_tree: Some(base.clone()),
            ..Batch::default()
        };
        self.foundation.store.commit(&self.id, batch).await?;
        Ok(base)
    }

    /// Before a turn: an image without git has no diff, and that is no reason not to work.
    pub(super) async fn ensure_base_tree(&mut self) {
        if let Err(error) = self.snapshot().await {
            tracing::debug!(session = %self.id, %error, "there will be no diff");
        }
    }
}
