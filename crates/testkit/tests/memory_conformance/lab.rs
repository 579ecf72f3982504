//! The conformance suite's view of the in-memory runtime.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use session_core::api::SessionApi;
use session_core::error::Error;
use session_core::gateway::{ProgramPlace, ProgramSpec, RunningProgram};
use session_core::id::{ContainerName, ImageRef};
use session_core::manager::SessionManager;
use session_core::runtime::{Capability, ContainerRuntime};
use session_core::session::{CreateSession, SessionFilter};
use testkit::conformance::runtime::{BackDoor, Lab};
use testkit::conformance::sessions::{Act, ModelFault, SessionLab, SessionSite};
use testkit::harness::{ManagerProcess, Site};
use testkit::memory::{AgentTurn, MemoryOptions, MemoryRuntime};

/// What a runtime can do that can do next to nothing.
pub(crate) const POOR: Capability = Capability {
    host_mounts: false,
    pause: false,
    open_network: false,
    pull: false,
};

/// A runtime with these abilities and an image of its own kind.
pub(crate) fn engine(capability: Option<Capability>) -> MemoryRuntime {
    let mut options = MemoryOptions::default();
    options
        .images
        .push("foreign:latest".parse().expect("this is a reference"));
    options.capability = capability.unwrap_or(options.capability);
    MemoryRuntime::with_options(options)
}

fn missing() -> ImageRef {
    "missing:latest".parse().expect("this is a reference")
}

/// One engine for all tests of the runtime.
pub(crate) struct MemoryLab(pub(crate) MemoryRuntime);

#[async_trait]
impl Lab for MemoryLab {
    fn runtime(&self) -> Arc<dyn ContainerRuntime> {
        Arc::new(self.0.clone())
    }

    fn unreachable(&self) -> Arc<dyn ContainerRuntime> {
        let down = MemoryRuntime::new();
        down.set_down(true);
        Arc::new(down)
    }

    fn image(&self) -> ImageRef {
        self.0.image()
    }

    fn foreign_image(&self) -> ImageRef {
        "foreign:latest".parse().expect("this is a reference")
    }

    fn missing_image(&self) -> ImageRef {
        missing()
    }

    fn back_door(&self) -> Option<Arc<dyn BackDoor>> {
        Some(Arc::new(MemoryBackDoor(self.0.clone())))
    }
}

struct MemoryBackDoor(MemoryRuntime);

impl MemoryBackDoor {
    fn container(&self, name: &ContainerName) -> Result<testkit::memory::MemoryContainer, String> {
        let session = ContainerName::session(name.as_str()).ok_or("no session has this name")?;
        self.0
            .container(&session)
            .ok_or_else(|| format!("there is no {name}"))
    }
}

#[async_trait]
impl BackDoor for MemoryBackDoor {
    async fn remove_without_storage(&self, name: &ContainerName) -> Result<(), String> {
        self.container(name)?.remove_without_storage();
        Ok(())
    }

    async fn rename(&self, name: &ContainerName, alias: &str) -> Result<(), String> {
        self.container(name)?.rename(alias);
        Ok(())
    }

    async fn plant(&self, name: &ContainerName) -> Result<(), String> {
        let session = ContainerName::session(name.as_str()).ok_or("no session has this name")?;
        self.0.plant(&session, std::collections::BTreeMap::new());
        Ok(())
    }

    async fn stands(&self, name: &ContainerName) -> Result<bool, String> {
        Ok(self.container(name).is_ok())
    }

    async fn uproot(&self, name: &ContainerName) -> Result<(), String> {
        self.container(name)?.remove();
        Ok(())
    }

    async fn doomed(&self) -> Result<(Arc<dyn ContainerRuntime>, Box<dyn FnOnce() + Send>), String> {
        let doomed = MemoryRuntime::new();
        let runtime = Arc::new(doomed.clone());
        Ok((runtime, Box::new(move || doomed.set_down(true))))
    }

    async fn end_for_memory(&self, name: &ContainerName) -> Result<(), String> {
        self.container(name)?.out_of_memory();
        Ok(())
    }
}

/// A manager and an engine for each test of sessions.
pub(crate) struct MemorySessions {
    /// What the engines can do, when not everything.
    pub(crate) capability: Option<Capability>,
    /// Whether containers dial the host's sockets.
    pub(crate) dials: bool,
}

#[async_trait]
impl SessionLab for MemorySessions {
    async fn open(&self) -> Result<Box<dyn SessionSite>, String> {
        let site = Site::with_engine(engine(self.capability)).map_err(|error| format!("{error:?}"))?;
        site.memory.set_dials(self.dials);
        let mut options = site.options();
        if !self.dials {
            options.socket_patience = std::time::Duration::from_millis(20);
        }
        let manager = site
            .manager_with(options)
            .await
            .map_err(|error| format!("{error:?}"))?;
        Ok(Box::new(MemorySite {
            site,
            manager: Arc::new(manager),
            workspaces: AtomicU32::new(0),
        }))
    }
}

struct MemorySite {
    site: Site,
    manager: Arc<ManagerProcess>,
    workspaces: AtomicU32,
}

#[async_trait]
impl SessionSite for MemorySite {
    fn api(&self) -> Arc<dyn SessionApi> {
        self.manager.clone()
    }

    fn runtime(&self) -> Arc<dyn ContainerRuntime> {
        Arc::new(self.site.memory.clone())
    }

    async fn start_program(
        &self,
        place: ProgramPlace,
        program: ProgramSpec,
    ) -> Result<RunningProgram, Error> {
        let start = |manager: SessionManager| async move { manager.programs().start(place, program).await };
        self.manager.run(start).await
    }

    fn request(&self) -> CreateSession {
        CreateSession::default()
    }

    fn missing_image(&self) -> ImageRef {
        missing()
    }

    fn foreign_image(&self) -> ImageRef {
        "foreign:latest".parse().expect("this is a reference")
    }

    fn workspace(&self) -> Result<PathBuf, String> {
        let number = self.workspaces.fetch_add(1, Ordering::Relaxed);
        self.site
            .workspace(&format!("workspace-{number}"))
            .map_err(|error| format!("{error:?}"))
    }

    fn state_dir(&self) -> PathBuf {
        self.site.state_dir()
    }

    fn has_git(&self) -> bool {
        false
    }

    fn script(&self, act: Act) {
        self.site.memory.agents().then(match act {
            Act::Say(text) => AgentTurn::new().say(text),
            Act::Write { path, content, say } => AgentTurn::new().write(path, content).say(say),
            Act::Work => AgentTurn::new().say("I am at it.").hang(),
            Act::Fail(ModelFault::Unauthorized) => AgentTurn::new().replay("error_401"),
            Act::Fail(ModelFault::RateLimited) => AgentTurn::new().replay("error_429"),
            Act::Fail(ModelFault::Overloaded) => AgentTurn::new().replay("error_529"),
            Act::Fail(ModelFault::Garbage) => AgentTurn::new().replay("garbage"),
            Act::Fail(ModelFault::Nothing) => AgentTurn::new().replay("hang"),
        });
    }

    async fn close(&self) -> Vec<String> {
        let mut left = Vec::new();
        for session in self
            .manager
            .list(SessionFilter::default())
            .await
            .unwrap_or_default()
        {
            if let Err(error) = self.manager.destroy(&session.id).await {
                left.push(format!("{}: {error:?}", session.id));
            }
        }
        let stop = |manager: SessionManager| async move {
            manager.shutdown().await;
            Ok(())
        };
        if let Err(error) = self.manager.run(stop).await {
            left.push(format!("the manager did not stop: {error:?}"));
        }
        if self.site.memory.agents().overlaps() > 0 {
            left.push("a prompt was sent while a turn ran".to_owned());
        }
        left.extend(self.site.leftovers());
        left
    }
}
