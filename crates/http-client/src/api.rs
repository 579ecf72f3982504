//! The lifecycle API, one request for each call.
//!
//! Cancellation: a request that was sent is done by the server whoever waits for it, so dropping a future here is what
//! dropping one of a manager is: the operation may go on, and is never left half done. Streams are the exception, as they
//! are there: dropping one ends what it stands for.

use async_trait::async_trait;
use http_api::{
    CreateSessionBody, DecideEgressBody, GarbageBody, Interrupted, OpenTerminalBody, PromptBody, RestoreBody,
    headers, paths,
};
use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};
use session_core::api::{ArchiveStream, ByteStream, EventStream, SessionApi};
use session_core::audit::{AuditLine, AuditQuery, AuditVerdict};
use session_core::budget::Spent;
use session_core::checkpoint::{Checkpoint, RestoreRequest};
use session_core::command::{CommandRequest, RunningCommand};
use session_core::egress::{DecideEgress, EgressDecision, EgressRequest};
use session_core::error::{Error, ErrorKind, Result};
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

use crate::sessions::{self, HttpSessions, harmless};
use crate::transport::{Call, Patience, Repeat};
use crate::{command, events, files, terminal};

#[async_trait]
impl SessionApi for HttpSessions {
    async fn create(&self, request: CreateSession) -> Result<SessionInfo> {
        let operation = "create session";
        let mut body = CreateSessionBody::try_from(request)?;
        let key = body.idempotency_key.take();
        let call = Call::new(operation, Method::POST, paths::SESSIONS).patience(Patience::Endless);
        self.ask(keyed(call, key)?.json(&body)?).await
    }

    async fn list(&self, filter: SessionFilter) -> Result<Vec<SessionInfo>> {
        self.ask(Call::get("list the sessions", paths::sessions(&filter)))
            .await
    }

    async fn session(&self, session: &SessionId) -> Result<SessionInfo> {
        sessions::record(&self.transport, session).await
    }

    async fn inspect(&self, session: &SessionId) -> Result<SessionDetails> {
        let call = Call::get("inspect the session", paths::details(session));
        self.ask(call.patience(Patience::Long)).await
    }

    async fn prompt(&self, session: &SessionId, request: PromptRequest) -> Result<TurnInfo> {
        let mut body = PromptBody::from(request);
        let key = body.idempotency_key.take();
        let call = Call::new("prompt the session", Method::POST, paths::turns(session));
        // The answer comes at once, but an agent that was not needed for long may have to be started for it.
        let call = keyed(call.patience(Patience::Long), key)?;
        self.ask(call.json(&body)?).await
    }

    async fn turn(&self, session: &SessionId, turn: &TurnId) -> Result<TurnInfo> {
        self.ask(Call::get("look at the turn", paths::turn(session, turn)))
            .await
    }

    async fn turns(&self, session: &SessionId) -> Result<Vec<TurnInfo>> {
        self.ask(Call::get("list the turns", paths::turns(session))).await
    }

    async fn interrupt(&self, session: &SessionId) -> Result<bool> {
        self.interrupted("interrupt the session", paths::interrupt(session))
            .await
    }

    async fn interrupt_turn(&self, session: &SessionId, turn: &TurnId) -> Result<bool> {
        self.interrupted("interrupt the turn", paths::interrupt_turn(session, turn))
            .await
    }

    async fn events(&self, session: &SessionId, after: u64) -> Result<EventStream> {
        events::follow(self.transport.clone(), *session, after).await
    }

    async fn event_page(&self, session: &SessionId, query: EventQuery) -> Result<Vec<Event>> {
        self.ask(Call::get("read the session's log", paths::events(session, query)))
            .await
    }

    async fn command(&self, session: &SessionId, request: CommandRequest) -> Result<RunningCommand> {
        command::run(self.transport.clone(), *session, request).await
    }

    async fn attach_command(
        &self,
        session: &SessionId,
        command: &CommandId,
        offset: u64,
    ) -> Result<RunningCommand> {
        command::attach(self.transport.clone(), *session, *command, offset).await
    }

    async fn open_terminal(&self, session: &SessionId, request: OpenTerminal) -> Result<TerminalInfo> {
        let mut body = OpenTerminalBody::from(request);
        let key = body.idempotency_key.take();
        let call = Call::new("open a terminal", Method::POST, paths::terminals(session));
        let call = keyed(call.patience(Patience::Long), key)?;
        self.ask(call.json(&body)?).await
    }

    async fn terminals(&self, session: &SessionId) -> Result<Vec<TerminalInfo>> {
        self.ask(Call::get("list the terminals", paths::terminals(session)).patience(Patience::Long))
            .await
    }

    async fn attach_terminal(
        &self,
        session: &SessionId,
        terminal: &TerminalId,
        size: TerminalSize,
    ) -> Result<AttachedTerminal> {
        terminal::attach(self.transport.clone(), *session, *terminal, size).await
    }

    async fn close_terminal(&self, session: &SessionId, terminal: &TerminalId) -> Result<()> {
        let target = paths::terminal(session, terminal);
        let call = harmless("close the terminal", Method::DELETE, target);
        self.tell(call.patience(Patience::Long)).await
    }

    async fn copy_in(&self, session: &SessionId, dest: &str, archive: ArchiveStream) -> Result<CopyReport> {
        files::copy_in(&self.transport, session, dest, archive).await
    }

    async fn copy_out(&self, session: &SessionId, path: &str) -> Result<ArchiveStream> {
        files::copy_out(self.transport.clone(), session, path).await
    }

    async fn diff(&self, session: &SessionId) -> Result<WorkspaceDiff> {
        let call = Call::get("compare the workspace", paths::diff(session));
        self.ask(call.patience(Patience::Long)).await
    }

    async fn egress_requests(&self, session: Option<&SessionId>) -> Result<Vec<EgressRequest>> {
        let target = paths::of_session(paths::EGRESS_REQUESTS, session);
        self.ask(Call::get("list the hosts that wait", target)).await
    }

    async fn decide_egress(&self, decision: DecideEgress) -> Result<EgressDecision> {
        let call = harmless("decide about hosts", Method::POST, paths::EGRESS_DECISIONS);
        self.ask(call.json(&DecideEgressBody::from(decision))?).await
    }

    async fn egress_decisions(&self, session: Option<&SessionId>) -> Result<Vec<EgressDecision>> {
        let target = paths::of_session(paths::EGRESS_DECISIONS, session);
        self.ask(Call::get("list the decisions about hosts", target))
            .await
    }

    async fn usage(&self, session: Option<&SessionId>) -> Result<Spent> {
        let target = paths::of_session(paths::USAGE, session);
        self.ask(Call::get("ask what was used", target)).await
    }

    async fn mcp_status(&self, session: Option<&SessionId>) -> Result<McpStatus> {
        let target = paths::of_session(paths::MCP_SERVERS, session);
        self.ask(Call::get("look at the MCP servers", target).patience(Patience::Long))
            .await
    }

    async fn pause(&self, session: &SessionId) -> Result<()> {
        let call = harmless("pause the session", Method::POST, paths::pause(session));
        self.tell(call.patience(Patience::Long)).await
    }

    async fn resume(&self, session: &SessionId) -> Result<()> {
        let call = harmless("resume the session", Method::POST, paths::resume(session));
        self.tell(call.patience(Patience::Long)).await
    }

    async fn renew_lease(&self, session: &SessionId) -> Result<SessionInfo> {
        self.ask(harmless("renew the lease", Method::POST, paths::lease(session)))
            .await
    }

    async fn checkpoint(&self, session: &SessionId) -> Result<Option<Checkpoint>> {
        let call = harmless("take a checkpoint", Method::POST, paths::checkpoints(session));
        self.ask_maybe(call.patience(Patience::Endless)).await
    }

    async fn checkpoints(&self, session: &SessionId) -> Result<Vec<Checkpoint>> {
        self.ask(Call::get("list the checkpoints", paths::checkpoints(session)))
            .await
    }

    async fn checkpoint_patch(&self, session: &SessionId, checkpoint: &CheckpointId) -> Result<ByteStream> {
        let target = paths::checkpoint_patch(session, checkpoint);
        files::download(
            self.transport.clone(),
            "read the checkpoint",
            target,
            headers::PATCH,
        )
        .await
    }

    async fn restore(&self, request: RestoreRequest) -> Result<SessionInfo> {
        let target = paths::restore(&request.session);
        let mut body = RestoreBody::from(request);
        let key = body.idempotency_key.take();
        let call = Call::new("restore the session's work", Method::POST, target).patience(Patience::Endless);
        self.ask(keyed(call, key)?.json(&body)?).await
    }

    async fn collect_garbage(&self, dry_run: bool) -> Result<GarbageReport> {
        let call = harmless("collect garbage", Method::POST, paths::GARBAGE).patience(Patience::Endless);
        self.ask(call.json(&GarbageBody { dry_run })?).await
    }

    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditLine>> {
        self.ask(Call::get("read the audit log", paths::audit(query)))
            .await
    }

    async fn verify_audit(&self) -> Result<AuditVerdict> {
        let call = Call::get("verify the audit log", paths::AUDIT_VERIFY);
        self.ask(call.patience(Patience::Endless)).await
    }

    async fn destroy(&self, session: &SessionId) -> Result<()> {
        let call = harmless("destroy the session", Method::DELETE, paths::session(session));
        self.tell(call.patience(Patience::Long)).await
    }
}

impl HttpSessions {
    async fn interrupted(&self, operation: &'static str, target: String) -> Result<bool> {
        let call = Call::new(operation, Method::POST, target).patience(Patience::Long);
        let Interrupted { interrupted } = self.ask(call).await?;
        Ok(interrupted)
    }
}

/// Gives a request its key, the caller's own or a new one: then a connection that breaks never makes two of it.
fn keyed(call: Call, key: Option<String>) -> Result<Call> {
    let (key, repeat) = match key {
        Some(key) => (key, Repeat::Harmless),
        None => (TurnId::new().to_string(), Repeat::HarmlessHere),
    };
    let value = HeaderValue::try_from(key).map_err(|source| {
        Error::new(
            ErrorKind::InvalidArgument,
            call.operation,
            "this is no idempotency key",
        )
        .with_hint("use 1 to 255 visible ASCII characters")
        .with_source(source)
    })?;
    let name = HeaderName::from_static(headers::IDEMPOTENCY_KEY);
    Ok(call.header(name, value).repeat(repeat))
}
