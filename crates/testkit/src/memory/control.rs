//! What can happen to a container behind a manager's back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use session_core::id::ContainerName;
use session_core::runtime::ContainerStatus;

use super::container::Container;
use super::engine::Engine;

/// One container, as somebody with the engine's own tools would get at it.
#[derive(Debug, Clone)]
pub struct MemoryContainer {
    pub(super) engine: Arc<Engine>,
    pub(super) name: ContainerName,
    pub(super) container: Arc<Container>,
}

impl MemoryContainer {
    /// PID 1 is killed.
    pub fn kill(&self) {
        self.container.end(Some(137), false);
    }

    /// The kernel kills PID 1 for lack of memory.
    pub fn out_of_memory(&self) {
        self.container.end(Some(137), true);
    }

    /// Ended, and started again at once.
    ///
    /// # Panics
    /// When the engine does not start it.
    pub fn restart(&self) {
        self.kill();
        let started = self.engine.start_again(&self.name);
        started.unwrap_or_else(|error| panic!("it does not start again: {error}"));
    }

    /// Frozen.
    pub fn pause(&self) {
        self.container.set_paused(true);
    }

    /// Going on.
    pub fn resume(&self) {
        self.container.set_paused(false);
    }

    /// Removed with its storage.
    pub fn remove(&self) {
        self.engine.remove(&self.name, true);
    }

    /// Removed, with its storage left behind.
    pub fn remove_without_storage(&self) {
        self.engine.remove(&self.name, false);
    }

    /// Somebody gives it another name.
    pub fn rename(&self, name: &str) {
        self.engine.give_alias(&self.name, name);
    }

    /// The name that somebody gave it instead of its own.
    pub fn alias(&self) -> Option<String> {
        self.engine.entries().get(&self.name)?.alias.clone()
    }

    /// The labels that it bears.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let entries = self.engine.entries();
        entries
            .get(&self.name)
            .map(|entry| entry.labels.clone())
            .unwrap_or_default()
    }

    /// Every link breaks off; the container goes on.
    pub fn cut_links(&self) {
        self.container.cut_links();
    }

    /// Whether it dials the host's sockets.
    pub fn set_dials(&self, dials: bool) {
        self.container.set_dials(dials);
    }

    /// What the engine says of it.
    pub fn status(&self) -> ContainerStatus {
        self.container.status()
    }

    /// The argument vectors of what runs in it.
    pub fn running(&self) -> Vec<Vec<String>> {
        self.container.processes().running()
    }

    /// How many bytes its processes wrote that were neither sent to a reader nor acknowledged.
    pub fn unread(&self) -> u64 {
        self.container.processes().sum(super::process::Process::unread)
    }

    /// How many bytes its processes wrote.
    pub fn written(&self) -> u64 {
        self.container.processes().sum(|process| process.info().end)
    }

    /// The loopback ports that are open in it.
    pub fn ports(&self) -> Vec<u16> {
        self.container.doors().ports()
    }

    /// The path of the host behind a path inside, relative ones starting at the workspace.
    pub fn path(&self, path: &str) -> PathBuf {
        self.container.host_path(path)
    }

    /// The host's directory with its storage.
    pub fn storage(&self) -> PathBuf {
        self.container.root().to_owned()
    }
}
