//! The one lifecycle API: what every front end consumes.
//!
//! [`SessionApi`] is implemented by [`crate::manager::SessionManager`] in this process, and by a client of a
//! manager in another one (`http-client`), so nothing in it assumes shared memory. Front ends know this trait and never a runtime (I1).

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;

use crate::audit::{AuditLine, AuditQuery, AuditVerdict};
use crate::budget::Spent;
use crate::checkpoint::{Checkpoint, RestoreRequest};
use crate::command::{CommandEvent, CommandOutput, CommandRequest, OutputStream, RunningCommand};
use crate::egress::{DecideEgress, EgressDecision, EgressRequest};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, EventKind};
use crate::garbage::GarbageReport;
use crate::id::{CheckpointId, CommandId, SessionId, TerminalId, TurnId};
use crate::mcp::McpStatus;
use crate::session::{
    CopyReport, CreateSession, EventQuery, PromptRequest, SessionDetails, SessionFilter, SessionInfo,
    WorkspaceDiff,
};
use crate::terminal::{AttachedTerminal, OpenTerminal, TerminalInfo, TerminalSize};
use crate::turn::{TurnInfo, TurnOutcome};

/// Events from a number on: first those that are stored, then each as it happens. Never ends by itself, except after
/// the last event of a destroyed or failed session.
pub type EventStream = BoxStream<'static, Result<Event>>;

/// A tar archive as it is read. Ends after the last byte of a complete archive; anything else is an error item.
pub type ArchiveStream = BoxStream<'static, Result<Bytes>>;

/// Bytes as they are read. Ends after the last one; anything else is an error item.
pub type ByteStream = BoxStream<'static, Result<Bytes>>;

/// Everything that can be done with sessions.
///
/// Every method may be called from many tasks at once. What a method acknowledges is durable when it returns. Dropping
/// a returned future may leave the operation running; it never leaves it half done.
#[async_trait]
pub trait SessionApi: Send + Sync {
    /// Makes a session and waits until it is ready.
    ///
    /// # Errors
    /// `WorkspaceMissing`, `WorkspaceRefused`, `WorkspaceNotWritable`, `ImageNotFound`, `EngineUnavailable`,
    /// `EngineFailed`, `LinkLost`: then nothing of it is left on the engine and the session, if it was recorded, says
    /// `Failed`. `IdempotencyMismatch` when the key was used for a different request.
    async fn create(&self, request: CreateSession) -> Result<SessionInfo>;

    /// The sessions, newest first.
    async fn list(&self, filter: SessionFilter) -> Result<Vec<SessionInfo>>;

    /// Another number whenever any list may have changed, whoever changed it; `None` when that cannot be told cheaply.
    /// Asked before a list, it says for how long that list holds: as long as the number is the same. Numbers of two
    /// processes have nothing to do with each other.
    async fn list_version(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// One session as recorded, without asking its container.
    ///
    /// # Errors
    /// `NotFound`.
    async fn session(&self, session: &SessionId) -> Result<SessionInfo>;

    /// One session as recorded, brought in line with what is true on the engine.
    async fn inspect(&self, session: &SessionId) -> Result<SessionDetails>;

    /// Accepts a prompt. Turns of a session run one at a time, in order; the answer comes at once, the turn's course in
    /// [`SessionApi::events`].
    ///
    /// # Errors
    /// `StateConflict` when the session cannot work, `LimitExceeded` when too many turns wait, `InvalidArgument` for an
    /// empty or over-long prompt.
    async fn prompt(&self, session: &SessionId, request: PromptRequest) -> Result<TurnInfo>;

    /// A turn as it is now.
    async fn turn(&self, session: &SessionId, turn: &TurnId) -> Result<TurnInfo>;

    /// The turns of a session, oldest first.
    async fn turns(&self, session: &SessionId) -> Result<Vec<TurnInfo>>;

    /// Interrupts the running turn and takes back those that wait. The session stays usable. Answers whether anything
    /// was running or waiting.
    async fn interrupt(&self, session: &SessionId) -> Result<bool>;

    /// Takes one turn back that waits, or interrupts it if it runs. The other turns stay, and the next one begins. Answers
    /// whether it had not ended before.
    ///
    /// # Errors
    /// `NotFound`; `StateConflict` when the session cannot work.
    async fn interrupt_turn(&self, session: &SessionId, turn: &TurnId) -> Result<bool>;

    /// Events after the number `after` (0 for all), live.
    async fn events(&self, session: &SessionId, after: u64) -> Result<EventStream>;

    /// Stored events, at once.
    async fn event_page(&self, session: &SessionId, query: EventQuery) -> Result<Vec<Event>>;

    /// Runs a command.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty vector, a NUL, or more than the kernel takes. A program that does not exist is not
    /// an error here: it is how the command ended.
    async fn command(&self, session: &SessionId, request: CommandRequest) -> Result<RunningCommand>;

    /// Comes back to a command that was started with [`crate::command::OnDisconnect::Detach`], reading from `offset`.
    async fn attach_command(
        &self,
        session: &SessionId,
        command: &CommandId,
        offset: u64,
    ) -> Result<RunningCommand>;

    /// Opens a terminal and starts its program. It stays when its caller goes.
    ///
    /// # Errors
    /// `StateConflict` when the session cannot work; `Busy` for the agent's own interface while a turn runs or another one
    /// is open; `LimitExceeded` for more than [`crate::terminal::MAX_TERMINALS`]; `InvalidArgument` for a size or vector
    /// that cannot be; `ProgramNotFound` when there is no such program.
    async fn open_terminal(&self, session: &SessionId, request: OpenTerminal) -> Result<TerminalInfo>;

    /// The terminals of a session, oldest first.
    ///
    /// # Errors
    /// `NotFound`.
    async fn terminals(&self, session: &SessionId) -> Result<Vec<TerminalInfo>>;

    /// Looks at a terminal with a screen of `size`, beside others.
    ///
    /// # Errors
    /// `NotFound`; `LimitExceeded` for more than [`crate::terminal::MAX_VIEWERS`].
    async fn attach_terminal(
        &self,
        session: &SessionId,
        terminal: &TerminalId,
        size: TerminalSize,
    ) -> Result<AttachedTerminal>;

    /// Ends a terminal with everything that runs in it. One that has ended already succeeds.
    ///
    /// # Errors
    /// `NotFound` for a session that is not there.
    async fn close_terminal(&self, session: &SessionId, terminal: &TerminalId) -> Result<()>;

    /// Unpacks a tar archive at `dest` inside (absolute, or relative to the workspace), as the session's user.
    async fn copy_in(&self, session: &SessionId, dest: &str, archive: ArchiveStream) -> Result<CopyReport>;

    /// Packs `path` inside (absolute, or relative to the workspace). The archive is the session's own work: hostile.
    /// Use [`crate::transfer`] to unpack it.
    async fn copy_out(&self, session: &SessionId, path: &str) -> Result<ArchiveStream>;

    /// What changed in the workspace since it was filled with a copy or clone; since the first turn or diff in any other.
    async fn diff(&self, session: &SessionId) -> Result<WorkspaceDiff>;

    /// The hosts that sessions without a network were denied and about which nobody has decided yet, of one session or of
    /// all; the one that was denied last comes first. Only the newest are kept
    /// ([`crate::store::MAX_WAITING_HOSTS`] per session), and none of a session that has ended.
    ///
    /// # Errors
    /// `NotFound`.
    async fn egress_requests(&self, session: Option<&SessionId>) -> Result<Vec<EgressRequest>>;

    /// Decides whether hosts may be reached, by one session or by all. It holds from the next connection on; the requests
    /// that it answers wait no longer. Deciding the same again changes nothing, deciding the opposite replaces it.
    ///
    /// # Errors
    /// `NotFound`; `StateConflict` when the session has ended; `InvalidArgument` when it has a network of its own;
    /// `LimitExceeded` when there are too many decisions.
    async fn decide_egress(&self, decision: DecideEgress) -> Result<EgressDecision>;

    /// The decisions that hold for a session, those for all among them; every decision when `None`. Newest first.
    ///
    /// # Errors
    /// `NotFound`.
    async fn egress_decisions(&self, session: Option<&SessionId>) -> Result<Vec<EgressDecision>>;

    /// What was used of the model: by the session, or by all that ever were when `None`; and by all today.
    ///
    /// # Errors
    /// `NotFound`.
    async fn usage(&self, session: Option<&SessionId>) -> Result<Spent>;

    /// The MCP servers of a session, or all that the operator declared when `None`; without starting any. What a session
    /// has is exact in the process that serves it; in another one it is what the stored events tell.
    ///
    /// # Errors
    /// `NotFound`.
    async fn mcp_status(&self, session: Option<&SessionId>) -> Result<McpStatus>;

    /// Freezes the session's processes.
    async fn pause(&self, session: &SessionId) -> Result<()>;

    /// Lets them go on. Brings an `Interrupted` session back: with its workspace and its conversation; what was under way
    /// when it was interrupted is not run again; turns that waited go on where its policy is [`OnInterrupt::Resume`], and have
    /// failed otherwise.
    ///
    /// [`OnInterrupt::Resume`]: crate::lifetime::OnInterrupt::Resume
    async fn resume(&self, session: &SessionId) -> Result<()>;

    /// Renews the session's lease, from now on for as long as it was given. Without a lease it changes nothing.
    ///
    /// # Errors
    /// `NotFound`; `StateConflict` when the session has ended.
    async fn renew_lease(&self, session: &SessionId) -> Result<SessionInfo>;

    /// Keeps the session's uncommitted work now. `None` when nothing differs from how the workspace began.
    ///
    /// # Errors
    /// `StateConflict` when the session cannot be asked.
    async fn checkpoint(&self, session: &SessionId) -> Result<Option<Checkpoint>>;

    /// The checkpoints of a session, newest first, also of one that has ended.
    ///
    /// # Errors
    /// `NotFound`.
    async fn checkpoints(&self, session: &SessionId) -> Result<Vec<Checkpoint>>;

    /// The patch of a checkpoint, whole: what a session made, so hostile.
    ///
    /// # Errors
    /// `NotFound`; `StoreFailed` when its content is not what was kept.
    async fn checkpoint_patch(&self, session: &SessionId, checkpoint: &CheckpointId) -> Result<ByteStream>;

    /// Brings a checkpoint's work back: into the session itself when it lives and its workspace is as it began, otherwise
    /// into a new session made as that one was, whose id the answer has.
    ///
    /// # Errors
    /// `NotFound` without a checkpoint; `StateConflict` when the workspace has changes that are not in the checkpoint;
    /// as [`SessionApi::create`].
    async fn restore(&self, request: RestoreRequest) -> Result<SessionInfo>;

    /// Removes what no session wants, or says what would be removed.
    ///
    /// # Errors
    /// When the engine cannot be listed or the records cannot be read.
    async fn collect_garbage(&self, dry_run: bool) -> Result<GarbageReport>;

    /// Lines of the audit log, in ascending order.
    ///
    /// # Errors
    /// As of every method.
    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditLine>>;

    /// Reads the whole audit log and says whether it is as it was written. Takes as long as the log is long.
    ///
    /// # Errors
    /// As of every method.
    async fn verify_audit(&self) -> Result<AuditVerdict>;

    /// Ends and removes the session. Its history stays readable. Destroying a destroyed session succeeds.
    async fn destroy(&self, session: &SessionId) -> Result<()>;
}

/// Sugar over [`SessionApi`] that needs nothing but it.
#[async_trait]
pub trait SessionApiExt: SessionApi {
    /// Waits until the turn has ended.
    async fn wait_turn(&self, turn: &TurnInfo) -> Result<TurnOutcome> {
        let mut events = self
            .events(&turn.session, turn.first_event.saturating_sub(1))
            .await?;
        while let Some(event) = events.next().await {
            let event = event?;
            if event.turn == Some(turn.id)
                && let EventKind::TurnFinished { outcome } = event.kind
            {
                return Ok(outcome);
            }
        }
        Err(Error::new(
            ErrorKind::StateConflict,
            "wait for the turn",
            "the session ended before the turn did",
        )
        .with_context("session", turn.session))
    }

    /// Prompts and waits for the outcome.
    async fn prompt_and_wait(&self, session: &SessionId, request: PromptRequest) -> Result<TurnOutcome> {
        let turn = self.prompt(session, request).await?;
        self.wait_turn(&turn).await
    }

    /// Runs a command to its end and keeps at most `limit` bytes of each stream.
    async fn command_output(
        &self,
        session: &SessionId,
        request: CommandRequest,
        limit: usize,
    ) -> Result<CommandOutput> {
        let mut running = self.command(session, request).await?;
        let (mut stdout, mut stderr, mut truncated) = (Vec::new(), Vec::new(), false);
        while let Some(event) = running.events.next().await {
            match event? {
                CommandEvent::Output { stream, bytes, .. } => {
                    let kept = if stream == OutputStream::Stdout {
                        &mut stdout
                    } else {
                        &mut stderr
                    };
                    let room = limit.saturating_sub(kept.len()).min(bytes.len());
                    kept.extend_from_slice(&bytes[..room]);
                    truncated |= room < bytes.len();
                }
                CommandEvent::Gap { .. } => truncated = true,
                CommandEvent::Exited(exit) => {
                    return Ok(CommandOutput {
                        stdout,
                        stderr,
                        truncated,
                        exit,
                    });
                }
            }
        }
        Err(Error::new(
            ErrorKind::LinkLost,
            "run a command",
            "the connection ended before the command did",
        )
        .with_context("session", session))
    }
}

impl<T: SessionApi + ?Sized> SessionApiExt for T {}
