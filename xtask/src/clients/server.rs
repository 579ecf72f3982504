//! The servers under test, each with a place and a port of its own.
//!
//! Two are programs that users run, on a real engine: the MCP server of its own, and the daemon with its `/mcp`. The other is
//! the same server over the in-memory runtime, whose agents do as their prompt says: what the suites ask about long work
//! needs one that takes two seconds when it shall.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use xtask::error::{Context, Result};
use xtask::process::Tool;
use xtask::workspace;

use super::running::{Running, token};
use crate::engine::Engine;

/// What a server says once it listens; see `http::serve` of `mcp-frontend`.
const LISTENS: &str = "serving MCP over HTTP";
/// What the daemon says once it listens, on its standard output.
const READY: &str = "ready: unix:";
/// A daemon ends within this time.
const PATIENCE: Duration = Duration::from_secs(40);
const HOST: &str = "127.0.0.1:";
const LOGGED: &str = "warn,mcp_frontend=info";

/// Which server.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject<'a> {
    /// `examples/in_memory.rs` of `mcp-frontend`.
    InMemory,
    /// `cofferdam-mcp` on this engine.
    Program(&'a Engine),
    /// `cofferdam serve` on this engine.
    Daemon(&'a Engine),
}

impl Subject<'_> {
    /// As it is called in reports.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::InMemory => "in memory",
            Self::Program(_) => "cofferdam-mcp",
            Self::Daemon(_) => "cofferdam serve",
        }
    }

    /// Whether its agents do as their prompt says.
    pub(super) fn takes_cues(self) -> bool {
        matches!(self, Self::InMemory)
    }

    /// The program, as a debug build makes it.
    pub(super) fn program(self) -> PathBuf {
        let built = workspace::target().join("debug");
        match self {
            Self::InMemory => built.join("examples/in_memory"),
            Self::Program(_) => built.join("cofferdam-mcp"),
            Self::Daemon(_) => built.join("cofferdam"),
        }
    }

    /// What speaks over standard input on the same state: of the daemon, its client.
    pub(super) fn stdio_program(self) -> PathBuf {
        match self {
            Self::Daemon(_) => self.program().with_file_name("cofferdam-mcp"),
            Self::InMemory | Self::Program(_) => self.program(),
        }
    }

    fn says(self) -> &'static str {
        match self {
            Self::InMemory | Self::Program(_) => LISTENS,
            Self::Daemon(_) => READY,
        }
    }

    /// What cargo has to build for it.
    pub(super) fn target(self) -> [&'static str; 4] {
        match self {
            Self::InMemory => ["--package", "mcp-frontend", "--example", "in_memory"],
            Self::Program(_) => ["--package", "cli", "--bin", "cofferdam-mcp"],
            Self::Daemon(_) => ["--package", "cli", "--bin", "cofferdam"],
        }
    }
}

/// A running server, over HTTP. What is started over stdio with [`Server::environment`] shares its state.
#[derive(Debug)]
pub(super) struct Server<'a> {
    pub(super) subject: Subject<'a>,
    pub(super) address: SocketAddr,
    pub(super) token: String,
    running: Running,
    place: TempDir,
}

impl<'a> Server<'a> {
    /// Starts it and waits until it listens.
    pub(super) fn start(subject: Subject<'a>) -> Result<Self> {
        // A socket's path must be short, so not in the target directory.
        let place = tempfile::Builder::new().prefix("cofferdam-clients-").tempdir();
        let place = place.context(|| "cannot make a temporary directory".to_owned())?;
        let token = token()?;
        let prepare = |tool: Tool| {
            let tool = with_environment(tool, subject, place.path());
            match subject {
                Subject::InMemory => tool.arg(format!("{HOST}0")).arg(&token),
                Subject::Program(_) => tool
                    .arg("--http")
                    .env("MCP_HOST", HOST.trim_end_matches(':'))
                    .env("MCP_PORT", "0")
                    .env("MCP_API_KEY", &token),
                Subject::Daemon(_) => tool
                    .args(["serve", "--listen", &format!("{HOST}0")])
                    .env("MCP_API_KEY", &token),
            }
        };
        let mut running = Running::start(&subject.program(), prepare, &place.path().join("log"))?;
        Ok(Self {
            subject,
            address: running.address(subject.says())?,
            token,
            running,
            place,
        })
    }

    /// Where results may be put; gone with the server.
    pub(super) fn place(&self) -> &Path {
        self.place.path()
    }

    /// The variables with which the same program works on the same state.
    pub(super) fn environment(&self) -> Vec<(&'static str, String)> {
        environment(self.subject, self.place.path())
    }

    /// Ends it as its user would, and waits; and the daemon that its clients may have started.
    pub(super) fn stop(self) -> Result<()> {
        let variables = self.environment();
        let subject = self.subject;
        self.running.stop()?;
        if subject.takes_cues() {
            return Ok(());
        }
        let tool = Tool::new(subject.program().with_file_name("cofferdam")).args(["serve", "--stop"]);
        let tool = variables
            .into_iter()
            .fold(tool, |tool, (name, value)| tool.env(name, value));
        tool.limit(PATIENCE).output().map(drop)
    }
}

fn environment(subject: Subject<'_>, place: &Path) -> Vec<(&'static str, String)> {
    let mut variables = vec![("NO_COLOR", "1".to_owned())];
    if let Subject::Program(engine) | Subject::Daemon(engine) = subject {
        let state = place.join("state");
        variables.extend([
            ("DOCKER_HOST", engine.host().to_owned()),
            ("COFFERDAM_STATE_DIR", state.to_string_lossy().into_owned()),
            ("COFFERDAM_LOG", LOGGED.to_owned()),
            // No agent is asked anything; should one ever be, nothing leaves this machine.
            ("ANTHROPIC_API_KEY", "not-a-key".to_owned()),
            ("ANTHROPIC_BASE_URL", "http://127.0.0.1:9".to_owned()),
        ]);
    }
    variables
}

fn with_environment(tool: Tool, subject: Subject<'_>, place: &Path) -> Tool {
    environment(subject, place)
        .into_iter()
        .fold(tool, |tool, (name, value)| tool.env(name, value))
}
