//! Checkpoints as callers ask for them, and the work of one brought back.

use futures::StreamExt;

use super::SessionManager;
use super::sameness::{own_key, restore_digest};
use crate::api::ByteStream;
use crate::checkpoint::{Checkpoint, RestoreRequest};
use crate::driver::Request;
use crate::error::{Error, ErrorKind, Result};
use crate::garbage::{Garbage, GarbageKind};
use crate::id::{CheckpointId, SessionId};
use crate::mcp::{McpPlan, McpSelection};
use crate::policy;
use crate::session::{CreateSession, SessionInfo};
use crate::state::{Operation, SessionState};

const RESTORE: &str = "restore the session's work";

impl SessionManager {
    pub(super) async fn take_checkpoint(&self, session: &SessionId) -> Result<Option<Checkpoint>> {
        let _at_work = self.inner.foundation.work.token();
        let record = self.record(session, "take a checkpoint").await?;
        record.info.state.permits(Operation::Files)?;
        self.driver(&record).ask(Request::Checkpoint).await
    }

    pub(super) async fn patch_of_checkpoint(
        &self,
        session: &SessionId,
        checkpoint: &CheckpointId,
    ) -> Result<ByteStream> {
        let found = self
            .checkpoint_of(session, Some(checkpoint), "read the checkpoint")
            .await?;
        Ok(self.inner.foundation.keeper().patch(&found).await?.boxed())
    }

    pub(super) async fn restore_work(&self, request: RestoreRequest) -> Result<SessionInfo> {
        let _at_work = self.inner.foundation.work.token();
        let session = &request.session;
        let record = self.record(session, RESTORE).await?;
        let again = as_it_was(&record.info, &request);
        let digest = again.idempotency_key.is_some().then(|| restore_digest(&request));
        if let Some(made) = self.made_before(&again, digest.as_deref()).await? {
            return Ok(made);
        }
        let checkpoint = self
            .checkpoint_of(session, request.checkpoint.as_ref(), RESTORE)
            .await?;
        match &record.info.state {
            SessionState::Ready => {
                let driver = self.driver(&record);
                let restore = |answer| Request::Restore(Box::new(checkpoint), answer);
                driver.ask(restore).await?;
                Ok(self.record(session, RESTORE).await?.info)
            }
            SessionState::Busy => Err(Error::new(
                ErrorKind::StateConflict,
                RESTORE,
                "a turn runs, and changes what would be changed",
            )
            .with_context("session", session)
            .with_hint("wait for the turn, or interrupt it")),
            SessionState::Creating | SessionState::Paused | SessionState::Destroying => {
                record.info.state.permits(Operation::Files)?;
                Ok(record.info)
            }
            _ => self.create_with(again, digest, Some(checkpoint)).await,
        }
    }

    /// The session that the same request made before, whatever became since of the one whose work it has.
    async fn made_before(
        &self,
        request: &CreateSession,
        digest: Option<&str>,
    ) -> Result<Option<SessionInfo>> {
        let (Some(asked), Some(key)) = (&request.idempotency_key, own_key(request)) else {
            return Ok(None);
        };
        policy::limits::validate_idempotency_key(asked)?;
        let store = &self.inner.foundation.store;
        match store.session_of_request(&key, digest).await? {
            Some(made) => self.wait_created(&made.info.id).await.map(Some),
            None => Ok(None),
        }
    }

    async fn checkpoint_of(
        &self,
        session: &SessionId,
        checkpoint: Option<&CheckpointId>,
        operation: &'static str,
    ) -> Result<Checkpoint> {
        let store = &self.inner.foundation.store;
        let found = store.checkpoint(session, checkpoint).await?;
        found.ok_or_else(|| {
            let message = match checkpoint {
                Some(_) => "this session has no such checkpoint",
                None => "nothing was kept of this session's work",
            };
            let error = Error::new(ErrorKind::NotFound, operation, message).with_context("session", session);
            match checkpoint {
                Some(id) => error.with_context("checkpoint", id),
                None => error,
            }
        })
    }

    /// Removes checkpoints that are kept for nobody any more: all but the newest of sessions that have ended, those as well
    /// when they were kept for long enough, and files that no checkpoint names. With `dry_run`, says which.
    pub(super) async fn collect_checkpoints(&self, dry_run: bool) -> Result<Vec<Garbage>> {
        let keeper = self.inner.foundation.keeper();
        let now_ms = self.kept_ms(dry_run).await?;
        let keep_ms = u64::try_from(keeper.policy.keep_ended.as_millis()).unwrap_or(u64::MAX);
        let outlived = keeper.store.outlived_checkpoints(now_ms, keep_ms).await?;
        let mut found: Vec<Garbage> = outlived
            .iter()
            .map(|(checkpoint, session)| Garbage {
                kind: GarbageKind::Checkpoint,
                name: checkpoint.to_string(),
                reason: format!("its session {session} has ended"),
            })
            .collect();
        if !dry_run && !outlived.is_empty() {
            let ids = outlived.into_iter().map(|(checkpoint, _)| checkpoint).collect();
            let unwanted = keeper.store.delete_checkpoints(ids).await?;
            keeper.remove(unwanted).await?;
        }
        let nameless = keeper.sweep(dry_run).await?;
        found.extend(nameless.into_iter().map(|name| Garbage {
            kind: GarbageKind::Checkpoint,
            name,
            reason: "no checkpoint has this content".to_owned(),
        }));
        Ok(found)
    }
}

/// The request that makes a session as this one was. Its caller's own account is not known any more.
fn as_it_was(info: &SessionInfo, request: &RestoreRequest) -> CreateSession {
    CreateSession {
        name: info.name.clone(),
        workspace: info.workspace.clone(),
        image: Some(info.image.clone()),
        network: info.network,
        limits: Some(info.limits),
        mounts: info.mounts.clone(),
        model: info.model.clone(),
        small_model: info.small_model.clone(),
        env: info.env.clone(),
        labels: info.labels.clone(),
        owner: request.owner.clone().or_else(|| info.owner.clone()),
        account: None,
        allow: info.allow.clone(),
        budget: info.budget,
        idempotency_key: request.idempotency_key.clone(),
        permissions: info.permissions,
        mcp_config: info.mcp_config.clone(),
        mcp: info.mcp.as_ref().map_or_else(no_servers, same_servers),
        warm_agent: false,
        lifetime: info.lifetime,
        on_interrupt: info.on_interrupt,
    }
}

fn no_servers() -> McpSelection {
    McpSelection {
        none: true,
        ..McpSelection::default()
    }
}

fn same_servers(plan: &McpPlan) -> McpSelection {
    McpSelection {
        profile: plan.profile.clone(),
        servers: plan.servers.clone(),
        tools: plan.tools.clone(),
        none: plan.servers.is_empty(),
        search: Some(plan.search),
    }
}
