//! Commands in a session, against the engine's exec.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use session_core::id::SessionId;
use session_core::manager::SessionManager;
use tokio::process::Command;
use xtask::error::{Context, Error, Result};

use super::Lab;
use super::cases::Figures;
use super::lifecycle::{end_session, exec_true, new_container, new_session, run_true};
use super::pairs::{Side, alternate};
use crate::raw::Engine;

/// From the call to the exit code.
pub(super) async fn command(lab: &mut Lab) -> Result<Figures> {
    let session = new_session(&lab.manager).await?;
    let container = new_container(&mut lab.engine, "none").await?;
    let mut ours = OurCommand(lab.manager.clone(), session);
    let mut baseline = RawExec(lab.engine.another().await?, container.clone());
    let figures = alternate(lab.rounds(200), &mut ours, &mut baseline).await;
    end_session(&lab.manager, &session).await?;
    lab.engine.remove(&container).await?;
    figures
}

/// From the start of the process to its exit.
pub(super) async fn cli_command(lab: &mut Lab) -> Result<Figures> {
    let session = new_session(&lab.manager).await?;
    let container = new_container(&mut lab.engine, "none").await?;
    let mut ours = Program::ours(lab, &["exec", &session.to_string(), "true"]);
    let mut baseline = Program::docker(lab, &["exec", &container, "true"]);
    let figures = alternate(lab.rounds(60), &mut ours, &mut baseline).await;
    end_session(&lab.manager, &session).await?;
    lab.engine.remove(&container).await?;
    figures
}

struct OurCommand(SessionManager, SessionId);

impl Side for OurCommand {
    async fn once(&mut self) -> Result<Duration> {
        let started = Instant::now();
        run_true(&self.0, &self.1).await?;
        Ok(started.elapsed())
    }
}

pub(super) struct RawExec(pub(super) Engine, pub(super) String);

impl Side for RawExec {
    async fn once(&mut self) -> Result<Duration> {
        let started = Instant::now();
        exec_true(&mut self.0, &self.1).await?;
        Ok(started.elapsed())
    }
}

/// A program that is run from start to exit, silently.
pub(super) struct Program {
    path: PathBuf,
    pub(super) args: Vec<String>,
    env: Vec<(String, String)>,
    /// What else this task has in its environment is not for it.
    only: bool,
}

impl Program {
    /// Our command line, on the lab's state directory. The first time it starts the daemon there.
    pub(super) fn ours(lab: &Lab, args: &[&str]) -> Self {
        Self {
            path: lab.daemon.program().to_owned(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env: lab.daemon.environment().to_vec(),
            only: true,
        }
    }

    /// A program of this machine.
    pub(super) fn host(path: &str, args: &[&str]) -> Self {
        Self {
            path: PathBuf::from(path),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env: Vec::new(),
            only: false,
        }
    }

    /// The engine's command line.
    pub(super) fn docker(lab: &Lab, args: &[&str]) -> Self {
        Self {
            path: PathBuf::from("docker"),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env: vec![("DOCKER_HOST".to_owned(), lab.host.clone())],
            only: false,
        }
    }
}

impl Side for Program {
    async fn once(&mut self) -> Result<Duration> {
        let doing = || format!("cannot run {}", self.path.display());
        let mut command = Command::new(&self.path);
        if self.only {
            command.env_clear();
        }
        command.args(&self.args).envs(self.env.iter().cloned());
        command.stdin(std::process::Stdio::null());
        let started = Instant::now();
        let output = command.output().await.context(doing)?;
        let taken = started.elapsed();
        if output.status.success() {
            return Ok(taken);
        }
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        Err(Error::new(format!(
            "`{name} {}` failed ({})",
            self.args.join(" "),
            output.status
        ))
        .output(String::from_utf8_lossy(&output.stderr)))
    }
}
