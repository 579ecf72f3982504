//! The servers under test, each with a place and a port of its own.
//!
//! One is the program that users run, on a real engine. The other is the same server over the in-memory runtime, whose
//! agents do as their prompt says: what the suites ask about long work needs one that takes two seconds when it shall.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use xtask::error::{Context, Error, Result};
use xtask::process::Tool;
use xtask::workspace;

use crate::engine::Engine;

/// A server says where it listens within this time, and ends within it.
const PATIENCE: Duration = Duration::from_secs(20);
/// What it says then; see `http::serve` of `mcp-frontend`.
const LISTENS: &str = "serving MCP over HTTP";
const HOST: &str = "127.0.0.1:";
const LOGGED: &str = "warn,mcp_frontend=info";
const SHOWN_LINES: usize = 20;

/// Which server.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject<'a> {
    /// `examples/in_memory.rs` of `mcp-frontend`.
    InMemory,
    /// `cofferdam-mcp` on this engine.
    Program(&'a Engine),
}

impl Subject<'_> {
    /// As it is called in reports.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::InMemory => "in memory",
            Self::Program(_) => "cofferdam-mcp",
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
        }
    }

    /// What cargo has to build for it.
    pub(super) fn target(self) -> [&'static str; 4] {
        match self {
            Self::InMemory => ["--package", "mcp-frontend", "--example", "in_memory"],
            Self::Program(_) => ["--package", "cli", "--bin", "cofferdam-mcp"],
        }
    }
}

/// A running server, over HTTP. What is started over stdio with [`Server::environment`] shares its state.
#[derive(Debug)]
pub(super) struct Server<'a> {
    pub(super) subject: Subject<'a>,
    pub(super) address: SocketAddr,
    pub(super) token: String,
    child: Child,
    place: TempDir,
}

impl<'a> Server<'a> {
    /// Starts it and waits until it listens.
    pub(super) fn start(subject: Subject<'a>) -> Result<Self> {
        // A socket's path must be short, so not in the target directory.
        let place = tempfile::Builder::new().prefix("cofferdam-clients-").tempdir();
        let place = place.context(|| "cannot make a temporary directory".to_owned())?;
        let token = token()?;
        let log = File::create(place.path().join("log")).context(|| "cannot make a log".to_owned())?;
        let tool = with_environment(Tool::new(subject.program()), subject, place.path());
        let tool = match subject {
            Subject::InMemory => tool.arg(format!("{HOST}0")).arg(&token),
            Subject::Program(_) => tool
                .arg("--http")
                .env("MCP_HOST", HOST.trim_end_matches(':'))
                .env("MCP_PORT", "0")
                .env("MCP_API_KEY", &token),
        };
        let mut child = tool.spawn_logged(&log)?;
        match listens(subject, place.path(), &mut child) {
            Ok(address) => Ok(Self {
                subject,
                address,
                token,
                child,
                place,
            }),
            Err(error) => {
                let _gone = child.kill();
                let _reaped = child.wait();
                Err(error)
            }
        }
    }

    /// Where results may be put; gone with the server.
    pub(super) fn place(&self) -> &Path {
        self.place.path()
    }

    /// The variables with which the same program works on the same state.
    pub(super) fn environment(&self) -> Vec<(&'static str, String)> {
        environment(self.subject, self.place.path())
    }

    /// Ends it as its user would, and waits.
    pub(super) fn stop(mut self) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _gone = kill_process(pid, Signal::INT);
        }
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let ended = self.child.try_wait();
            match ended.context(|| "cannot wait for the server".to_owned())? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.failure(&format!("ended with {status}"))),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        Err(self.failure(&format!("did not end within {} s", PATIENCE.as_secs())))
    }

    fn failure(&self, what: &str) -> Error {
        let program = self.subject.program();
        Error::new(format!("{} {what}", program.display())).output(last_words(self.place.path()))
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        // After an ordered end there is nobody left to kill.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn environment(subject: Subject<'_>, place: &Path) -> Vec<(&'static str, String)> {
    let mut variables = vec![("NO_COLOR", "1".to_owned())];
    if let Subject::Program(engine) = subject {
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

fn listens(subject: Subject<'_>, place: &Path, child: &mut Child) -> Result<SocketAddr> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let log = std::fs::read_to_string(place.join("log")).unwrap_or_default();
        if let Some(address) = announced(&log) {
            return Ok(address);
        }
        let ended = child.try_wait().ok().flatten();
        if ended.is_some() || Instant::now() > deadline {
            let program = subject.program();
            return Err(
                Error::new(format!("{} does not say where it listens", program.display()))
                    .output(last_words(place))
                    .hint(format!(
                        "its log has to have a line with \"{LISTENS}\" and the address"
                    )),
            );
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn announced(log: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.contains(LISTENS))?;
    let (_, rest) = line.split_once(HOST)?;
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    format!("{HOST}{port}").parse().ok()
}

fn last_words(place: &Path) -> String {
    let log = std::fs::read_to_string(place.join("log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

fn token() -> Result<String> {
    let cannot = || "cannot make a token".to_owned();
    let mut bytes = [0; 16];
    let mut random = File::open("/dev/urandom").context(cannot)?;
    std::io::Read::read_exact(&mut random, &mut bytes).context(cannot)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_the_log_whatever_its_form() {
        let address = Some(SocketAddr::from(([127, 0, 0, 1], 3001)));
        for log in [
            "WARN something\n2026-11-21T13:59:27Z  INFO mcp_frontend::http: serving MCP over HTTP at /mcp address=127.0.0.1:3001\n",
            r#"{"fields":{"message":"serving MCP over HTTP at /mcp","address":"127.0.0.1:3001"}}"#,
        ] {
            assert_eq!(announced(log), address, "{log}");
        }
        assert_eq!(announced("listening on 127.0.0.1:3001"), None);
        assert_eq!(
            announced("serving MCP over HTTP at /mcp address=127.0.0.1:"),
            None
        );
    }
}
