//! The manager: every session of one state directory, in this process.
//!
//! It holds no truth of its own. Records are in the store, containers on the engine, and a task per session that is in
//! use ([`crate::driver`]) ties them together. Several managers may work on one state directory at once; what must be
//! one at a time (owning an agent, making a session) is guarded by locks that die with their process.

mod admission;
mod adopt;
mod api;
mod checkpoints;
mod commands;
mod create;
mod diff;
mod files;
mod garbage;
mod kept_time;
mod keyed;
mod lifetimes;
mod mcp;
mod programs;
mod reconcile;
mod sameness;
mod terminals;

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::admission::AdmissionPolicy;
pub(crate) use self::admission::Door;
pub use self::adopt::Adopted;
use crate::activity::WatchdogPolicy;
use crate::agent::{AgentDriver, ClaudeCode};
use crate::audit::AuditLog;
use crate::checkpoint::CheckpointPolicy;
use crate::driver::{DriverHandle, Foundation};
use crate::egress::Presets;
use crate::error::{Error, ErrorKind, Result};
use crate::gateway::{Gateway, ProviderAccount};
use crate::id::{ContainerName, ImageRef, SessionId};
use crate::label::Signer;
use crate::lifetime::{Lifetime, RecoveryPolicy};
use crate::policy;
use crate::policy::mounts::HostPaths;
use crate::runtime::{ContainerRuntime, Guarded, ResourceLimits, RuntimeHealth, TimeLimits};
use crate::state_dir::StateDir;
use crate::store::{SessionRecord, Store};

/// How long a manager that stops waits for what it has begun, and again for its sessions.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);
/// How long it waits for the programs of its gateway, some of which have containers of their own to be removed.
const PROGRAMS_GRACE: Duration = Duration::from_secs(10);

/// What a manager is told when it opens.
#[derive(Debug, Clone)]
pub struct ManagerOptions {
    /// The image of sessions that name none.
    pub default_image: ImageRef,
    /// Limits of sessions that name none.
    pub default_limits: ResourceLimits,
    /// Idle time and age at which sessions end that name none; each holds where the session says nothing of it. MCP servers'
    /// containers end with their connections instead.
    pub default_lifetime: Lifetime,
    /// The model of sessions that name none.
    pub default_model: Option<String>,
    /// The model for small tasks of sessions that name none.
    pub default_small_model: Option<String>,
    /// Whether a session may have a network of its own when its caller asks for it.
    pub allow_open: bool,
    /// What is particular to this host.
    pub host: HostPaths,
    /// Time limits of the engine's calls.
    pub time_limits: TimeLimits,
    /// How long a container may take to dial the link's socket before the bridge is tried.
    pub socket_patience: Duration,
    /// How long an interrupted agent may take before it is ended; the next prompt starts it again.
    pub interrupt_grace: Duration,
    /// Certificates in PEM form that sessions shall trust beside their image's own: those of a network that looks into
    /// TLS. They become a file inside, named to programs by their environment.
    pub certificates: Option<Bytes>,
    /// What presets stand for here. Without it, sessions can be allowed hosts by rules only.
    pub presets: Option<Arc<dyn Presets>>,
    /// When a turn is said to hang, and what is done about it.
    pub watchdog: WatchdogPolicy,
    /// When the work of sessions is kept.
    pub checkpoints: CheckpointPolicy,
    /// Images that were derived for sessions and that no session used for so long are removed. Never anybody's own.
    pub keep_images: Duration,
    /// How often and how soon a session is brought back whose policy is that.
    pub recovery: RecoveryPolicy,
    /// How many sessions this host is asked to hold.
    pub admission: AdmissionPolicy,
    /// Watch the engine and remove orphans for as long as the manager lives; for servers, not for short commands.
    pub supervise: bool,
}

impl ManagerOptions {
    /// Defaults for a host.
    pub fn new(default_image: ImageRef, host: HostPaths) -> Self {
        Self {
            default_image,
            default_limits: ResourceLimits::default(),
            default_lifetime: Lifetime::default(),
            default_model: None,
            default_small_model: None,
            allow_open: true,
            host,
            time_limits: TimeLimits::default(),
            socket_patience: Duration::from_secs(3),
            interrupt_grace: Duration::from_secs(10),
            certificates: None,
            presets: None,
            watchdog: WatchdogPolicy::default(),
            checkpoints: CheckpointPolicy::default(),
            keep_images: Duration::from_secs(14 * 24 * 60 * 60),
            recovery: RecoveryPolicy::default(),
            admission: AdmissionPolicy::default(),
            supervise: false,
        }
    }
}

/// Owns the sessions of one state directory; see [`crate::api::SessionApi`] for what can be done with them.
///
/// Cheap to clone. [`SessionManager::shutdown`] lets go of every session without ending any: they go on where they run,
/// and the next manager finds them.
#[derive(Clone)]
pub struct SessionManager {
    inner: Arc<Inner>,
}

struct Inner {
    options: ManagerOptions,
    foundation: Foundation,
    audit: AuditLog,
    drivers: Mutex<HashMap<SessionId, DriverHandle>>,
    /// Accounts of single sessions, in memory only.
    accounts: Mutex<HashMap<SessionId, ProviderAccount>>,
    /// The sessions' own tasks, and the supervision.
    tasks: TaskTracker,
    /// Programs that run for the gateway, and those that are being started or ended.
    programs: TaskTracker,
    programs_stop: CancellationToken,
    /// Places for sidecars.
    sidecars: Arc<Semaphore>,
    /// Small things that were begun and that nobody waits for: notes in the log, processes to forget.
    errands: TaskTracker,
    terminals: terminals::Terminals,
    /// One run of the reconciler at a time: what it says is what it does.
    sweeping: tokio::sync::Mutex<()>,
    /// How many sessions this process will end by itself.
    timed: AtomicUsize,
    shutdown: CancellationToken,
}

impl std::fmt::Debug for SessionManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionManager")
            .field("state_dir", &self.inner.foundation.state_dir.path())
            .finish()
    }
}

impl SessionManager {
    /// Opens a state directory. Needs no engine that answers: what needs one says so when it is asked for.
    ///
    /// # Errors
    /// `StateDirRefused`, `StoreFailed`; `InvalidArgument` for certificates that cannot be put into sessions.
    pub async fn open(
        state_dir: StateDir,
        options: ManagerOptions,
        runtime: Arc<dyn ContainerRuntime>,
        gateway: Arc<dyn Gateway>,
    ) -> Result<Self> {
        Self::open_with_agent(state_dir, options, runtime, gateway, Arc::new(ClaudeCode)).await
    }

    /// [`SessionManager::open`] with another agent than Claude Code.
    pub async fn open_with_agent(
        state_dir: StateDir,
        options: ManagerOptions,
        runtime: Arc<dyn ContainerRuntime>,
        gateway: Arc<dyn Gateway>,
        agent: Arc<dyn AgentDriver>,
    ) -> Result<Self> {
        let signer = Signer::new(state_dir.signing_key()?);
        let store = Store::open(&state_dir).await?;
        let here = runtime.capability().host_mounts;
        let foundation = Foundation {
            state_dir: Arc::new(state_dir),
            store,
            runtime: Arc::new(Guarded::new(runtime, options.time_limits)),
            gateway,
            agent,
            signer,
            host: options.host.clone(),
            sight: Arc::default(),
            recovery: options.recovery,
            door: Arc::new(Door::new(options.admission, here)),
            socket_patience: options.socket_patience,
            interrupt_grace: options.interrupt_grace,
            certificates: options
                .certificates
                .as_deref()
                .map(policy::certificates::judge)
                .transpose()?,
            watchdog: options.watchdog,
            checkpoints: options.checkpoints,
            work: TaskTracker::new(),
        };
        let shutdown = CancellationToken::new();
        let manager = Self {
            inner: Arc::new(Inner {
                options,
                audit: AuditLog::new(foundation.store.clone()),
                foundation,
                drivers: Mutex::default(),
                accounts: Mutex::default(),
                tasks: TaskTracker::new(),
                programs: TaskTracker::new(),
                programs_stop: CancellationToken::new(),
                sidecars: Arc::new(Semaphore::new(programs::MAX_SIDECARS)),
                errands: TaskTracker::new(),
                terminals: terminals::Terminals::new(&shutdown),
                sweeping: tokio::sync::Mutex::default(),
                timed: AtomicUsize::new(0),
                shutdown,
            }),
        };
        manager.inner.foundation.gateway.attach(manager.programs());
        manager.end_what_others_abandoned();
        if manager.inner.options.supervise {
            manager.check_records();
            manager.supervise();
        }
        Ok(manager)
    }

    /// Puts records aside that cannot be read. Nobody waits for it: until then they are left out of every list.
    fn check_records(&self) {
        let (store, stop) = (self.inner.foundation.store.clone(), self.inner.shutdown.clone());
        self.inner.tasks.spawn(async move {
            tokio::select! {
                // What was put aside is durable; the next daemon goes on.
                () = stop.cancelled() => {}
                checked = store.check_records() => {
                    if let Err(error) = checked {
                        tracing::warn!(%error, "the records could not be checked");
                    }
                }
            }
        });
    }

    /// Where front ends write what their callers do; see [`crate::audit::Audited`].
    pub fn audit_log(&self) -> AuditLog {
        self.inner.audit.clone()
    }

    /// Whether the engine works, and what it cannot promise.
    pub async fn probe(&self) -> Result<RuntimeHealth> {
        self.inner.foundation.runtime.probe().await
    }

    /// Whether anything is under way here that would stop, or lose what serves it, if this process ended now: a session
    /// that is made, changed or ended, a turn that runs or waits, a command or terminal, a program of the gateway, a
    /// copy, or an event that is not stored yet.
    ///
    /// For whoever decides when an idle process may leave. It costs a few loads of memory. It may say so for some seconds
    /// too long; the other way round it errs only for what is asked for at the same moment. Streams of events and
    /// sessions that merely exist are no work.
    pub fn at_work(&self) -> bool {
        !self.inner.foundation.work.is_empty()
            || !self.inner.programs.is_empty()
            || !self.inner.errands.is_empty()
    }

    /// Finishes what was begun, then lets go of every session. Bounded to a few seconds; what is cut off then is finished
    /// by whoever opens the state directory next.
    pub async fn shutdown(&self) {
        self.end_programs().await;
        self.inner.errands.close();
        let complaint = "something that was begun did not end in time";
        wait_for(&self.inner.errands, SHUTDOWN_GRACE, complaint).await;
        self.inner.shutdown.cancel();
        self.inner.tasks.close();
        let complaint = "some sessions did not let go in time";
        wait_for(&self.inner.tasks, SHUTDOWN_GRACE, complaint).await;
        self.inner.foundation.store.clone().close().await;
    }

    /// The gateway's servers end first, in order and with what they have in containers.
    async fn end_programs(&self) {
        let gateway = &self.inner.foundation.gateway;
        if tokio::time::timeout(SHUTDOWN_GRACE, gateway.shutdown())
            .await
            .is_err()
        {
            tracing::warn!("the gateway did not end its servers in time");
        }
        self.inner.programs.close();
        self.inner.programs_stop.cancel();
        let complaint = "some programs or their containers did not end in time";
        wait_for(&self.inner.programs, PROGRAMS_GRACE, complaint).await;
    }

    /// Nobody waits for it: whoever opens a manager wants something else of it.
    fn end_what_others_abandoned(&self) {
        let manager = self.clone();
        self.inner.errands.spawn(async move {
            if let Err(error) = manager.end_abandoned_sidecars().await {
                tracing::debug!(%error, "nobody looked for abandoned sidecars");
            }
        });
    }

    async fn record(&self, session: &SessionId, operation: &'static str) -> Result<SessionRecord> {
        self.inner
            .foundation
            .store
            .session(session)
            .await?
            .ok_or_else(|| {
                Error::new(ErrorKind::NotFound, operation, "there is no such session")
                    .with_context("session", session)
                    .with_hint("see `cofferdam ls --all`")
            })
    }

    /// The task of a session, started if it does not run here.
    fn driver(&self, record: &SessionRecord) -> DriverHandle {
        let mut drivers = self.inner.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = drivers.get(&record.info.id)
            && !handle.is_ended()
        {
            return handle.clone();
        }
        let (handle, task) = DriverHandle::new(
            self.inner.foundation.clone(),
            record,
            self.inner.shutdown.child_token(),
        );
        drivers.insert(record.info.id, handle.clone());
        self.inner.tasks.spawn(task);
        handle
    }

    fn live_driver(&self, session: &SessionId) -> Option<DriverHandle> {
        let drivers = self.inner.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        drivers.get(session).filter(|handle| !handle.is_ended()).cloned()
    }

    fn account(&self, session: &SessionId) -> Option<ProviderAccount> {
        self.inner
            .accounts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(session)
            .cloned()
    }

    fn forget(&self, session: &SessionId) {
        self.inner
            .drivers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(session);
        self.inner
            .accounts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(session);
    }

    /// Watches the engine and reconciles for as long as the manager lives.
    fn supervise(&self) {
        let watching = self.clone();
        self.inner.tasks.spawn(async move {
            let stop = watching.inner.shutdown.clone();
            // Both arms only wait or read; what they lead to runs in the sessions' own tasks.
            tokio::select! { () = stop.cancelled() => {}, () = watching.watch() => {} }
        });
        let keeping = self.clone();
        self.inner.tasks.spawn(async move {
            let stop = keeping.inner.shutdown.clone();
            // What is counted is stored every few seconds, and what is begun runs in tasks of its own.
            tokio::select! { () = stop.cancelled() => {}, () = keeping.keep_time() => {} }
        });
        let keeping = self.clone();
        self.inner.tasks.spawn(async move {
            let stop = keeping.inner.shutdown.clone();
            // As above.
            tokio::select! { () = stop.cancelled() => {}, () = keeping.keep_in_line() => {} }
        });
        let reconciling = self.clone();
        self.inner.tasks.spawn(async move {
            let stop = reconciling.inner.shutdown.clone();
            // A run may be broken off anywhere, as by a kill: the next one finds what it left.
            tokio::select! { () = stop.cancelled() => {}, () = reconciling.keep_reconciling() => {} }
        });
    }

    async fn watch(&self) {
        let foundation = &self.inner.foundation;
        loop {
            match foundation.runtime.watch(foundation.signer.owner()).await {
                Ok(mut events) => {
                    // What happened while nobody watched is no event.
                    if let Err(error) = self.converge().await {
                        tracing::debug!(%error, "the sessions could not be held against the engine");
                    }
                    while let Some(Ok(event)) = events.next().await {
                        let session = ContainerName::session(event.name.as_str());
                        if let Some(driver) = session.and_then(|session| self.live_driver(&session)) {
                            // Never waits for one session: the others' events come by the same stream.
                            driver.container(event.kind);
                        }
                    }
                    foundation.sight.went_away();
                }
                Err(error) => tracing::debug!(%error, "the engine cannot be watched now"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

async fn wait_for(tasks: &TaskTracker, grace: Duration, complaint: &'static str) {
    if tokio::time::timeout(grace, tasks.wait()).await.is_err() {
        tracing::warn!("{complaint}");
    }
}
