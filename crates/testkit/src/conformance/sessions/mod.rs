//! What a caller of [`SessionApi`] may count on, whichever runtime is behind it.

mod agent;
mod bad_input;
mod commands;
mod events;
mod files;
mod life;
mod models;
mod programs;
mod seal;
mod stage;
mod terminals;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use libtest_mimic::Trial;
use session_core::api::SessionApi;
use session_core::error::Result;
use session_core::gateway::{ProgramPlace, ProgramSpec, RunningProgram};
use session_core::id::ImageRef;
use session_core::runtime::{Capability, ContainerRuntime};
use session_core::session::CreateSession;

use super::{Case, trial};
use stage::Stage;

/// Makes the places in which the tests play.
#[async_trait]
pub trait SessionLab: Send + Sync + 'static {
    /// A manager on a state directory of its own.
    async fn open(&self) -> std::result::Result<Box<dyn SessionSite>, String>;
}

/// A manager, and what is particular to its runtime.
#[async_trait]
pub trait SessionSite: Send + Sync + 'static {
    /// The manager.
    fn api(&self) -> Arc<dyn SessionApi>;

    /// The runtime behind it, to do things behind its back.
    fn runtime(&self) -> Arc<dyn ContainerRuntime>;

    /// What the runtime can do.
    fn capability(&self) -> Capability {
        self.runtime().capability()
    }

    /// Starts a program as the manager's gateway would.
    async fn start_program(&self, place: ProgramPlace, program: ProgramSpec) -> Result<RunningProgram>;

    /// A request for a session whose agent does what [`SessionSite::script`] says.
    fn request(&self) -> CreateSession;

    /// An image that exists nowhere.
    fn missing_image(&self) -> ImageRef;

    /// An image that knows nothing of us.
    fn foreign_image(&self) -> ImageRef;

    /// A fresh directory of the host that a session may work in.
    fn workspace(&self) -> std::result::Result<PathBuf, String>;

    /// The manager's state directory.
    fn state_dir(&self) -> PathBuf;

    /// Whether the image has git, so that workspaces can be compared.
    fn has_git(&self) -> bool;

    /// What the agent does with the next prompt for which nothing was said yet.
    fn script(&self, act: Act);

    /// Destroys every session, ends the manager, and says what is left of it on the engine and on the host.
    async fn close(&self) -> Vec<String>;
}

/// What an agent does with a prompt.
#[derive(Debug, Clone)]
pub enum Act {
    /// It says this and is done.
    Say(String),
    /// It writes a file into the workspace, says this and is done.
    Write {
        /// The file, in the workspace.
        path: String,
        /// What is in it.
        content: String,
        /// What it says.
        say: String,
    },
    /// It works until it is interrupted.
    Work,
    /// Its model fails.
    Fail(ModelFault),
}

/// How a model fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelFault {
    /// 401.
    Unauthorized,
    /// 429, for longer than an agent waits.
    RateLimited,
    /// 529, for longer than an agent waits.
    Overloaded,
    /// A page of HTML.
    Garbage,
    /// Nothing, for longer than an agent waits.
    Nothing,
}

/// The suite, each test named `prefix::topic::promise`.
pub fn tests(prefix: &str, lab: Arc<dyn SessionLab>) -> Vec<Trial> {
    let cases: Vec<Case<Stage>> = [
        life::cases(),
        commands::cases(),
        files::cases(),
        agent::cases(),
        events::cases(),
        bad_input::cases(),
        models::cases(),
        programs::cases(),
        seal::cases(),
        terminals::cases(),
    ]
    .into_iter()
    .flatten()
    .collect();
    cases
        .into_iter()
        .map(|case| trial(prefix, lab.clone(), case))
        .collect()
}
