//! A container engine to work with: the one that answers, or one that we start.
//!
//! The order is fixed, so that nobody's engine is ever touched by surprise: `DOCKER_HOST` when it is set, else the
//! default socket, else an engine of our own. Only that last one is ever stopped here.

use std::path::Path;
use std::time::{Duration, Instant};

use clap::Subcommand;

use crate::apt;
use xtask::error::{Error, Result};
use xtask::process::{Tool, available};
use xtask::reporter::Reporter;
use xtask::workspace;

use self::endpoint::{Endpoint, Silence};
use self::own::Own;

mod endpoint;
mod install;
mod own;
pub(crate) mod podman;

/// What sessions run in when they name nothing else.
const SESSION_IMAGE: &str = "cofferdam-session:latest";
/// How long a service that was just installed may take to start.
const SYSTEM_START: Duration = Duration::from_secs(15);

/// The tasks around an engine.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Use the engine that answers, or install and start one
    ///
    /// An engine at DOCKER_HOST, else at the default socket, is used as it is. When none answers and this runs as root
    /// on Debian or Ubuntu, docker.io and iptables are installed and dockerd is started; it says so first. It keeps
    /// running until `cargo xtask engine down`.
    Up {
        /// Start a Podman beside it, with its own storage and the session image, and print its address
        #[arg(long)]
        podman: bool,
    },
    /// Say which engine answers, and whether we started it
    Status,
    /// Stop the engines that `engine up` started; any other is left alone
    Down,
}

/// An engine that answered.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    host: String,
}

impl Engine {
    /// The address in the form of `DOCKER_HOST`.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// A run of the Docker client against this engine and no other, whatever contexts the user has.
    ///
    /// `BUILDX_BUILDER` keeps BuildKit on the engine itself: only there can a build start from a local image.
    pub(crate) fn docker(&self) -> Tool {
        Tool::new("docker")
            .env("DOCKER_HOST", &self.host)
            .env("BUILDX_BUILDER", "default")
            .env("BUILDKIT_PROGRESS", "plain")
    }

    /// The architecture of the engine's machine in Rust's words (`x86_64`, `aarch64`).
    pub(crate) fn architecture(&self) -> Result<String> {
        let output = self
            .docker()
            .args(["version", "--format", "{{.Server.Arch}}"])
            .limit(endpoint::PATIENCE)
            .output()?;
        Ok(match output.stdout.trim() {
            "amd64" => "x86_64".to_owned(),
            "arm64" => "aarch64".to_owned(),
            other => other.to_owned(),
        })
    }

    /// The engine's version, system and architecture in its own words, for example `20.10.24 linux/amd64`.
    pub(crate) fn describe(&self) -> Result<String> {
        let format = "{{.Server.Version}} {{.Server.Os}}/{{.Server.Arch}}";
        let output = self
            .docker()
            .args(["version", "--format", format])
            .limit(endpoint::PATIENCE)
            .output()?;
        Ok(output.stdout.trim().to_owned())
    }
}

/// Runs one of the commands.
pub(crate) fn run(command: Command, reporter: &Reporter) -> Result<()> {
    match command {
        Command::Up { podman: true } => up_podman(reporter),
        Command::Up { podman: false } => up(reporter),
        Command::Status => status(reporter),
        Command::Down => down(reporter),
    }
}

/// The engine to use, started when there was none.
///
/// # Errors
/// When none answers and none can be started here; the hint says what the user can do.
pub(crate) fn ensure(reporter: &Reporter) -> Result<Engine> {
    let endpoint = Endpoint::chosen(workspace::env("DOCKER_HOST"));
    let engine = match endpoint.ping() {
        Ok(()) => Engine {
            host: endpoint.address(),
        },
        Err(silence) if endpoint.is_default() && silence == Silence::Absent => {
            start_own(&endpoint, reporter)?
        }
        Err(silence) => return Err(endpoint.explain(&silence)),
    };
    require_client()?;
    Ok(engine)
}

fn start_own(endpoint: &Endpoint, reporter: &Reporter) -> Result<Engine> {
    install::permitted()?;
    let own = Own::new()?;
    let missing = install::missing_packages();
    reporter.notice(&install::announcement(endpoint, &missing, &own));
    apt::install(&missing, reporter)?;
    if missing.is_empty() || !started_by_the_system(endpoint) {
        own.start(endpoint, reporter)?;
    }
    Ok(Engine {
        host: endpoint.address(),
    })
}

/// Where systemd runs, installing the package starts the engine, too: then it is the system's and not ours.
fn started_by_the_system(endpoint: &Endpoint) -> bool {
    let deadline = Instant::now() + SYSTEM_START;
    while Path::new("/run/systemd/system").exists() && Instant::now() < deadline {
        if endpoint.ping().is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    endpoint.ping().is_ok()
}

fn require_client() -> Result<()> {
    if available("docker") {
        return Ok(());
    }
    Err(
        Error::new("the engine answers, but the `docker` program is missing")
            .hint("install Docker's command-line client (package docker.io, docker-cli or docker-ce-cli)"),
    )
}

fn up(reporter: &Reporter) -> Result<()> {
    let engine = ensure(reporter)?;
    reporter.data(&answering(&engine)?);
    Ok(())
}

/// Its images are those of the engine: there need be no registry that has them.
fn up_podman(reporter: &Reporter) -> Result<()> {
    let engine = ensure(reporter)?;
    let podman = podman::ensure(&engine, &[SESSION_IMAGE], reporter)?;
    reporter.data(&answering(&podman)?);
    Ok(())
}

/// Fails when no engine answers, so that a script can ask.
fn status(reporter: &Reporter) -> Result<()> {
    let endpoint = Endpoint::chosen(workspace::env("DOCKER_HOST"));
    endpoint.ping().map_err(|silence| endpoint.explain(&silence))?;
    let engine = Engine {
        host: endpoint.address(),
    };
    let whose = match Own::new()?.running() {
        Some(process) if endpoint.is_default() => {
            format!("started by `cargo xtask engine up`, process {process}")
        }
        _ => "not started by us: `engine down` leaves it alone".to_owned(),
    };
    reporter.data(&format!("{}\n{whose}", answering(&engine)?));
    Ok(())
}

fn answering(engine: &Engine) -> Result<String> {
    require_client()?;
    Ok(format!(
        "engine {} answers at {}",
        engine.describe()?,
        engine.host()
    ))
}

fn down(reporter: &Reporter) -> Result<()> {
    let podman = podman::stop(reporter)?;
    if Own::new()?.stop(reporter)? || podman {
        reporter.data("what we started is stopped");
    } else {
        reporter.data("no engine of ours is running; any other is left alone");
    }
    Ok(())
}
