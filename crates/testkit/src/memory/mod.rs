//! A runtime without an engine: containers are tasks of this process, programs are closures, and everything between the
//! link and the manager is real.
//!
//! ```no_run
//! # async fn example() {
//! use testkit::memory::{Exit, MemoryRuntime};
//!
//! let memory = MemoryRuntime::new();
//! memory.program("greet", async |context| {
//!     context.stdout.line("hello").await;
//!     Exit::OK
//! });
//! memory.set_dials(false); // Every link takes the bridge.
//! memory.set_down(true); // Nobody answers.
//! # }
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`engine`] | what exists, the weather, and the trait |
//! | [`container`] | one container's life and tasks |
//! | [`init`] | a small `session-init` that speaks the link's protocol on both carriers |
//! | [`process`] | spools with offsets and gaps, input exactly once, ends |
//! | [`program`], [`programs`] | what a closure gets to see; the built-in ones |
//! | [`agent`] | the scripted agent |
//!
//! Containers run on a runtime of their own: they go on when the runtime of a manager is torn down, which is how tests
//! kill a manager.

mod agent;
mod container;
mod control;
mod engine;
mod files;
mod freezer;
mod init;
mod process;
mod program;
mod programs;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use session_core::id::{ContainerName, ImageRef, SessionId};
use session_core::runtime::{
    Capability, ContainerSpec, NetworkMode, ResourceLimits, Storage, UserIds, WorkspaceVolume,
};

pub use agent::{AgentStart, AgentTurn, Agents, SeenPrompt};
pub use control::MemoryContainer;
pub use engine::MemoryOptions;
pub use program::{Context, Exit, Input, Machine, Output};

use engine::Engine;

/// See the module. Cheap to clone; all clones are one engine, and the last one ends it.
#[derive(Debug, Clone)]
pub struct MemoryRuntime {
    engine: Arc<Engine>,
}

impl Default for MemoryOptions {
    /// Everything but a registry, and the image [`MemoryRuntime::IMAGE`].
    fn default() -> Self {
        let image = MemoryRuntime::IMAGE
            .parse()
            .unwrap_or_else(|_| unreachable!("the default is a reference"));
        Self {
            capability: Capability {
                host_mounts: true,
                pause: true,
                open_network: true,
                pull: false,
            },
            images: vec![image],
        }
    }
}

impl Default for MemoryRuntime {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryRuntime {
    /// The image of the default options.
    pub const IMAGE: &'static str = "memory:latest";

    /// A runtime with the default options.
    pub fn new() -> Self {
        Self::with_options(MemoryOptions::default())
    }

    /// A runtime with other options.
    ///
    /// # Panics
    /// When this process can have no further thread.
    pub fn with_options(options: MemoryOptions) -> Self {
        let engine = Engine::new(options);
        let engine = engine.unwrap_or_else(|error| panic!("no thread for the containers: {error}"));
        Self {
            engine: Arc::new(engine),
        }
    }

    /// The image of the default options, as a reference.
    pub fn image(&self) -> ImageRef {
        self.engine
            .options
            .images
            .first()
            .cloned()
            .unwrap_or_else(|| unreachable!("there is an image"))
    }

    /// Adds a program to every container, under a name to be found in `PATH` or an absolute path.
    pub fn program<F, R>(&self, name: impl Into<String>, program: F)
    where
        F: Fn(Context) -> R + Send + Sync + 'static,
        R: Future<Output = Exit> + Send + 'static,
    {
        self.engine.programs.add(name, program);
    }

    /// The image has git from now on: that of this host, in the containers' own directories.
    pub fn add_git(&self) {
        programs::git::add(&self.engine.programs);
    }

    /// Takes a program away: it is not found from now on.
    pub fn remove_program(&self, name: &str) {
        self.engine.programs.remove(name);
    }

    /// What the agents do and saw.
    pub fn agents(&self) -> &Agents {
        &self.engine.agents
    }

    /// Nobody answers any more, or somebody does again. Containers run on.
    pub fn set_down(&self, down: bool) {
        self.engine.weather.send_modify(|weather| weather.down = down);
    }

    /// Calls wait without an answer, or go on.
    pub fn set_hung(&self, hung: bool) {
        self.engine.weather.send_modify(|weather| weather.hung = hung);
    }

    /// Every call takes so long at least.
    pub fn set_latency(&self, latency: Duration) {
        self.engine
            .weather
            .send_modify(|weather| weather.latency = latency);
    }

    /// Whether containers dial the host's sockets; otherwise only the bridge is left.
    pub fn set_dials(&self, dials: bool) {
        *self.engine.dials.lock().unwrap_or_else(PoisonError::into_inner) = dials;
        for entry in self.engine.entries().values() {
            if let Some(container) = &entry.container {
                container.set_dials(dials);
            }
        }
    }

    /// The engine restarts: every container ends and stays where it is.
    pub fn restart(&self) {
        *self.engine.since.lock().unwrap_or_else(PoisonError::into_inner) = jiff::Timestamp::now();
        for entry in self.engine.entries().values() {
            if let Some(container) = &entry.container {
                container.end(Some(137), false);
            }
        }
    }

    /// The container of a session, to be done harm to.
    pub fn container(&self, session: &SessionId) -> Option<MemoryContainer> {
        let name = ContainerName::of(session);
        let container = self.engine.container_of(&name)?;
        Some(MemoryContainer {
            engine: self.engine.clone(),
            name,
            container,
        })
    }

    /// The names of all that exists, containers and storage alike, whoever it belongs to.
    pub fn names(&self) -> Vec<ContainerName> {
        self.engine.entries().keys().cloned().collect()
    }

    /// Where the storage of all that exists lies on the host.
    pub fn storage(&self) -> Vec<PathBuf> {
        self.engine
            .entries()
            .values()
            .map(|entry| entry.storage.path().to_owned())
            .collect()
    }

    /// Somebody else starts a container, under a name and with labels of their choice.
    ///
    /// # Panics
    /// When the name is taken.
    pub fn plant(&self, session: &SessionId, labels: BTreeMap<String, String>) -> ContainerName {
        let spec = ContainerSpec {
            name: ContainerName::of(session),
            session: *session,
            labels,
            user: UserIds::DEFAULT,
            network: NetworkMode::Sealed,
            limits: ResourceLimits::default(),
            workspace: WorkspaceVolume::Scratch,
            storage: Storage::Fresh,
            mounts: Vec::new(),
            link_dir: None,
        };
        let planted = self.engine.start(&spec);
        planted.unwrap_or_else(|error| panic!("nothing can be planted: {error}"));
        spec.name
    }
}
