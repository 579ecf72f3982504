//! A client starts the daemon, and the daemon leaves the client.
//!
//! ```text
//!  client ──▶ serve --__detached start ──▶ serve --__detached stay ──▶ its own session of the system, no terminal
//!    ▲           ends at once                  │
//!    └──────────── one line on a pipe ─────────┘
//! ```
//!
//! In two steps, so that whoever kills a client with all its descendants does not find the daemon. What it has to say
//! afterwards goes to `<state>/telemetry/serve.log`. Many clients that find no daemon at once start one: they take turns at
//! a lock, and each looks again when it has it. The lock of the daemon itself decides in any case.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::OFlags;
use session_core::error::{Error, ErrorKind, Result};
use session_core::state_dir::StateDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::Instant;

use super::place::{self, Presence};
use super::ready::Started;
use crate::process;
use crate::settings::env::{self, ProcessEnvironment};

/// What is done, as errors tell it.
pub(super) const OPERATION: &str = "start the daemon";
/// The first argument of a process that is a daemon, whichever of our programs it runs.
pub const SERVE: &str = "serve";
/// How long a daemon may take until it listens; it may have to bring its store up to date first.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a client that waits for another one looks again.
const PAUSE: Duration = Duration::from_millis(10);
/// How long a daemon that is coming or going is given before another one is tried.
const BREATH: Duration = Duration::from_millis(100);
/// The line of a daemon is not longer.
const MAX_LINE: u64 = 64 << 10;

/// Starts a daemon, unless somebody else does meanwhile. Answers its process when it was this one who did.
///
/// # Errors
/// The daemon's own error when it cannot serve; `HostIo` when it cannot be started or does not become ready in time.
pub async fn start(state: &StateDir, socket: &Path, api_key_env: Option<&str>) -> Result<Option<u32>> {
    let deadline = Instant::now() + PATIENCE;
    let log = log_path(state)?;
    let _turn = take_turn(state, deadline).await?;
    if place::presence(socket)? == Presence::Answers {
        return Ok(None);
    }
    loop {
        let said = tokio::time::timeout_at(deadline, spawn(state, &log, api_key_env)).await;
        let said = said.map_err(|_late| failed(ErrorKind::HostIo, "it does not become ready", &log))?;
        match said?.outcome() {
            Ok(pid) => return Ok(Some(pid)),
            // Somebody started one by hand and it is not ready yet, or one is just leaving.
            Err(error) if error.kind() == ErrorKind::Busy && Instant::now() < deadline => {
                tokio::time::sleep(BREATH).await;
                if place::presence(socket)? == Presence::Answers {
                    return Ok(None);
                }
            }
            Err(error) => return Err(error.with_context("log", log.display())),
        }
    }
}

/// Where a daemon that a client started writes its log. The directory is made when it is not there.
///
/// # Errors
/// `HostIo`.
pub fn log_path(state: &StateDir) -> Result<PathBuf> {
    let dir = state.path().join("telemetry");
    match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
        Err(source) if source.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(
                failed(ErrorKind::HostIo, "the directory of its log cannot be made", &dir)
                    .with_source(source),
            )
        }
        _ => Ok(dir.join("serve.log")),
    }
}

/// Waits until nobody else is about to start a daemon. Released when it is dropped.
async fn take_turn(state: &StateDir, deadline: Instant) -> Result<File> {
    let path = state.path().join("serve-start.lock");
    let file = private(OpenOptions::new().create(true).write(true), &path)?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
            Err(TryLockError::WouldBlock) => {
                return Err(failed(
                    ErrorKind::Busy,
                    "another process has been starting it for too long",
                    &path,
                ));
            }
            Err(TryLockError::Error(source)) => {
                return Err(failed(ErrorKind::HostIo, "its lock cannot be taken", &path).with_source(source));
            }
        }
    }
}

/// The first step, seen from the client, and the line of the second.
async fn spawn(state: &StateDir, log: &Path, api_key_env: Option<&str>) -> Result<Started> {
    let refused =
        |source| failed(ErrorKind::HostIo, "its process cannot be started", log).with_source(source);
    let file = private(OpenOptions::new().create(true).append(true), log)?;
    let mut command = Command::new(process::own_program().map_err(refused)?);
    command
        .args([SERVE, "--__detached", "start", "--state-dir"])
        .arg(state.path())
        // It holds no directory that somebody may want to remove or unmount.
        .current_dir("/")
        // What the terminal sends to the client's group is not for it.
        .process_group(0)
        // Clients over TCP are none of its.
        .env_remove(env::MCP_API_KEY.name)
        .envs(
            env::PATHS
                .iter()
                .filter_map(|variable| Some((variable.name, env::absolute(*variable, &ProcessEnvironment)?))),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(file);
    if let Some(name) = api_key_env {
        command.arg("--api-key-env").arg(name);
    }
    let mut child = tokio::process::Command::from(command).spawn().map_err(refused)?;
    let line = match child.stdout.take() {
        Some(stdout) => first_line(stdout).await.map_err(refused)?,
        None => String::new(),
    };
    // It has ended already, or ends as soon as it has started the one that stays.
    child.wait().await.map_err(refused)?;
    serde_json::from_str(&line)
        .map_err(|source| failed(ErrorKind::HostIo, "it ended without a word", log).with_source(source))
}

async fn first_line(stdout: tokio::process::ChildStdout) -> std::io::Result<String> {
    use tokio::io::AsyncReadExt as _;
    let mut line = String::new();
    BufReader::new(stdout.take(MAX_LINE)).read_line(&mut line).await?;
    Ok(line)
}

/// The first step, seen from itself: starts the process that stays, which inherits the environment and the three streams
/// but no other file (see [`process::main`]), and lets it go.
///
/// # Errors
/// `HostIo` when it cannot be started.
pub fn leave_behind(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> Result<()> {
    let refused = |source| {
        Error::new(ErrorKind::HostIo, OPERATION, "its process cannot be started").with_source(source)
    };
    Command::new(process::own_program().map_err(refused)?)
        .args([SERVE, "--__detached", "stay"])
        .args(arguments)
        .spawn()
        .map(drop)
        .map_err(refused)
}

/// The second step: leaves the client's terminal and group. It fails only for the leader of a group, which has its own
/// signals already.
pub fn leave_terminal() {
    let _ = rustix::process::setsid();
}

/// The client has heard what it waits for: its pipe is let go, and what is written to standard output goes to the log.
pub fn let_go_of_client() {
    let _ = rustix::stdio::dup2_stdout(std::io::stderr());
}

fn private(options: &mut OpenOptions, path: &Path) -> Result<File> {
    options
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(|source| {
            failed(
                ErrorKind::HostIo,
                "a file of its state directory cannot be used",
                path,
            )
            .with_source(source)
        })
}

fn failed(kind: ErrorKind, message: &'static str, path: &Path) -> Error {
    let error = Error::new(kind, OPERATION, message).with_context("path", path.display());
    error.with_hint("`cofferdam serve` in a terminal shows what is wrong; --embedded does without a daemon")
}
