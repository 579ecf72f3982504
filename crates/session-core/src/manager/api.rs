//! The lifecycle API, answered by this process.

use std::sync::Arc;

use async_trait::async_trait;

use super::SessionManager;
use super::programs::is_sidecar;
use crate::api::{ArchiveStream, ByteStream, EventStream, SessionApi};
use crate::audit::{AuditLine, AuditQuery, AuditVerdict};
use crate::budget::Spent;
use crate::checkpoint::{Checkpoint, RestoreRequest};
use crate::command::{CommandRequest, RunningCommand};
use crate::driver::Request;
use crate::egress::{DecideEgress, EgressDecision, EgressRequest};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::garbage::GarbageReport;
use crate::id::{CheckpointId, CommandId, SessionId, TerminalId, TurnId};
use crate::mcp::McpStatus;
use crate::policy;
use crate::runtime::NetworkMode;
use crate::session::{
    CopyReport, CreateSession, EventQuery, PromptRequest, ResourceUse, SIDECAR_LABEL, SessionDetails,
    SessionFilter, SessionInfo, WorkspaceDiff,
};
use crate::state::{Operation, SessionState};
use crate::store::{Accepted, NewTurn};
use crate::terminal::{AttachedTerminal, OpenTerminal, TerminalInfo, TerminalSize};
use crate::turn::TurnInfo;

#[async_trait]
impl SessionApi for SessionManager {
    async fn create(&self, request: CreateSession) -> Result<SessionInfo> {
        self.create_session(request).await
    }

    async fn list(&self, filter: SessionFilter) -> Result<Vec<SessionInfo>> {
        let store = &self.inner.foundation.store;
        if filter.all {
            let records = store.sessions(&filter).await?;
            return Ok(records.into_iter().map(|record| record.info).collect());
        }
        let sidecars = filter.labels.contains_key(SIDECAR_LABEL);
        let listing = store.listing().await?;
        let meant = |info: &&Arc<SessionInfo>| filter.fits(info) && (sidecars || !is_sidecar(info));
        let found = listing.sessions().iter().filter(meant);
        Ok(found.map(|info| SessionInfo::clone(info)).collect())
    }

    async fn list_version(&self) -> Result<Option<u64>> {
        let listing = self.inner.foundation.store.listing().await?;
        Ok(Some(listing.version()))
    }

    async fn session(&self, session: &SessionId) -> Result<SessionInfo> {
        if let Some(info) = self.inner.foundation.store.listing().await?.get(session) {
            return Ok(SessionInfo::clone(info));
        }
        Ok(self.record(session, "look at the session").await?.info)
    }

    async fn inspect(&self, session: &SessionId) -> Result<SessionDetails> {
        let record = self.record(session, "inspect the session").await?;
        let mut carrier = None;
        let mut resources = None;
        if matches!(
            record.info.state,
            SessionState::Ready | SessionState::Busy | SessionState::Paused
        ) {
            let driver = self.driver(&record);
            driver.ask(Request::Refresh).await?;
            let now = self.record(session, "inspect the session").await?;
            if now.info.state.permits(Operation::Command).is_ok()
                && let Ok((link, carried)) = driver.link().await
            {
                carrier = Some(carried);
                resources = link.health().await.ok().map(resource_use);
            }
        }
        let (activity, stall) = match record.info.state {
            SessionState::Ready | SessionState::Busy => self.driver(&record).ask(Request::Activity).await?,
            _ => (None, None),
        };
        let record = self.record(session, "inspect the session").await?;
        let mcp_status = self.mcp_of(&record).await?;
        Ok(SessionDetails {
            container: record.container.to_string(),
            carrier,
            resources,
            activity,
            stall,
            mcp_status,
            model_usage: self.inner.foundation.gateway.usage(session),
            info: record.info,
        })
    }

    async fn prompt(&self, session: &SessionId, request: PromptRequest) -> Result<TurnInfo> {
        let _at_work = self.inner.foundation.work.token();
        policy::limits::validate_prompt_request(&request)?;
        let record = self.record(session, "prompt the agent").await?;
        record.info.state.permits(Operation::Prompt)?;
        if is_sidecar(&record.info) {
            return Err(Error::new(
                ErrorKind::StateConflict,
                "prompt the agent",
                "this is the container of an MCP server, which has no agent",
            )
            .with_context("session", session)
            .with_hint("prompt one of the sessions that `cofferdam ls` shows"));
        }
        let turn = NewTurn {
            id: TurnId::new(),
            prompt: request.prompt,
            tools: request.tools,
            idempotency_key: request.idempotency_key,
            time_limit: request.time_limit,
        };
        fail::fail_point!("manager.prompt.before", |_| crate::fault::store(
            "accept the prompt"
        ));
        let turn = match self.inner.foundation.store.insert_turn(session, turn).await? {
            Accepted::New(turn) | Accepted::Existing(turn) => turn,
        };
        fail::fail_point!("manager.prompt.accepted", |_| crate::fault::store(
            "accept the prompt"
        ));
        tracing::info!(%session, turn = %turn.id, "a prompt was accepted");
        // Also for a turn that existed: whoever accepted it may have died before telling anybody.
        self.driver(&record)
            .tell(Request::Work(self.account(session)))
            .await?;
        Ok(turn)
    }

    async fn turn(&self, session: &SessionId, turn: &TurnId) -> Result<TurnInfo> {
        self.inner
            .foundation
            .store
            .turn(session, turn)
            .await?
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::NotFound,
                    "read the turn",
                    "this session has no such turn",
                )
                .with_context("session", session)
                .with_context("turn", turn)
            })
    }

    async fn turns(&self, session: &SessionId) -> Result<Vec<TurnInfo>> {
        self.record(session, "list the turns").await?;
        self.inner.foundation.store.turns(session).await
    }

    async fn interrupt(&self, session: &SessionId) -> Result<bool> {
        let record = self.record(session, "interrupt the agent").await?;
        record.info.state.permits(Operation::Interrupt)?;
        self.driver(&record).ask(Request::Interrupt).await
    }

    async fn interrupt_turn(&self, session: &SessionId, turn: &TurnId) -> Result<bool> {
        let record = self.record(session, "interrupt the turn").await?;
        // What has ended is not to be interrupted, whatever became of its session.
        if self.turn(session, turn).await?.status.is_ended() {
            return Ok(false);
        }
        record.info.state.permits(Operation::Interrupt)?;
        let request = |answer| Request::InterruptTurn(*turn, answer);
        self.driver(&record).ask(request).await
    }

    async fn events(&self, session: &SessionId, after: u64) -> Result<EventStream> {
        let record = self.record(session, "follow the session").await?;
        // Whoever accepted its turns may have died: who waits for them sees to it that they run.
        if record.info.state.permits(Operation::Prompt).is_ok() {
            self.driver(&record).nudge(self.account(session));
        }
        Ok(self.inner.foundation.store.follow(*session, after))
    }

    async fn event_page(&self, session: &SessionId, query: EventQuery) -> Result<Vec<Event>> {
        self.record(session, "read the session's log").await?;
        self.inner.foundation.store.events(session, query).await
    }

    async fn command(&self, session: &SessionId, request: CommandRequest) -> Result<RunningCommand> {
        self.run_command(session, request).await
    }

    async fn attach_command(
        &self,
        session: &SessionId,
        command: &CommandId,
        offset: u64,
    ) -> Result<RunningCommand> {
        self.attach_to_command(session, command, offset).await
    }

    async fn open_terminal(&self, session: &SessionId, request: OpenTerminal) -> Result<TerminalInfo> {
        self.open_a_terminal(session, request).await
    }

    async fn terminals(&self, session: &SessionId) -> Result<Vec<TerminalInfo>> {
        self.terminals_of(session).await
    }

    async fn attach_terminal(
        &self,
        session: &SessionId,
        terminal: &TerminalId,
        size: TerminalSize,
    ) -> Result<AttachedTerminal> {
        self.attach_to_terminal(session, terminal, size).await
    }

    async fn close_terminal(&self, session: &SessionId, terminal: &TerminalId) -> Result<()> {
        self.close_a_terminal(session, terminal).await
    }

    async fn copy_in(&self, session: &SessionId, dest: &str, archive: ArchiveStream) -> Result<CopyReport> {
        self.copy_archive_in(session, dest, archive).await
    }

    async fn copy_out(&self, session: &SessionId, path: &str) -> Result<ArchiveStream> {
        self.copy_archive_out(session, path).await
    }

    async fn diff(&self, session: &SessionId) -> Result<WorkspaceDiff> {
        self.workspace_diff(session).await
    }

    async fn checkpoint(&self, session: &SessionId) -> Result<Option<Checkpoint>> {
        self.take_checkpoint(session).await
    }

    async fn checkpoints(&self, session: &SessionId) -> Result<Vec<Checkpoint>> {
        self.inner.foundation.store.checkpoints(session).await
    }

    async fn checkpoint_patch(&self, session: &SessionId, checkpoint: &CheckpointId) -> Result<ByteStream> {
        self.patch_of_checkpoint(session, checkpoint).await
    }

    async fn restore(&self, request: RestoreRequest) -> Result<SessionInfo> {
        self.restore_work(request).await
    }

    async fn egress_requests(&self, session: Option<&SessionId>) -> Result<Vec<EgressRequest>> {
        self.inner.foundation.store.egress_requests(session).await
    }

    async fn decide_egress(&self, decision: DecideEgress) -> Result<EgressDecision> {
        if let Some(session) = &decision.session {
            let record = self.record(session, "decide about hosts").await?;
            if record.info.network == NetworkMode::Open {
                return Err(Error::new(
                    ErrorKind::InvalidArgument,
                    "decide about hosts",
                    "the session has a network of its own, so nothing that it reaches is judged",
                )
                .with_context("session", session)
                .with_hint("only sealed sessions ask; see `cofferdam ls`"));
            }
        }
        self.inner.foundation.store.decide_egress(decision).await
    }

    async fn egress_decisions(&self, session: Option<&SessionId>) -> Result<Vec<EgressDecision>> {
        self.inner.foundation.store.egress_decisions(session).await
    }

    async fn usage(&self, session: Option<&SessionId>) -> Result<Spent> {
        self.inner.foundation.store.spent(session).await
    }

    async fn mcp_status(&self, session: Option<&SessionId>) -> Result<McpStatus> {
        let Some(session) = session else {
            return Ok(self.inner.foundation.gateway.mcp_status(None).await);
        };
        let record = self.record(session, "look at the session's MCP servers").await?;
        Ok(self.mcp_of(&record).await?.unwrap_or_default())
    }

    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditLine>> {
        self.inner.foundation.store.audit_lines(query).await
    }

    async fn verify_audit(&self) -> Result<AuditVerdict> {
        self.inner.foundation.store.verify_audit().await
    }

    async fn pause(&self, session: &SessionId) -> Result<()> {
        let record = self.record(session, "pause the session").await?;
        if matches!(record.info.state, SessionState::Interrupted { .. }) {
            // It is refused, and its coming back is not broken off for that.
            record.info.state.permits(Operation::Pause)?;
        }
        self.driver(&record).ask(Request::Pause).await
    }

    async fn resume(&self, session: &SessionId) -> Result<()> {
        let record = self.record(session, "resume the session").await?;
        self.driver(&record).ask(Request::Resume).await
    }

    async fn renew_lease(&self, session: &SessionId) -> Result<SessionInfo> {
        self.renew(session).await
    }

    async fn collect_garbage(&self, dry_run: bool) -> Result<GarbageReport> {
        self.collect(dry_run).await
    }

    async fn destroy(&self, session: &SessionId) -> Result<()> {
        self.destroy_session(session).await
    }
}

impl SessionManager {
    pub(super) async fn destroy_session(&self, session: &SessionId) -> Result<()> {
        let record = self.record(session, "destroy the session").await?;
        if record.info.state.is_final() {
            return Ok(());
        }
        let outcome = self.driver(&record).ask(Request::Destroy).await;
        if outcome.is_ok() {
            self.forget(session);
            return outcome;
        }
        // The task may have ended because somebody else destroyed the session meanwhile.
        match self.record(session, "destroy the session").await?.info.state {
            SessionState::Destroyed => Ok(()),
            _ => outcome,
        }
    }
}

fn resource_use(health: session_link::Health) -> ResourceUse {
    ResourceUse {
        memory_bytes: health.memory.unwrap_or_default(),
        cpu_ms: health.cpu_micros.unwrap_or_default() / 1000,
        pids: health.pids.unwrap_or_default(),
        oom_kills: health.oom_kills.unwrap_or_default(),
        uptime_ms: u64::try_from(health.uptime.as_millis()).unwrap_or(u64::MAX),
    }
}
