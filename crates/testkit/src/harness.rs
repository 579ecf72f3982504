//! Managers as tests use them: each in a runtime of its own, so that one can be killed as a process would be.
//!
//! [`ManagerProcess::kill`] tears the manager's runtime down wherever its tasks stand: no destructor of ours runs a
//! farewell, locks and links go with the memory that held them, and what was not stored is lost. Another manager on the
//! same state directory then has to go on from the store and the containers alone.

mod gateway;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use session_core::api::{ArchiveStream, ByteStream, EventStream, SessionApi};
use session_core::audit::{AuditLine, AuditQuery, AuditVerdict};
use session_core::budget::Spent;
use session_core::checkpoint::{Checkpoint, RestoreRequest};
use session_core::command::{CommandRequest, RunningCommand};
use session_core::egress::{DecideEgress, EgressDecision, EgressRequest};
use session_core::error::{Error, ErrorKind, Result};
use session_core::event::Event;
use session_core::garbage::GarbageReport;
use session_core::gateway::Gateway;
use session_core::id::{CheckpointId, CommandId, SessionId, TerminalId, TurnId};
use session_core::manager::{AdmissionPolicy, ManagerOptions, SessionManager};
use session_core::mcp::McpStatus;
use session_core::policy::mounts::HostPaths;
use session_core::runtime::ContainerRuntime;
use session_core::session::{
    CopyReport, CreateSession, EventQuery, PromptRequest, SessionDetails, SessionFilter, SessionInfo,
    WorkspaceDiff,
};
use session_core::state_dir::StateDir;
use session_core::terminal::{AttachedTerminal, OpenTerminal, TerminalInfo, TerminalSize};
use session_core::turn::TurnInfo;
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub use self::gateway::{EchoGateway, idle};
use crate::faults::{FaultPlan, Faulty};
use crate::memory::MemoryRuntime;

/// How long the remains of a killed manager may take to go.
const TEAR_DOWN: Duration = Duration::from_secs(10);

/// A manager in a runtime of its own. Its methods run there, whoever calls them.
#[derive(Debug)]
pub struct ManagerProcess {
    runtime: Option<Runtime>,
    manager: Option<SessionManager>,
}

impl ManagerProcess {
    /// Starts a manager on a state directory.
    ///
    /// # Errors
    /// As [`SessionManager::open`].
    pub async fn start(
        state_dir: &Path,
        options: ManagerOptions,
        containers: Arc<dyn ContainerRuntime>,
        gateway: Arc<dyn Gateway>,
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("manager")
            .enable_all()
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::HostIo, "start a manager", "no thread").with_source(error)
            })?;
        let state_dir = StateDir::open(state_dir)?;
        let opening = SessionManager::open(state_dir, options, containers, gateway);
        let opened = runtime.spawn(opening).await.map_err(ended)?;
        let mut process = Self {
            runtime: Some(runtime),
            manager: None,
        };
        process.manager = Some(opened?);
        Ok(process)
    }

    /// Runs something with the manager, in its runtime.
    ///
    /// # Errors
    /// What it fails with, and `Cancelled` when the manager is killed meanwhile.
    pub async fn run<T, F>(&self, work: impl FnOnce(SessionManager) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let (Some(runtime), Some(manager)) = (&self.runtime, &self.manager) else {
            return Err(Error::new(
                ErrorKind::Cancelled,
                "call the manager",
                "it has ended",
            ));
        };
        runtime.spawn(work(manager.clone())).await.map_err(ended)?
    }

    /// Ends it as `kill -9` would, and waits until nothing of it is left.
    pub async fn kill(mut self) {
        self.manager = None;
        if let Some(runtime) = self.runtime.take() {
            let gone = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(TEAR_DOWN));
            let _ = gone.await;
        }
    }

    /// Ends it in order.
    pub async fn shutdown(self) {
        let _ = self
            .run(|manager| async move {
                manager.shutdown().await;
                Ok(())
            })
            .await;
        self.kill().await;
    }
}

impl Drop for ManagerProcess {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn ended(error: tokio::task::JoinError) -> Error {
    let kind = if error.is_panic() {
        ErrorKind::Internal
    } else {
        ErrorKind::Cancelled
    };
    Error::new(kind, "call the manager", "it ended before it answered").with_source(error)
}

#[async_trait]
impl SessionApi for ManagerProcess {
    async fn create(&self, request: CreateSession) -> Result<SessionInfo> {
        self.run(|manager| async move { manager.create(request).await })
            .await
    }

    async fn list(&self, filter: SessionFilter) -> Result<Vec<SessionInfo>> {
        self.run(|manager| async move { manager.list(filter).await })
            .await
    }

    async fn list_version(&self) -> Result<Option<u64>> {
        self.run(|manager| async move { manager.list_version().await })
            .await
    }

    async fn session(&self, session: &SessionId) -> Result<SessionInfo> {
        let session = *session;
        self.run(move |manager| async move { manager.session(&session).await })
            .await
    }

    async fn inspect(&self, session: &SessionId) -> Result<SessionDetails> {
        let session = *session;
        self.run(move |manager| async move { manager.inspect(&session).await })
            .await
    }

    async fn prompt(&self, session: &SessionId, request: PromptRequest) -> Result<TurnInfo> {
        let session = *session;
        self.run(move |manager| async move { manager.prompt(&session, request).await })
            .await
    }

    async fn turn(&self, session: &SessionId, turn: &TurnId) -> Result<TurnInfo> {
        let (session, turn) = (*session, *turn);
        self.run(move |manager| async move { manager.turn(&session, &turn).await })
            .await
    }

    async fn turns(&self, session: &SessionId) -> Result<Vec<TurnInfo>> {
        let session = *session;
        self.run(move |manager| async move { manager.turns(&session).await })
            .await
    }

    async fn interrupt(&self, session: &SessionId) -> Result<bool> {
        let session = *session;
        self.run(move |manager| async move { manager.interrupt(&session).await })
            .await
    }

    async fn interrupt_turn(&self, session: &SessionId, turn: &TurnId) -> Result<bool> {
        let (session, turn) = (*session, *turn);
        self.run(move |manager| async move { manager.interrupt_turn(&session, &turn).await })
            .await
    }

    async fn events(&self, session: &SessionId, after: u64) -> Result<EventStream> {
        let session = *session;
        self.run(move |manager| async move { manager.events(&session, after).await })
            .await
    }

    async fn event_page(&self, session: &SessionId, query: EventQuery) -> Result<Vec<Event>> {
        let session = *session;
        self.run(move |manager| async move { manager.event_page(&session, query).await })
            .await
    }

    async fn command(&self, session: &SessionId, request: CommandRequest) -> Result<RunningCommand> {
        let session = *session;
        self.run(move |manager| async move { manager.command(&session, request).await })
            .await
    }

    async fn attach_command(
        &self,
        session: &SessionId,
        command: &CommandId,
        offset: u64,
    ) -> Result<RunningCommand> {
        let (session, command) = (*session, *command);
        self.run(move |manager| async move { manager.attach_command(&session, &command, offset).await })
            .await
    }

    async fn open_terminal(&self, session: &SessionId, request: OpenTerminal) -> Result<TerminalInfo> {
        let session = *session;
        self.run(move |manager| async move { manager.open_terminal(&session, request).await })
            .await
    }

    async fn terminals(&self, session: &SessionId) -> Result<Vec<TerminalInfo>> {
        let session = *session;
        self.run(move |manager| async move { manager.terminals(&session).await })
            .await
    }

    async fn attach_terminal(
        &self,
        session: &SessionId,
        terminal: &TerminalId,
        size: TerminalSize,
    ) -> Result<AttachedTerminal> {
        let (session, terminal) = (*session, *terminal);
        self.run(move |manager| async move { manager.attach_terminal(&session, &terminal, size).await })
            .await
    }

    async fn close_terminal(&self, session: &SessionId, terminal: &TerminalId) -> Result<()> {
        let (session, terminal) = (*session, *terminal);
        self.run(move |manager| async move { manager.close_terminal(&session, &terminal).await })
            .await
    }

    async fn copy_in(&self, session: &SessionId, dest: &str, archive: ArchiveStream) -> Result<CopyReport> {
        let (session, dest) = (*session, dest.to_owned());
        self.run(move |manager| async move { manager.copy_in(&session, &dest, archive).await })
            .await
    }

    async fn copy_out(&self, session: &SessionId, path: &str) -> Result<ArchiveStream> {
        let (session, path) = (*session, path.to_owned());
        self.run(move |manager| async move { manager.copy_out(&session, &path).await })
            .await
    }

    async fn diff(&self, session: &SessionId) -> Result<WorkspaceDiff> {
        let session = *session;
        self.run(move |manager| async move { manager.diff(&session).await })
            .await
    }

    async fn renew_lease(&self, session: &SessionId) -> Result<SessionInfo> {
        let session = *session;
        self.run(move |manager| async move { manager.renew_lease(&session).await })
            .await
    }

    async fn collect_garbage(&self, dry_run: bool) -> Result<GarbageReport> {
        self.run(move |manager| async move { manager.collect_garbage(dry_run).await })
            .await
    }

    async fn checkpoint(&self, session: &SessionId) -> Result<Option<Checkpoint>> {
        let session = *session;
        self.run(move |manager| async move { manager.checkpoint(&session).await })
            .await
    }

    async fn checkpoints(&self, session: &SessionId) -> Result<Vec<Checkpoint>> {
        let session = *session;
        self.run(move |manager| async move { manager.checkpoints(&session).await })
            .await
    }

    async fn checkpoint_patch(&self, session: &SessionId, checkpoint: &CheckpointId) -> Result<ByteStream> {
        let (session, checkpoint) = (*session, *checkpoint);
        self.run(move |manager| async move { manager.checkpoint_patch(&session, &checkpoint).await })
            .await
    }

    async fn restore(&self, request: RestoreRequest) -> Result<SessionInfo> {
        self.run(move |manager| async move { manager.restore(request).await })
            .await
    }

    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditLine>> {
        self.run(move |manager| async move { manager.audit(query).await })
            .await
    }

    async fn verify_audit(&self) -> Result<AuditVerdict> {
        self.run(|manager| async move { manager.verify_audit().await })
            .await
    }

    async fn egress_requests(&self, session: Option<&SessionId>) -> Result<Vec<EgressRequest>> {
        let session = session.copied();
        self.run(move |manager| async move { manager.egress_requests(session.as_ref()).await })
            .await
    }

    async fn decide_egress(&self, decision: DecideEgress) -> Result<EgressDecision> {
        self.run(move |manager| async move { manager.decide_egress(decision).await })
            .await
    }

    async fn egress_decisions(&self, session: Option<&SessionId>) -> Result<Vec<EgressDecision>> {
        let session = session.copied();
        self.run(move |manager| async move { manager.egress_decisions(session.as_ref()).await })
            .await
    }

    async fn usage(&self, session: Option<&SessionId>) -> Result<Spent> {
        let session = session.copied();
        self.run(move |manager| async move { manager.usage(session.as_ref()).await })
            .await
    }

    async fn mcp_status(&self, session: Option<&SessionId>) -> Result<McpStatus> {
        let session = session.copied();
        self.run(move |manager| async move { manager.mcp_status(session.as_ref()).await })
            .await
    }

    async fn pause(&self, session: &SessionId) -> Result<()> {
        let session = *session;
        self.run(move |manager| async move { manager.pause(&session).await })
            .await
    }

    async fn resume(&self, session: &SessionId) -> Result<()> {
        let session = *session;
        self.run(move |manager| async move { manager.resume(&session).await })
            .await
    }

    async fn destroy(&self, session: &SessionId) -> Result<()> {
        let session = *session;
        self.run(move |manager| async move { manager.destroy(&session).await })
            .await
    }
}

/// A state directory, an in-memory engine with faults, and a gateway: what managers of one test share.
#[derive(Debug)]
pub struct Site {
    /// The engine.
    pub memory: MemoryRuntime,
    /// The same, as managers get it.
    pub faulty: Faulty,
    /// The gateway.
    pub gateway: Arc<EchoGateway>,
    dir: TempDir,
}

impl Site {
    /// A site with the default engine.
    ///
    /// # Errors
    /// When the host has no room for a temporary directory.
    pub fn new() -> Result<Self> {
        Self::with_engine(MemoryRuntime::new())
    }

    /// A site with this engine.
    ///
    /// # Errors
    /// When the host has no room for a temporary directory.
    pub fn with_engine(memory: MemoryRuntime) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("cofferdam-site-")
            .tempdir()
            .map_err(no_room)?;
        let faulty = Faulty::new(Arc::new(memory.clone()), FaultPlan::none());
        Ok(Self {
            memory,
            faulty,
            gateway: Arc::default(),
            dir,
        })
    }

    /// The state directory.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The options of managers, with patience for tests: what hangs is found out soon.
    pub fn options(&self) -> ManagerOptions {
        let host = HostPaths {
            state_dir: self.state_dir(),
            ..HostPaths::default()
        };
        ManagerOptions {
            socket_patience: Duration::from_millis(500),
            // Nothing here takes what a container takes, and the machine has other work.
            admission: AdmissionPolicy {
                memory_reserve: 0,
                session_memory: 0,
                ..AdmissionPolicy::default()
            },
            ..ManagerOptions::new(self.memory.image(), host)
        }
    }

    /// Starts a manager.
    ///
    /// # Errors
    /// As [`SessionManager::open`].
    pub async fn manager(&self) -> Result<ManagerProcess> {
        self.manager_with(self.options()).await
    }

    /// Starts a manager with options of its own.
    ///
    /// # Errors
    /// As [`SessionManager::open`].
    pub async fn manager_with(&self, options: ManagerOptions) -> Result<ManagerProcess> {
        let (engine, gateway) = (Arc::new(self.faulty.clone()), self.gateway.clone());
        ManagerProcess::start(&self.state_dir(), options, engine, gateway).await
    }

    /// A directory that can be a workspace: everybody can write it.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn workspace(&self, name: &str) -> Result<PathBuf> {
        use std::os::unix::fs::PermissionsExt;
        let path = self.dir.path().join(name);
        std::fs::create_dir(&path).map_err(no_room)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).map_err(no_room)?;
        Ok(path)
    }

    /// What is left that no session should have left: containers, storage, directories of sessions, grants.
    pub fn leftovers(&self) -> Vec<String> {
        let containers = self
            .memory
            .names()
            .into_iter()
            .map(|name| format!("container {name}"));
        let sessions = std::fs::read_dir(self.state_dir().join("sessions"))
            .into_iter()
            .flatten()
            .flatten();
        let directories = sessions.map(|entry| format!("directory {}", entry.path().display()));
        let grants = self
            .gateway
            .admitted()
            .into_iter()
            .map(|session| format!("grant of {session}"));
        containers.chain(directories).chain(grants).collect()
    }
}

fn no_room(error: std::io::Error) -> Error {
    Error::new(ErrorKind::HostIo, "make a place for a test", "the host refused").with_source(error)
}
