//! The engine that is not there: what exists, what the weather is, and [`ContainerRuntime`] over both.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use jiff::Timestamp;
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::{ContainerId, ContainerName, ImageRef, SessionId};
use session_core::label::{self, OwnerId};
use session_core::runtime::{
    BoxedByteStream, Capability, ContainerEvent, ContainerEventKind, ContainerRuntime, ContainerSpec,
    ContainerState, ContainerStatus, NetworkMode, OwnedResource, PreparedImage, Progress, RuntimeHealth,
    Storage, UserIds, WorkspaceVolume,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::{broadcast, watch};

use super::MemoryRuntime;
use super::agent::Agents;
use super::container::{Container, Fact, Parts};
use super::files::Files;
use super::programs::Programs;

/// Bytes in flight between the host and a bridge.
const PIPE: usize = 64 << 10;
/// Facts that a slow watcher may lag behind.
const FACTS: usize = 1024;
/// How long tasks may take to end with their engine.
const TEAR_DOWN: Duration = Duration::from_secs(5);

/// What a [`MemoryRuntime`] is and can do.
#[derive(Debug, Clone)]
pub struct MemoryOptions {
    /// What it declares; calls beyond it are refused as `Unsupported`.
    pub capability: Capability,
    /// The images that exist.
    pub images: Vec<ImageRef>,
}

/// Whether the engine answers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weather {
    pub(super) down: bool,
    pub(super) hung: bool,
    pub(super) latency: Duration,
}

/// Something on the engine: a container, or the storage that it left.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) container: Option<Arc<Container>>,
    pub(super) storage: Arc<TempDir>,
    /// The name that somebody gave the container instead of its own.
    pub(super) alias: Option<String>,
    pub(super) created_at: Timestamp,
}

impl Entry {
    fn owner(&self) -> Option<&str> {
        self.labels.get(label::OWNER).map(String::as_str)
    }

    pub(super) fn state(&self) -> ContainerState {
        self.container
            .as_ref()
            .map_or(ContainerState::Absent, |container| container.status().state)
    }
}

/// Shared by all handles; the containers live on a runtime of their own, so that they survive whoever uses them.
pub(super) struct Engine {
    pub(super) options: MemoryOptions,
    pub(super) programs: Arc<Programs>,
    pub(super) agents: Agents,
    pub(super) weather: watch::Sender<Weather>,
    pub(super) dials: Mutex<bool>,
    entries: Mutex<BTreeMap<ContainerName, Entry>>,
    facts: broadcast::Sender<Fact>,
    runtime: Option<Runtime>,
    /// Since when it runs.
    pub(super) since: Mutex<Timestamp>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("entries", &*self.entries())
            .finish_non_exhaustive()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else {
            return;
        };
        let here = tokio::runtime::Handle::try_current().map(|handle| handle.id());
        if here.is_ok_and(|here| here == runtime.handle().id()) {
            // It cannot wait for itself.
            runtime.shutdown_background();
            return;
        }
        // What its tasks hold is gone when this returns, directories above all: a process that ends right after would leave
        // them behind. By a thread, because nobody may wait within another runtime.
        let _ended = std::thread::spawn(move || runtime.shutdown_timeout(TEAR_DOWN)).join();
    }
}

impl Engine {
    pub(super) fn new(options: MemoryOptions) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("memory-runtime")
            .enable_all()
            .build()?;
        let (programs, agents) = (Programs::new(), Agents::new());
        let scripted = agents.clone();
        programs.add(super::agent::PROGRAM, move |context| {
            scripted.clone().run(context)
        });
        Ok(Self {
            options,
            programs,
            agents,
            weather: watch::Sender::new(Weather::default()),
            dials: Mutex::new(true),
            entries: Mutex::default(),
            facts: broadcast::Sender::new(FACTS),
            runtime: Some(runtime),
            since: Mutex::new(Timestamp::now()),
        })
    }

    pub(super) fn entries(&self) -> MutexGuard<'_, BTreeMap<ContainerName, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn container(&self, name: &ContainerName) -> Option<Arc<Container>> {
        let entries = self.entries();
        let entry = entries.get(name).filter(|entry| entry.alias.is_none())?;
        entry.container.clone()
    }

    /// The container of a session, whatever its name is now.
    pub(super) fn container_of(&self, name: &ContainerName) -> Option<Arc<Container>> {
        self.entries().get(name)?.container.clone()
    }

    /// Somebody gives a container another name.
    pub(super) fn give_alias(&self, name: &ContainerName, alias: &str) {
        let mut entries = self.entries();
        if let Some(entry) = entries.get_mut(name) {
            entry.alias = Some(alias.to_owned());
            if let Some(container) = &entry.container {
                container.report(ContainerEventKind::Renamed);
            }
        }
    }

    /// Makes an entry with a container that runs, if there is none of that name.
    pub(super) fn start(&self, spec: &ContainerSpec) -> Result<ContainerId> {
        let operation = "launch the container";
        let Some(handle) = self.runtime.as_ref().map(Runtime::handle) else {
            return Err(Error::new(
                ErrorKind::EngineUnavailable,
                operation,
                "the engine has ended",
            ));
        };
        let mut entries = self.entries();
        if entries
            .get(&spec.name)
            .is_some_and(|entry| entry.container.is_some())
        {
            return Err(Error::new(
                ErrorKind::StateConflict,
                operation,
                "a container of this name exists",
            )
            .with_context("container", &spec.name));
        }
        let left = entries
            .get(&spec.name)
            .filter(|_| spec.storage != Storage::Fresh)
            .map(|entry| entry.storage.clone());
        let storage = match left {
            Some(storage) => storage,
            None => Arc::new(
                tempfile::Builder::new()
                    .prefix("cofferdam-memory-")
                    .tempdir()
                    .map_err(|error| no_files(operation, error))?,
            ),
        };
        let id = new_id();
        let container = self.run(operation, handle, spec, &storage, id.clone())?;
        let entry = Entry {
            labels: spec.labels.clone(),
            container: Some(container),
            storage,
            alias: None,
            created_at: Timestamp::now(),
        };
        entries.insert(spec.name.clone(), entry);
        Ok(id)
    }

    fn run(
        &self,
        operation: &'static str,
        handle: &tokio::runtime::Handle,
        spec: &ContainerSpec,
        storage: &Arc<TempDir>,
        id: ContainerId,
    ) -> Result<Arc<Container>> {
        let parts = Parts {
            id,
            owner: spec.labels.get(label::OWNER).cloned().unwrap_or_default(),
            files: Files::new(storage.clone(), spec).map_err(|error| no_files(operation, error))?,
            programs: self.programs.clone(),
            facts: self.facts.clone(),
            handle: handle.clone(),
            dials: *self.dials.lock().unwrap_or_else(PoisonError::into_inner),
        };
        Ok(Container::start(spec.clone(), parts))
    }

    /// Starts a container again that has ended.
    pub(super) fn start_again(&self, name: &ContainerName) -> Result<()> {
        let operation = "start the container again";
        let Some(handle) = self.runtime.as_ref().map(Runtime::handle) else {
            return Err(unavailable(operation));
        };
        let mut entries = self.entries();
        let entry = entries.get_mut(name).filter(|entry| entry.alias.is_none());
        let ended = entry.and_then(|entry| Some((entry.container.clone()?, entry)));
        let Some((ended, entry)) = ended else {
            return Err(lost(operation, name));
        };
        if ended.status().state != ContainerState::Exited {
            return Ok(());
        }
        let storage = entry.storage.clone();
        let again = self.run(operation, handle, ended.spec(), &storage, ended.id().clone())?;
        entry.container = Some(again);
        Ok(())
    }

    /// Gives the container with this id its name back.
    fn rename(&self, id: &ContainerId, name: &ContainerName) -> Result<()> {
        let operation = "give the container its name back";
        let mut entries = self.entries();
        let found = entries
            .iter()
            .find(|(_, entry)| entry.container.as_ref().is_some_and(|found| found.id() == id))
            .map(|(own, _)| own.clone());
        let Some(own) = found else {
            return Err(lost(operation, name));
        };
        if own != *name && entries.get(name).is_some_and(|entry| entry.alias.is_none()) {
            return Err(Error::new(
                ErrorKind::StateConflict,
                operation,
                "another container bears its name",
            )
            .with_context("container", name));
        }
        if own != *name {
            return Err(unsupported(
                operation,
                "a container of this engine bears its own name or none of ours",
            ));
        }
        if let Some(entry) = entries.get_mut(&own)
            && entry.alias.take().is_some()
            && let Some(container) = &entry.container
        {
            container.report(ContainerEventKind::Renamed);
        }
        Ok(())
    }

    /// Removes what bears this name, container and storage, or the container alone.
    pub(super) fn remove(&self, name: &ContainerName, with_storage: bool) {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(name) else {
            return;
        };
        let container = entry.container.take();
        if let Some(container) = &container {
            container.end(Some(137), false);
            container.report(ContainerEventKind::Removed);
        }
        if with_storage && let Some(entry) = entries.remove(name) {
            // Now, and not when the last task that knows it has gone.
            let _ = std::fs::remove_dir_all(entry.storage.path());
        }
    }

    async fn answer(&self, operation: &'static str) -> Result<()> {
        let mut weather = self.weather.subscribe();
        let latency = weather.borrow().latency;
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let down = weather
            .wait_for(|weather| !weather.hung)
            .await
            .is_ok_and(|weather| weather.down);
        if down { Err(unavailable(operation)) } else { Ok(()) }
    }
}

fn no_files(operation: &'static str, error: std::io::Error) -> Error {
    Error::new(
        ErrorKind::EngineFailed,
        operation,
        "the container's file system cannot be made",
    )
    .with_source(error)
}

fn new_id() -> ContainerId {
    let id = SessionId::new().to_string();
    id.parse().unwrap_or_else(|_| unreachable!("a UUID is an id"))
}

fn unavailable(operation: &'static str) -> Error {
    Error::new(ErrorKind::EngineUnavailable, operation, "nobody answers")
        .with_hint("start the engine, then try again")
}

fn lost(operation: &'static str, container: &ContainerName) -> Error {
    Error::new(ErrorKind::ContainerLost, operation, "the container does not run")
        .with_context("container", container)
}

fn unsupported(operation: &'static str, message: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, operation, message)
}

impl MemoryRuntime {
    fn refuse_unsupported(&self, spec: &ContainerSpec) -> Result<()> {
        let operation = "launch the container";
        let capability = self.engine.options.capability;
        let mounts = spec.link_dir.is_some()
            || !spec.mounts.is_empty()
            || matches!(spec.workspace, WorkspaceVolume::Host { .. });
        if mounts && !capability.host_mounts {
            return Err(unsupported(
                operation,
                "this runtime cannot mount directories of the host",
            ));
        }
        if spec.network == NetworkMode::Open && !capability.open_network {
            return Err(unsupported(operation, "this runtime has no open network"));
        }
        Ok(())
    }

    fn image_id(&self, image: &ImageRef) -> Result<String> {
        if self.engine.options.images.contains(image) {
            return Ok(format!("memory:{image}"));
        }
        Err(Error::new(
            ErrorKind::ImageNotFound,
            "prepare the image",
            "there is no such image",
        )
        .with_context("image", image)
        .with_hint("see the images of this runtime"))
    }

    /// Refuses what bears the name and not the label.
    fn own(&self, operation: &'static str, container: &ContainerName) -> Result<()> {
        let ours = self.engine.entries().get(container).is_none_or(|entry| {
            let session = entry
                .labels
                .get(label::SESSION)
                .and_then(|session| session.parse().ok());
            session.is_some_and(|session| ContainerName::of(&session) == *container)
        });
        if ours {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::StateConflict,
            operation,
            "what bears this name is not ours",
        )
        .with_context("container", container))
    }

    fn switch(&self, operation: &'static str, container: &ContainerName, paused: bool) -> Result<()> {
        if !self.engine.options.capability.pause {
            return Err(unsupported(operation, "this runtime cannot pause"));
        }
        match self.engine.container(container) {
            Some(found) if found.set_paused(paused) => Ok(()),
            _ => Err(lost(operation, container)),
        }
    }
}

#[async_trait]
impl ContainerRuntime for MemoryRuntime {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn capability(&self) -> Capability {
        self.engine.options.capability
    }

    async fn probe(&self) -> Result<RuntimeHealth> {
        self.engine.answer("ask the engine for its health").await?;
        let findings =
            vec!["programs are closures of this process: use a real engine for real work".to_owned()];
        Ok(RuntimeHealth {
            version: "memory 1".to_owned(),
            findings,
        })
    }

    async fn prepare(
        &self,
        image: &ImageRef,
        _user: UserIds,
        progress: &dyn Progress,
    ) -> Result<PreparedImage> {
        self.engine.answer("prepare the image").await?;
        let id = self.image_id(image)?;
        progress.update("the image is there");
        Ok(PreparedImage {
            requested: image.clone(),
            id,
        })
    }

    async fn launch(&self, spec: &ContainerSpec, image: &PreparedImage) -> Result<ContainerId> {
        self.engine.answer("launch the container").await?;
        self.refuse_unsupported(spec)?;
        if self.image_id(&image.requested)? != image.id {
            return Err(Error::new(
                ErrorKind::ImageNotFound,
                "launch the container",
                "there is no such image",
            ));
        }
        self.engine.start(spec)
    }

    async fn started_at(&self) -> Result<Option<Timestamp>> {
        self.engine.answer("ask since when the engine runs").await?;
        Ok(Some(
            *self.engine.since.lock().unwrap_or_else(PoisonError::into_inner),
        ))
    }

    async fn start(&self, container: &ContainerName) -> Result<()> {
        self.engine.answer("start the container again").await?;
        self.engine.start_again(container)
    }

    async fn discard(&self, container: &ContainerName) -> Result<()> {
        let operation = "remove the container without its storage";
        self.engine.answer(operation).await?;
        self.own(operation, container)?;
        self.engine.remove(container, false);
        Ok(())
    }

    async fn has_workspace(&self, container: &ContainerName) -> Result<bool> {
        let operation = "look for the workspace";
        self.engine.answer(operation).await?;
        self.own(operation, container)?;
        let entries = self.engine.entries();
        let directory = &ContainerSpec::WORKSPACE_DIR[1..];
        Ok(entries
            .get(container)
            .is_some_and(|entry| entry.storage.path().join(directory).exists()))
    }

    async fn rename(&self, id: &ContainerId, name: &ContainerName) -> Result<()> {
        self.engine.answer("give the container its name back").await?;
        self.engine.rename(id, name)
    }

    async fn bridge(&self, container: &ContainerName) -> Result<BoxedByteStream> {
        let operation = "open a bridge to the container";
        self.engine.answer(operation).await?;
        let found = self
            .engine
            .container(container)
            .filter(|found| found.is_running());
        let found = found.ok_or_else(|| lost(operation, container))?;
        let (ours, theirs) = tokio::io::duplex(PIPE);
        drop(found.link(theirs));
        Ok(Box::new(ours))
    }

    async fn inspect(&self, container: &ContainerName) -> Result<ContainerStatus> {
        self.engine.answer("inspect the container").await?;
        let found = self.engine.container(container);
        Ok(found.map_or(ContainerStatus::ABSENT, |found| found.status()))
    }

    async fn list(&self, owner: &OwnerId) -> Result<Vec<OwnedResource>> {
        self.engine.answer("list containers").await?;
        let entries = self.engine.entries();
        let owned = entries
            .iter()
            .filter(|(_, entry)| entry.owner() == Some(owner.as_str()));
        Ok(owned
            .map(|(name, entry)| OwnedResource {
                name: name.clone(),
                id: entry.container.as_ref().map(|container| container.id().clone()),
                renamed: entry.alias.is_some(),
                labels: entry.labels.clone(),
                state: entry.state(),
                created_at: Some(entry.created_at),
            })
            .collect())
    }

    async fn pause(&self, container: &ContainerName) -> Result<()> {
        self.engine.answer("pause the container").await?;
        self.switch("pause the container", container, true)
    }

    async fn resume(&self, container: &ContainerName) -> Result<()> {
        self.engine.answer("resume the container").await?;
        self.switch("resume the container", container, false)
    }

    async fn remove(&self, container: &ContainerName) -> Result<()> {
        let operation = "remove the container";
        self.engine.answer(operation).await?;
        self.own(operation, container)?;
        self.engine.remove(container, true);
        Ok(())
    }

    async fn watch(&self, owner: &OwnerId) -> Result<BoxStream<'static, Result<ContainerEvent>>> {
        self.engine.answer("watch containers").await?;
        let watcher = Some((self.engine.facts.subscribe(), self.engine.weather.subscribe()));
        let owner = owner.as_str().to_owned();
        Ok(stream::unfold(watcher, move |watcher| next_fact(watcher, owner.clone())).boxed())
    }

    async fn diagnostics(&self, container: &ContainerName, limit: usize) -> Result<String> {
        self.engine.answer("read what PID 1 wrote").await?;
        let found = self.engine.container(container);
        Ok(found.map(|found| found.diagnostics(limit)).unwrap_or_default())
    }
}

type Watcher = Option<(broadcast::Receiver<Fact>, watch::Receiver<Weather>)>;

/// The next fact of `owner`; an error and then nothing once the engine is away.
async fn next_fact(watcher: Watcher, owner: String) -> Option<(Result<ContainerEvent>, Watcher)> {
    let (mut facts, mut weather) = watcher?;
    let event = loop {
        tokio::select! {
            biased;
            // Both are cancel-safe, as documented.
            _ = weather.wait_for(|weather| weather.down) => break None,
            fact = facts.recv() => match fact {
                Ok((known, event)) if known == owner => break Some(event),
                Ok(_) => {}
                Err(_) => break None,
            },
        }
    };
    Some(match event {
        Some(event) => (Ok(event), Some((facts, weather))),
        None => (Err(unavailable("watch containers")), None),
    })
}
