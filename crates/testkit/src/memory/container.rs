//! One container: its life, its tasks and what they share.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use session_core::id::{ContainerId, ContainerName, SessionId};
use session_core::runtime::{
    ContainerEvent, ContainerEventKind, ContainerSpec, ContainerState, ContainerStatus,
};
use session_link::{Health, Hello, PROTOCOL_VERSION, SpawnSpec};
use tokio::runtime::Handle;
use tokio::sync::{broadcast, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::files::{Files, absolute};
use super::freezer::Freezer;
use super::init::Doors;
use super::process::Table;
use super::program::Program;
use super::programs::{Programs, Refusal};

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Paused,
    Exited {
        code: Option<i64>,
        out_of_memory: bool,
        at: jiff::Timestamp,
    },
}

/// A fact, with the owner whose label the container bears.
pub(super) type Fact = (String, ContainerEvent);

/// See the module.
#[derive(Debug)]
pub(super) struct Container {
    id: ContainerId,
    name: ContainerName,
    spec: ContainerSpec,
    owner: String,
    boot_id: String,
    began: Instant,
    started_at: jiff::Timestamp,
    files: Files,
    programs: Arc<Programs>,
    processes: Table,
    doors: Doors,
    phase: Mutex<Phase>,
    freezer: Freezer,
    tasks: Mutex<JoinSet<()>>,
    links: Mutex<Vec<(u64, AbortHandle)>>,
    next_link: AtomicU64,
    oom_kills: AtomicU64,
    /// Whether the host's sockets are dialled.
    dials: watch::Sender<bool>,
    said: Mutex<String>,
    facts: broadcast::Sender<Fact>,
    handle: Handle,
}

/// What a container is made of, besides its specification.
pub(super) struct Parts {
    pub(super) owner: String,
    pub(super) files: Files,
    pub(super) programs: Arc<Programs>,
    pub(super) facts: broadcast::Sender<Fact>,
    pub(super) handle: Handle,
    pub(super) dials: bool,
    pub(super) id: ContainerId,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that is done under these locks leaves them half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Container {
    /// A container that runs, with its init.
    pub(super) fn start(spec: ContainerSpec, parts: Parts) -> Arc<Self> {
        let container = Arc::new(Self {
            id: parts.id,
            name: spec.name.clone(),
            owner: parts.owner,
            boot_id: SessionId::new().to_string(),
            began: Instant::now(),
            started_at: jiff::Timestamp::now(),
            files: parts.files,
            programs: parts.programs,
            processes: Table::default(),
            doors: Doors::default(),
            phase: Mutex::new(Phase::Running),
            freezer: Freezer::new(),
            tasks: Mutex::new(JoinSet::new()),
            links: Mutex::default(),
            next_link: AtomicU64::new(1),
            oom_kills: AtomicU64::new(0),
            dials: watch::Sender::new(parts.dials),
            said: Mutex::new("session-init (in memory): ready\n".to_owned()),
            facts: parts.facts,
            handle: parts.handle,
            spec,
        });
        if let Some(dir) = container.spec.link_dir.clone() {
            container.spawn(super::init::dial(container.clone(), dir));
        }
        container.report(ContainerEventKind::Started);
        container
    }

    pub(super) fn id(&self) -> &ContainerId {
        &self.id
    }

    pub(super) fn session(&self) -> SessionId {
        self.spec.session
    }

    pub(super) fn spec(&self) -> &ContainerSpec {
        &self.spec
    }

    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    pub(super) fn processes(&self) -> &Table {
        &self.processes
    }

    pub(super) fn doors(&self) -> &Doors {
        &self.doors
    }

    /// The last bytes of what PID 1 wrote.
    pub(super) fn diagnostics(&self, limit: usize) -> String {
        let said = lock(&self.said);
        let from = said.ceil_char_boundary(said.len().saturating_sub(limit));
        said[from..].to_owned()
    }

    pub(super) fn find_program(&self, spec: &SpawnSpec) -> Result<Program, Refusal> {
        let cwd = spec.cwd.as_deref().unwrap_or("/");
        if absolute("/", cwd).starts_with("/proc") || !self.files.host_path("/", cwd).is_dir() {
            return Err(Refusal::BadWorkingDirectory);
        }
        self.programs.find(&self.files, cwd, spec)
    }

    /// Runs a task of the container: frozen with it, ended with it.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.tasks);
        if matches!(*lock(&self.phase), Phase::Exited { .. }) {
            return;
        }
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(self.freezer.wrap(task), &self.handle);
    }

    /// Runs a link over `io` until either end closes it.
    pub(super) fn link(
        self: &Arc<Self>,
        io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    ) -> tokio::sync::oneshot::Receiver<()> {
        let id = self.next_link.fetch_add(1, Ordering::Relaxed);
        let (ended, end) = tokio::sync::oneshot::channel();
        let serving = super::init::serve(self.clone(), id, io);
        let task = self.freezer.wrap(async move {
            serving.await;
            drop(ended);
        });
        let mut tasks = lock(&self.tasks);
        if !matches!(*lock(&self.phase), Phase::Exited { .. }) {
            let abort = tasks.spawn_on(task, &self.handle);
            lock(&self.links).push((id, abort));
        }
        end
    }

    pub(super) fn link_closed(&self, id: u64) {
        lock(&self.links).retain(|(known, _)| *known != id);
        self.doors.link_closed(id);
        self.processes.link_closed(id);
    }

    /// Breaks every link off, without a goodbye.
    pub(super) fn cut_links(&self) {
        let links = std::mem::take(&mut *lock(&self.links));
        for (_, link) in links {
            link.abort();
        }
    }

    pub(super) fn set_dials(&self, dials: bool) {
        self.dials.send_replace(dials);
    }

    pub(super) fn dials(&self) -> watch::Receiver<bool> {
        self.dials.subscribe()
    }

    pub(super) fn freezer(&self) -> &Freezer {
        &self.freezer
    }

    pub(super) fn hello(&self) -> Hello {
        Hello {
            protocol: PROTOCOL_VERSION,
            init_version: "in-memory".to_owned(),
            boot_id: self.boot_id.clone(),
            session: self.spec.session.to_string(),
        }
    }

    pub(super) fn health(&self) -> Health {
        let running = self.processes.living().len();
        Health {
            uptime: self.began.elapsed().max(Duration::from_micros(1)),
            memory: Some(4 << 20),
            memory_limit: Some(self.spec.limits.memory_bytes),
            cpu_micros: Some(1000),
            pids: Some(running as u64 + 1),
            pids_limit: Some(self.spec.limits.pids.into()),
            oom_kills: Some(self.oom_kills()),
            processes: u32::try_from(running).unwrap_or(u32::MAX),
        }
    }

    pub(super) fn oom_kills(&self) -> u64 {
        self.oom_kills.load(Ordering::Relaxed)
    }

    /// The kernel kills one process for lack of memory.
    pub(super) fn count_oom_kill(&self) {
        self.oom_kills.fetch_add(1, Ordering::Relaxed);
        self.report(ContainerEventKind::OutOfMemory);
    }

    pub(super) fn status(&self) -> ContainerStatus {
        let (state, exit_code, out_of_memory, ended_at) = match *lock(&self.phase) {
            Phase::Running => (ContainerState::Running, None, false, None),
            Phase::Paused => (ContainerState::Paused, None, false, None),
            Phase::Exited {
                code,
                out_of_memory,
                at,
            } => (ContainerState::Exited, code, out_of_memory, Some(at)),
        };
        ContainerStatus {
            id: Some(self.id.clone()),
            started_at: Some(self.started_at),
            ended_at,
            state,
            exit_code,
            out_of_memory,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        *lock(&self.phase) == Phase::Running
    }

    /// Freezes or thaws; `false` when it has ended.
    pub(super) fn set_paused(&self, paused: bool) -> bool {
        let changed = {
            let mut phase = lock(&self.phase);
            let wanted = if paused { Phase::Paused } else { Phase::Running };
            match *phase {
                Phase::Exited { .. } => return false,
                now => {
                    *phase = wanted;
                    now != wanted
                }
            }
        };
        self.freezer.set(paused);
        if changed {
            self.report(if paused {
                ContainerEventKind::Paused
            } else {
                ContainerEventKind::Resumed
            });
        }
        true
    }

    /// PID 1 ends and everything with it.
    pub(super) fn end(&self, code: Option<i64>, out_of_memory: bool) {
        let mut tasks = lock(&self.tasks);
        {
            let mut phase = lock(&self.phase);
            if matches!(*phase, Phase::Exited { .. }) {
                return;
            }
            *phase = Phase::Exited {
                code,
                out_of_memory,
                at: jiff::Timestamp::now(),
            };
        }
        tasks.abort_all();
        drop(tasks);
        if out_of_memory {
            self.report(ContainerEventKind::OutOfMemory);
        }
        self.report(ContainerEventKind::Exited { code });
    }

    pub(super) fn report(&self, kind: ContainerEventKind) {
        // Nobody may be watching.
        let _ = self.facts.send((
            self.owner.clone(),
            ContainerEvent {
                name: self.name.clone(),
                kind,
            },
        ));
    }

    /// The host's directory behind `path` inside.
    pub(super) fn host_path(&self, path: &str) -> PathBuf {
        self.files.host_path(ContainerSpec::WORKSPACE_DIR, path)
    }

    /// The host's directory with its storage.
    pub(super) fn root(&self) -> &Path {
        self.files.root()
    }
}
