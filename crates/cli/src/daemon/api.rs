//! The lifecycle API of the daemon, wherever it is in its life: where nobody answers, one is started and asked again.
//!
//! Only what never arrived is asked again, or what is harmless to ask twice, so nothing is done twice. A stream of events outlives its daemon: the client
//! library goes on where it stopped, and this sees to it that there is somebody to go on with, because a turn whose daemon
//! was killed goes on when the next one comes.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use http_client::HttpSessions;
use session_core::api::{ArchiveStream, ByteStream, EventStream, SessionApi};
use session_core::audit::{AuditLine, AuditQuery, AuditVerdict};
use session_core::budget::Spent;
use session_core::checkpoint::{Checkpoint, RestoreRequest};
use session_core::command::{CommandRequest, RunningCommand};
use session_core::egress::{DecideEgress, EgressDecision, EgressRequest};
use session_core::error::{ErrorKind, Result};
use session_core::event::Event;
use session_core::garbage::GarbageReport;
use session_core::id::{CheckpointId, CommandId, ImageRef, SessionId, TerminalId, TurnId};
use session_core::mcp::McpStatus;
use session_core::runtime::ResourceLimits;
use session_core::session::{
    CopyReport, CreateSession, EventQuery, PromptRequest, SessionDetails, SessionFilter, SessionInfo,
    WorkspaceDiff,
};
use session_core::state_dir::StateDir;
use session_core::terminal::{AttachedTerminal, OpenTerminal, TerminalInfo, TerminalSize};
use session_core::turn::TurnInfo;

use super::place::{self, Presence};
use super::start;
use crate::settings::Settings;

/// How often somebody who waits for events looks whether the daemon is there.
const LOOK: Duration = Duration::from_secs(1);

/// How long a process that was killed may take to let go of its socket.
const DYING: Duration = Duration::from_millis(50);

/// What new sessions are that name nothing, because this process was told so and the daemon perhaps otherwise.
#[derive(Debug, Clone, Default)]
pub struct Defaults {
    image: Option<ImageRef>,
    model: Option<String>,
    small_model: Option<String>,
    limits: Option<ResourceLimits>,
}

impl Defaults {
    /// What the settings say; what they leave out is the daemon's to say.
    pub fn of(settings: &Settings) -> Self {
        Self {
            image: settings.image.clone(),
            model: settings.model.clone(),
            small_model: settings.small_model.clone(),
            limits: settings.limits,
        }
    }

    fn fill(&self, request: &mut CreateSession) {
        let Self {
            image,
            model,
            small_model,
            limits,
        } = self;
        request.image = request.image.take().or_else(|| image.clone());
        request.model = request.model.take().or_else(|| model.clone());
        request.small_model = request.small_model.take().or_else(|| small_model.clone());
        request.limits = request.limits.or(*limits);
    }
}

/// How the daemon is started when it is absent. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Starter {
    /// The state directory.
    pub state: StateDir,
    /// Where it is found.
    pub socket: PathBuf,
    /// `--api-key-env`.
    pub api_key_env: Option<String>,
}

impl Starter {
    /// Starts one unless one answers.
    ///
    /// # Errors
    /// As [`start::start`].
    pub async fn ensure(&self) -> Result<Option<u32>> {
        match place::presence(&self.socket)? {
            Presence::Answers => Ok(None),
            Presence::Nobody => self.start().await,
        }
    }

    async fn start(&self) -> Result<Option<u32>> {
        // Whatever stands there now, somebody may have put it there since we looked.
        place::socket(&self.state)?;
        start::start(&self.state, &self.socket, self.api_key_env.as_deref()).await
    }
}

/// See the module.
pub struct DaemonApi {
    /// The way to it.
    pub sessions: HttpSessions,
    /// How it is started.
    pub starter: Starter,
    /// What this process says of new sessions.
    pub defaults: Defaults,
}

impl std::fmt::Debug for DaemonApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DaemonApi")
            .field("starter", &self.starter)
            .finish_non_exhaustive()
    }
}

impl DaemonApi {
    /// Asks, and once more after a daemon was started when nobody was there to hear it.
    async fn ask<T, F>(&self, question: impl Fn() -> F + Send) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        match question().await {
            Err(error) if http_client::is_not_reached(&error) => {}
            // The client library says so only of what can be asked twice.
            Err(error) if error.kind() == ErrorKind::LinkLost && error.is_retryable() => {
                tokio::time::sleep(DYING).await;
                if place::presence(&self.starter.socket)? == Presence::Answers {
                    return Err(error);
                }
            }
            answer => return answer,
        }
        self.starter.start().await?;
        question().await
    }
}

/// Goes on with the events while it sees to it that somebody tells them.
fn attended(events: EventStream, starter: Starter) -> EventStream {
    stream::unfold((events, starter), |(mut events, starter)| async move {
        let event = {
            let attending = attend(&starter);
            tokio::pin!(attending);
            // What the stream has read it hands on by the same poll; a look that is dropped is made again.
            tokio::select! {
                biased;
                event = events.next() => event,
                never = &mut attending => match never {},
            }
        };
        Some((event?, (events, starter)))
    })
    .boxed()
}

/// There is no value of it.
enum Never {}

async fn attend(starter: &Starter) -> Never {
    loop {
        tokio::time::sleep(LOOK).await;
        // The stream tells what is wrong when it gives up.
        if let Err(error) = starter.ensure().await {
            tracing::debug!(%error, "the daemon that told events is gone and cannot be started");
        }
    }
}

#[async_trait]
impl SessionApi for DaemonApi {
    async fn create(&self, mut request: CreateSession) -> Result<SessionInfo> {
        self.defaults.fill(&mut request);
        self.ask(|| self.sessions.create(request.clone())).await
    }

    async fn list(&self, filter: SessionFilter) -> Result<Vec<SessionInfo>> {
        self.ask(|| self.sessions.list(filter.clone())).await
    }

    async fn session(&self, session: &SessionId) -> Result<SessionInfo> {
        self.ask(|| self.sessions.session(session)).await
    }

    async fn inspect(&self, session: &SessionId) -> Result<SessionDetails> {
        self.ask(|| self.sessions.inspect(session)).await
    }

    async fn prompt(&self, session: &SessionId, request: PromptRequest) -> Result<TurnInfo> {
        self.ask(|| self.sessions.prompt(session, request.clone())).await
    }

    async fn turn(&self, session: &SessionId, turn: &TurnId) -> Result<TurnInfo> {
        self.ask(|| self.sessions.turn(session, turn)).await
    }

    async fn turns(&self, session: &SessionId) -> Result<Vec<TurnInfo>> {
        self.ask(|| self.sessions.turns(session)).await
    }

    async fn interrupt(&self, session: &SessionId) -> Result<bool> {
        self.ask(|| self.sessions.interrupt(session)).await
    }

    async fn interrupt_turn(&self, session: &SessionId, turn: &TurnId) -> Result<bool> {
        self.ask(|| self.sessions.interrupt_turn(session, turn)).await
    }

    async fn events(&self, session: &SessionId, after: u64) -> Result<EventStream> {
        let events = self.ask(|| self.sessions.events(session, after)).await?;
        Ok(attended(events, self.starter.clone()))
    }

    async fn event_page(&self, session: &SessionId, query: EventQuery) -> Result<Vec<Event>> {
        self.ask(|| self.sessions.event_page(session, query)).await
    }

    async fn command(&self, session: &SessionId, request: CommandRequest) -> Result<RunningCommand> {
        self.ask(|| self.sessions.command(session, request.clone())).await
    }

    async fn attach_command(
        &self,
        session: &SessionId,
        command: &CommandId,
        offset: u64,
    ) -> Result<RunningCommand> {
        self.ask(|| self.sessions.attach_command(session, command, offset))
            .await
    }

    async fn open_terminal(&self, session: &SessionId, request: OpenTerminal) -> Result<TerminalInfo> {
        self.ask(|| self.sessions.open_terminal(session, request.clone()))
            .await
    }

    async fn terminals(&self, session: &SessionId) -> Result<Vec<TerminalInfo>> {
        self.ask(|| self.sessions.terminals(session)).await
    }

    async fn attach_terminal(
        &self,
        session: &SessionId,
        terminal: &TerminalId,
        size: TerminalSize,
    ) -> Result<AttachedTerminal> {
        self.ask(|| self.sessions.attach_terminal(session, terminal, size))
            .await
    }

    async fn close_terminal(&self, session: &SessionId, terminal: &TerminalId) -> Result<()> {
        self.ask(|| self.sessions.close_terminal(session, terminal)).await
    }

    async fn copy_in(&self, session: &SessionId, dest: &str, archive: ArchiveStream) -> Result<CopyReport> {
        // An archive can be read once, so somebody must be there before it is.
        self.starter.ensure().await?;
        self.sessions.copy_in(session, dest, archive).await
    }

    async fn copy_out(&self, session: &SessionId, path: &str) -> Result<ArchiveStream> {
        self.ask(|| self.sessions.copy_out(session, path)).await
    }

    async fn diff(&self, session: &SessionId) -> Result<WorkspaceDiff> {
        self.ask(|| self.sessions.diff(session)).await
    }

    async fn egress_requests(&self, session: Option<&SessionId>) -> Result<Vec<EgressRequest>> {
        self.ask(|| self.sessions.egress_requests(session)).await
    }

    async fn decide_egress(&self, decision: DecideEgress) -> Result<EgressDecision> {
        self.ask(|| self.sessions.decide_egress(decision.clone())).await
    }

    async fn egress_decisions(&self, session: Option<&SessionId>) -> Result<Vec<EgressDecision>> {
        self.ask(|| self.sessions.egress_decisions(session)).await
    }

    async fn usage(&self, session: Option<&SessionId>) -> Result<Spent> {
        self.ask(|| self.sessions.usage(session)).await
    }

    async fn mcp_status(&self, session: Option<&SessionId>) -> Result<McpStatus> {
        self.ask(|| self.sessions.mcp_status(session)).await
    }

    async fn pause(&self, session: &SessionId) -> Result<()> {
        self.ask(|| self.sessions.pause(session)).await
    }

    async fn resume(&self, session: &SessionId) -> Result<()> {
        self.ask(|| self.sessions.resume(session)).await
    }

    async fn renew_lease(&self, session: &SessionId) -> Result<SessionInfo> {
        self.ask(|| self.sessions.renew_lease(session)).await
    }

    async fn checkpoint(&self, session: &SessionId) -> Result<Option<Checkpoint>> {
        self.ask(|| self.sessions.checkpoint(session)).await
    }

    async fn checkpoints(&self, session: &SessionId) -> Result<Vec<Checkpoint>> {
        self.ask(|| self.sessions.checkpoints(session)).await
    }

    async fn checkpoint_patch(&self, session: &SessionId, checkpoint: &CheckpointId) -> Result<ByteStream> {
        self.ask(|| self.sessions.checkpoint_patch(session, checkpoint))
            .await
    }

    async fn restore(&self, request: RestoreRequest) -> Result<SessionInfo> {
        self.ask(|| self.sessions.restore(request.clone())).await
    }

    async fn collect_garbage(&self, dry_run: bool) -> Result<GarbageReport> {
        self.ask(|| self.sessions.collect_garbage(dry_run)).await
    }

    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditLine>> {
        self.ask(|| self.sessions.audit(query)).await
    }

    async fn verify_audit(&self) -> Result<AuditVerdict> {
        self.ask(|| self.sessions.verify_audit()).await
    }

    async fn destroy(&self, session: &SessionId) -> Result<()> {
        self.ask(|| self.sessions.destroy(session)).await
    }
}
