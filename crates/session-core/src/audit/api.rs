//! Each operation, and what its line tells.

use async_trait::async_trait;

use super::audited::{Audited, Told};
use super::{AuditLine, AuditQuery, AuditVerdict};
use crate::api::{ArchiveStream, ByteStream, EventStream, SessionApi};
use crate::budget::Spent;
use crate::checkpoint::{Checkpoint, RestoreRequest};
use crate::command::{CommandRequest, RunningCommand};
use crate::egress::{DecideEgress, EgressDecision, EgressRequest};
use crate::error::Result;
use crate::event::Event;
use crate::garbage::GarbageReport;
use crate::id::{CheckpointId, CommandId, SessionId, TerminalId, TurnId};
use crate::mcp::McpStatus;
use crate::session::{
    CopyReport, CreateSession, EventQuery, PromptRequest, SessionDetails, SessionFilter, SessionInfo,
    WorkspaceDiff,
};
use crate::terminal::{AttachedTerminal, OpenTerminal, TerminalInfo, TerminalSize};
use crate::turn::TurnInfo;

#[async_trait]
impl SessionApi for Audited {
    async fn create(&self, request: CreateSession) -> Result<SessionInfo> {
        let made = |info: &SessionInfo| Told {
            session: Some(info.id),
            detail: Some(format!("image {}", info.image.as_str())),
        };
        self.scribe
            .act("create_session", None, self.sessions.create(request), made)
            .await
    }

    async fn list(&self, filter: SessionFilter) -> Result<Vec<SessionInfo>> {
        self.sessions.list(filter).await
    }

    async fn list_version(&self) -> Result<Option<u64>> {
        self.sessions.list_version().await
    }

    async fn session(&self, session: &SessionId) -> Result<SessionInfo> {
        self.sessions.session(session).await
    }

    async fn inspect(&self, session: &SessionId) -> Result<SessionDetails> {
        self.sessions.inspect(session).await
    }

    async fn prompt(&self, session: &SessionId, request: PromptRequest) -> Result<TurnInfo> {
        let accepted = |turn: &TurnInfo| Told::detail(format_args!("turn {}", turn.id));
        self.scribe
            .act(
                "prompt_agent",
                Some(session),
                self.sessions.prompt(session, request),
                accepted,
            )
            .await
    }

    async fn turn(&self, session: &SessionId, turn: &TurnId) -> Result<TurnInfo> {
        self.sessions.turn(session, turn).await
    }

    async fn turns(&self, session: &SessionId) -> Result<Vec<TurnInfo>> {
        self.sessions.turns(session).await
    }

    async fn interrupt(&self, session: &SessionId) -> Result<bool> {
        self.scribe
            .act(
                "interrupt_session",
                Some(session),
                self.sessions.interrupt(session),
                Told::nothing,
            )
            .await
    }

    async fn interrupt_turn(&self, session: &SessionId, turn: &TurnId) -> Result<bool> {
        let which = |_: &bool| Told::detail(format_args!("turn {turn}"));
        self.scribe
            .act(
                "interrupt_turn",
                Some(session),
                self.sessions.interrupt_turn(session, turn),
                which,
            )
            .await
    }

    async fn events(&self, session: &SessionId, after: u64) -> Result<EventStream> {
        self.sessions.events(session, after).await
    }

    async fn event_page(&self, session: &SessionId, query: EventQuery) -> Result<Vec<Event>> {
        self.sessions.event_page(session, query).await
    }

    async fn command(&self, session: &SessionId, request: CommandRequest) -> Result<RunningCommand> {
        // The program alone: arguments may be secrets, although they should not.
        let program = request.argv.first().map(|program| lossy(program));
        let started = |command: &RunningCommand| {
            let program = program.unwrap_or_default();
            Told::detail(format_args!("command {}: {program}", command.id))
        };
        self.scribe
            .act(
                "run_command",
                Some(session),
                self.sessions.command(session, request),
                started,
            )
            .await
    }

    async fn attach_command(
        &self,
        session: &SessionId,
        command: &CommandId,
        offset: u64,
    ) -> Result<RunningCommand> {
        self.sessions.attach_command(session, command, offset).await
    }

    async fn open_terminal(&self, session: &SessionId, request: OpenTerminal) -> Result<TerminalInfo> {
        let opened = |terminal: &TerminalInfo| Told::detail(format_args!("terminal {}", terminal.id));
        self.scribe
            .act(
                "open_terminal",
                Some(session),
                self.sessions.open_terminal(session, request),
                opened,
            )
            .await
    }

    async fn terminals(&self, session: &SessionId) -> Result<Vec<TerminalInfo>> {
        self.sessions.terminals(session).await
    }

    async fn attach_terminal(
        &self,
        session: &SessionId,
        terminal: &TerminalId,
        size: TerminalSize,
    ) -> Result<AttachedTerminal> {
        // Whoever looks at a terminal can type into it.
        let which = |_: &AttachedTerminal| Told::detail(format_args!("terminal {terminal}"));
        self.scribe
            .act(
                "attach_terminal",
                Some(session),
                self.sessions.attach_terminal(session, terminal, size),
                which,
            )
            .await
    }

    async fn close_terminal(&self, session: &SessionId, terminal: &TerminalId) -> Result<()> {
        let which = |(): &()| Told::detail(format_args!("terminal {terminal}"));
        self.scribe
            .act(
                "close_terminal",
                Some(session),
                self.sessions.close_terminal(session, terminal),
                which,
            )
            .await
    }

    async fn copy_in(&self, session: &SessionId, dest: &str, archive: ArchiveStream) -> Result<CopyReport> {
        let copied = |report: &CopyReport| {
            Told::detail(format_args!(
                "{} entries, {} bytes, to {dest}",
                report.entries, report.bytes
            ))
        };
        self.scribe
            .act(
                "copy_in",
                Some(session),
                self.sessions.copy_in(session, dest, archive),
                copied,
            )
            .await
    }

    async fn copy_out(&self, session: &SessionId, path: &str) -> Result<ArchiveStream> {
        self.sessions.copy_out(session, path).await
    }

    async fn diff(&self, session: &SessionId) -> Result<WorkspaceDiff> {
        self.sessions.diff(session).await
    }

    async fn egress_requests(&self, session: Option<&SessionId>) -> Result<Vec<EgressRequest>> {
        self.sessions.egress_requests(session).await
    }

    async fn decide_egress(&self, decision: DecideEgress) -> Result<EgressDecision> {
        let session = decision.session;
        let decided = |decision: &EgressDecision| Told {
            session: None,
            detail: Some(decision.verdict()),
        };
        self.scribe
            .act(
                "decide_host",
                session.as_ref(),
                self.sessions.decide_egress(decision),
                decided,
            )
            .await
    }

    async fn egress_decisions(&self, session: Option<&SessionId>) -> Result<Vec<EgressDecision>> {
        self.sessions.egress_decisions(session).await
    }

    async fn usage(&self, session: Option<&SessionId>) -> Result<Spent> {
        self.sessions.usage(session).await
    }

    async fn mcp_status(&self, session: Option<&SessionId>) -> Result<McpStatus> {
        self.sessions.mcp_status(session).await
    }

    async fn pause(&self, session: &SessionId) -> Result<()> {
        self.scribe
            .act(
                "pause_session",
                Some(session),
                self.sessions.pause(session),
                Told::nothing,
            )
            .await
    }

    async fn resume(&self, session: &SessionId) -> Result<()> {
        self.scribe
            .act(
                "resume_session",
                Some(session),
                self.sessions.resume(session),
                Told::nothing,
            )
            .await
    }

    async fn renew_lease(&self, session: &SessionId) -> Result<SessionInfo> {
        self.scribe
            .act(
                "renew_lease",
                Some(session),
                self.sessions.renew_lease(session),
                Told::nothing,
            )
            .await
    }

    async fn checkpoint(&self, session: &SessionId) -> Result<Option<Checkpoint>> {
        let taken = |checkpoint: &Option<Checkpoint>| match checkpoint {
            Some(checkpoint) => Told::detail(format_args!("checkpoint {}", checkpoint.id)),
            None => Told::detail("nothing to keep"),
        };
        self.scribe
            .act(
                "take_checkpoint",
                Some(session),
                self.sessions.checkpoint(session),
                taken,
            )
            .await
    }

    async fn checkpoints(&self, session: &SessionId) -> Result<Vec<Checkpoint>> {
        self.sessions.checkpoints(session).await
    }

    async fn checkpoint_patch(&self, session: &SessionId, checkpoint: &CheckpointId) -> Result<ByteStream> {
        self.sessions.checkpoint_patch(session, checkpoint).await
    }

    async fn restore(&self, request: RestoreRequest) -> Result<SessionInfo> {
        let session = request.session;
        let restored = |info: &SessionInfo| Told::detail(format_args!("into session {}", info.id));
        self.scribe
            .act(
                "restore_work",
                Some(&session),
                self.sessions.restore(request),
                restored,
            )
            .await
    }

    async fn collect_garbage(&self, dry_run: bool) -> Result<GarbageReport> {
        if dry_run {
            return self.sessions.collect_garbage(dry_run).await;
        }
        let collected = |report: &GarbageReport| {
            Told::detail(format_args!(
                "{} removed, {} finished, {} left",
                report.removed.len(),
                report.finished.len(),
                report.left.len()
            ))
        };
        self.scribe
            .act(
                "collect_garbage",
                None,
                self.sessions.collect_garbage(dry_run),
                collected,
            )
            .await
    }

    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditLine>> {
        self.sessions.audit(query).await
    }

    async fn verify_audit(&self) -> Result<AuditVerdict> {
        self.sessions.verify_audit().await
    }

    async fn destroy(&self, session: &SessionId) -> Result<()> {
        self.scribe
            .act(
                "destroy_session",
                Some(session),
                self.sessions.destroy(session),
                Told::nothing,
            )
            .await
    }
}

/// A program as a line tells of it.
fn lossy(program: &[u8]) -> String {
    String::from_utf8_lossy(program).into_owned()
}
