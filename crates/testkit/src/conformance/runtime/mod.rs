//! A test for each bullet under `# Behavior` of [`ContainerRuntime`].

mod again;
mod diagnostics;
mod inspect;
mod launch;
mod link;
mod list;
mod pause;
mod prepare;
mod probe;
mod remove;
mod stage;
mod watch;

use std::sync::Arc;

use async_trait::async_trait;
use libtest_mimic::Trial;
use session_core::id::{ContainerName, ImageRef};
use session_core::runtime::{ContainerRuntime, UserIds};

use super::{Case, trial};
use stage::Stage;

/// What is particular to the runtime under test.
#[async_trait]
pub trait Lab: Send + Sync + 'static {
    /// The runtime. One for all tests: they run at the same time.
    fn runtime(&self) -> Arc<dyn ContainerRuntime>;

    /// A runtime of the same kind whose engine does not answer.
    fn unreachable(&self) -> Arc<dyn ContainerRuntime>;

    /// An image that can be used, with `sh` and the usual small programs.
    fn image(&self) -> ImageRef;

    /// An image that declares a user, an entry point, a working directory, volumes, labels and a health check that would
    /// do harm if they took part in a launch.
    fn foreign_image(&self) -> ImageRef;

    /// An image that exists nowhere.
    fn missing_image(&self) -> ImageRef;

    /// Who runs inside.
    fn user(&self) -> UserIds {
        UserIds::DEFAULT
    }

    /// Ways to get at the engine past the runtime. Without them, the tests that need them are shown as ignored.
    fn back_door(&self) -> Option<Arc<dyn BackDoor>> {
        None
    }
}

/// What somebody with the engine's own tools can do.
#[async_trait]
pub trait BackDoor: Send + Sync + 'static {
    /// Removes a container and leaves its storage.
    async fn remove_without_storage(&self, name: &ContainerName) -> Result<(), String>;

    /// Gives a container another name.
    async fn rename(&self, name: &ContainerName, alias: &str) -> Result<(), String>;

    /// Starts a container under this name that does not bear our labels.
    async fn plant(&self, name: &ContainerName) -> Result<(), String>;

    /// Whether such a container still runs.
    async fn stands(&self, name: &ContainerName) -> Result<bool, String>;

    /// Removes it.
    async fn uproot(&self, name: &ContainerName) -> Result<(), String>;

    /// A runtime of its own on an engine that goes away when the closure is called.
    async fn doomed(&self) -> Result<(Arc<dyn ContainerRuntime>, Box<dyn FnOnce() + Send>), String>;

    /// The engine's memory killer ends PID 1 of a container.
    async fn end_for_memory(&self, name: &ContainerName) -> Result<(), String>;
}

/// The suite, each test named `prefix::method::bullet`.
pub fn tests(prefix: &str, lab: Arc<dyn Lab>) -> Vec<Trial> {
    let plain: Vec<Case<Stage>> = [
        probe::cases(),
        prepare::cases(),
        launch::cases(),
        link::cases(),
        inspect::cases(),
        list::cases(),
        pause::cases(),
        remove::cases(),
        watch::cases(),
        diagnostics::cases(),
        again::cases(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let behind: Vec<Case<Stage>> = [
        inspect::back_door_cases(),
        list::back_door_cases(),
        remove::back_door_cases(),
        watch::back_door_cases(),
        again::back_door_cases(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let missing = lab.back_door().is_none();
    let plain = plain.into_iter().map(|case| trial(prefix, lab.clone(), case));
    let behind = behind
        .into_iter()
        .map(|case| trial(prefix, lab.clone(), case).with_ignored_flag(missing));
    plain.chain(behind).collect()
}
