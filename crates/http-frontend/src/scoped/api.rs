//! Each operation, behind what its caller may do.

use async_trait::async_trait;
use jiff::Timestamp;
use session_core::api::{ArchiveStream, ByteStream, EventStream, SessionApi};
use session_core::audit::{AuditLine, AuditQuery, AuditVerdict};
use session_core::budget::{Spending, Spent};
use session_core::checkpoint::{Checkpoint, RestoreRequest};
use session_core::command::{CommandRequest, RunningCommand};
use session_core::egress::{DecideEgress, EgressDecision, EgressRequest};
use session_core::error::Result;
use session_core::event::Event;
use session_core::garbage::GarbageReport;
use session_core::id::{CheckpointId, CommandId, SessionId, TerminalId, TurnId};
use session_core::mcp::McpStatus;
use session_core::session::{
    CopyReport, CreateSession, EventQuery, PromptRequest, SessionDetails, SessionFilter, SessionInfo,
    WorkspaceDiff,
};
use session_core::terminal::{AttachedTerminal, OpenTerminal, TerminalInfo, TerminalSize};
use session_core::turn::TurnInfo;

use super::{Scoped, places, refusal};
use crate::caller::Scope;

#[async_trait]
impl SessionApi for Scoped {
    async fn create(&self, mut request: CreateSession) -> Result<SessionInfo> {
        self.may("create the session", Scope::Use)?;
        if self.caller.scope() < Scope::Admin {
            // Idempotency keys are those of their owner, so nobody comes by a session of somebody else with one.
            request.owner = Some(self.name().to_owned());
            let judged_at = Timestamp::now();
            let (request, handed) = places::judge(self.projects.clone(), request).await?;
            return self.make(request, handed, judged_at).await;
        } else if request.owner.is_none() {
            request.owner = Some(self.name().to_owned());
        }
        self.api.create(request).await
    }

    async fn list(&self, mut filter: SessionFilter) -> Result<Vec<SessionInfo>> {
        if !self.caller.sees_all() {
            if filter.owner.as_deref().is_some_and(|owner| owner != self.name()) {
                return Ok(Vec::new());
            }
            filter.owner = Some(self.name().to_owned());
        }
        self.api.list(filter).await
    }

    async fn session(&self, session: &SessionId) -> Result<SessionInfo> {
        if self.caller.sees_all() {
            return self.api.session(session).await;
        }
        self.find(session).await
    }

    async fn inspect(&self, session: &SessionId) -> Result<SessionDetails> {
        self.check(session).await?;
        self.api.inspect(session).await
    }

    async fn prompt(&self, session: &SessionId, request: PromptRequest) -> Result<TurnInfo> {
        self.check_change("accept the prompt", session).await?;
        self.api.prompt(session, request).await
    }

    async fn turn(&self, session: &SessionId, turn: &TurnId) -> Result<TurnInfo> {
        self.check(session).await?;
        self.api.turn(session, turn).await
    }

    async fn turns(&self, session: &SessionId) -> Result<Vec<TurnInfo>> {
        self.check(session).await?;
        self.api.turns(session).await
    }

    async fn interrupt(&self, session: &SessionId) -> Result<bool> {
        self.check_change("interrupt the session", session).await?;
        self.api.interrupt(session).await
    }

    async fn interrupt_turn(&self, session: &SessionId, turn: &TurnId) -> Result<bool> {
        self.check_change("interrupt the turn", session).await?;
        self.api.interrupt_turn(session, turn).await
    }

    async fn events(&self, session: &SessionId, after: u64) -> Result<EventStream> {
        self.check(session).await?;
        self.api.events(session, after).await
    }

    async fn event_page(&self, session: &SessionId, query: EventQuery) -> Result<Vec<Event>> {
        self.check(session).await?;
        self.api.event_page(session, query).await
    }

    async fn command(&self, session: &SessionId, request: CommandRequest) -> Result<RunningCommand> {
        self.check_change("run a command", session).await?;
        self.api.command(session, request).await
    }

    /// Who comes back to a command can type and signal, and takes its output away from others.
    async fn attach_command(
        &self,
        session: &SessionId,
        command: &CommandId,
        offset: u64,
    ) -> Result<RunningCommand> {
        self.check_change("come back to the command", session).await?;
        self.api.attach_command(session, command, offset).await
    }

    async fn open_terminal(&self, session: &SessionId, request: OpenTerminal) -> Result<TerminalInfo> {
        self.check_change("open a terminal", session).await?;
        self.api.open_terminal(session, request).await
    }

    async fn terminals(&self, session: &SessionId) -> Result<Vec<TerminalInfo>> {
        self.check(session).await?;
        self.api.terminals(session).await
    }

    /// All who look at a terminal may type.
    async fn attach_terminal(
        &self,
        session: &SessionId,
        terminal: &TerminalId,
        size: TerminalSize,
    ) -> Result<AttachedTerminal> {
        self.check_change("attach to the terminal", session).await?;
        self.api.attach_terminal(session, terminal, size).await
    }

    async fn close_terminal(&self, session: &SessionId, terminal: &TerminalId) -> Result<()> {
        self.check_change("close the terminal", session).await?;
        self.api.close_terminal(session, terminal).await
    }

    async fn copy_in(&self, session: &SessionId, dest: &str, archive: ArchiveStream) -> Result<CopyReport> {
        self.check_change("copy into the session", session).await?;
        self.api.copy_in(session, dest, archive).await
    }

    async fn copy_out(&self, session: &SessionId, path: &str) -> Result<ArchiveStream> {
        self.check(session).await?;
        self.api.copy_out(session, path).await
    }

    async fn diff(&self, session: &SessionId) -> Result<WorkspaceDiff> {
        self.check(session).await?;
        self.api.diff(session).await
    }

    async fn egress_requests(&self, session: Option<&SessionId>) -> Result<Vec<EgressRequest>> {
        if let Some(session) = session {
            self.check(session).await?;
            return self.api.egress_requests(Some(session)).await;
        }
        let own = self.own().await?;
        let mut requests = self.api.egress_requests(None).await?;
        requests.retain(|request| own.as_ref().is_none_or(|own| own.contains(&request.session)));
        Ok(requests)
    }

    /// A decision for all sessions is the operator's.
    async fn decide_egress(&self, decision: DecideEgress) -> Result<EgressDecision> {
        const OPERATION: &str = "decide about a host";
        match &decision.session {
            Some(session) => self.check_change(OPERATION, session).await?,
            None => self.may(OPERATION, Scope::Admin)?,
        }
        self.api.decide_egress(decision).await
    }

    async fn egress_decisions(&self, session: Option<&SessionId>) -> Result<Vec<EgressDecision>> {
        if let Some(session) = session {
            self.check(session).await?;
            return self.api.egress_decisions(Some(session)).await;
        }
        let own = self.own().await?;
        let mut decisions = self.api.egress_decisions(None).await?;
        // Those without a session hold for the caller's, too.
        decisions.retain(|decision| match (&own, &decision.session) {
            (Some(own), Some(session)) => own.contains(session),
            _ => true,
        });
        Ok(decisions)
    }

    /// What all used together tells of others, and stays zero for whoever sees only sessions of their own.
    async fn usage(&self, session: Option<&SessionId>) -> Result<Spent> {
        if self.caller.sees_all() {
            return self.api.usage(session).await;
        }
        let Some(session) = session else {
            return Err(refusal::others("tell what was used"));
        };
        self.check(session).await?;
        let today = Spending::default();
        let spent = self.api.usage(Some(session)).await?;
        Ok(Spent { today, ..spent })
    }

    async fn mcp_status(&self, session: Option<&SessionId>) -> Result<McpStatus> {
        if let Some(session) = session {
            self.check(session).await?;
        }
        self.api.mcp_status(session).await
    }

    async fn pause(&self, session: &SessionId) -> Result<()> {
        self.check_change("pause the session", session).await?;
        self.api.pause(session).await
    }

    async fn resume(&self, session: &SessionId) -> Result<()> {
        self.check_change("resume the session", session).await?;
        self.api.resume(session).await
    }

    async fn renew_lease(&self, session: &SessionId) -> Result<SessionInfo> {
        self.check_change("renew the lease", session).await?;
        self.api.renew_lease(session).await
    }

    async fn checkpoint(&self, session: &SessionId) -> Result<Option<Checkpoint>> {
        self.check_change("take a checkpoint", session).await?;
        self.api.checkpoint(session).await
    }

    async fn checkpoints(&self, session: &SessionId) -> Result<Vec<Checkpoint>> {
        self.check(session).await?;
        self.api.checkpoints(session).await
    }

    async fn checkpoint_patch(&self, session: &SessionId, checkpoint: &CheckpointId) -> Result<ByteStream> {
        self.check(session).await?;
        self.api.checkpoint_patch(session, checkpoint).await
    }

    /// What is made is made as that session was, directories of the host included: they are judged as if they were asked
    /// for.
    async fn restore(&self, mut request: RestoreRequest) -> Result<SessionInfo> {
        self.check_change("restore the session's work", &request.session)
            .await?;
        if self.caller.scope() < Scope::Admin {
            request.owner = Some(self.name().to_owned());
            return self.bring_back(request).await;
        } else if request.owner.is_none() {
            request.owner = Some(self.name().to_owned());
        }
        self.api.restore(request).await
    }

    /// What all sessions left behind is the operator's.
    async fn collect_garbage(&self, dry_run: bool) -> Result<GarbageReport> {
        self.may("collect garbage", Scope::Admin)?;
        self.api.collect_garbage(dry_run).await
    }

    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditLine>> {
        self.may("read the audit log", Scope::Admin)?;
        self.api.audit(query).await
    }

    async fn verify_audit(&self) -> Result<AuditVerdict> {
        self.may("verify the audit log", Scope::Admin)?;
        self.api.verify_audit().await
    }

    async fn destroy(&self, session: &SessionId) -> Result<()> {
        self.check_change("destroy the session", session).await?;
        self.api.destroy(session).await
    }
}
