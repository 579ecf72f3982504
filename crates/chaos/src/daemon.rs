//! The real daemon, to be killed.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// No daemon takes so long to answer, unless something is wrong with it.
const PATIENCE: Duration = Duration::from_secs(30);
/// SIGKILL.
pub(crate) const KILL: i32 = 9;
/// Numbers the tokens.
static TOKENS: AtomicU64 = AtomicU64::new(0);
const LOOK: Duration = Duration::from_millis(2);

/// How a daemon is started.
#[derive(Debug, Clone)]
pub(crate) struct Launcher {
    /// `cofferdam`, built with the feature `faults`.
    pub(crate) program: PathBuf,
    /// Everything of one world lies in it.
    pub(crate) dir: PathBuf,
    /// What it is told besides.
    pub(crate) environment: Vec<(OsString, OsString)>,
}

/// How a daemon came to be ready, or did not.
#[derive(Debug)]
pub(crate) enum Beginning {
    /// It answers.
    Ready,
    /// It has ended.
    Ended(ExitStatus),
}

impl Launcher {
    pub(crate) fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.state().join("cofferdam.sock")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("daemon.log")
    }

    /// Starts one. `faults` are the named points at which something happens to it.
    pub(crate) fn start(&self, faults: Option<&str>) -> io::Result<Daemon> {
        let mut command = self.command(faults)?;
        command.args(["serve", "--log-format", "text"]);
        Ok(Daemon {
            child: command.spawn()?,
            socket: self.socket(),
        })
    }

    /// Makes a token, beside whatever daemon there is. Answers whether that was killed, as `faults` want it; the next one is made
    /// by whom nobody kills.
    pub(crate) async fn token(&self, faults: &str) -> io::Result<bool> {
        let make = async |faults| {
            let name = format!("token-{}", TOKENS.fetch_add(1, Ordering::Relaxed));
            let mut command = self.command(faults)?;
            command.args(["token", "create", &name]).status().await
        };
        let killed = make(Some(faults)).await?.signal() == Some(KILL);
        match make(None).await? {
            status if status.success() => Ok(killed),
            status => Err(io::Error::other(format!("no token can be made: {status}"))),
        }
    }

    fn command(&self, faults: Option<&str>) -> io::Result<Command> {
        let mut log = OpenOptions::new().create(true).append(true).open(self.log())?;
        writeln!(log, "-- start {}", faults.unwrap_or_default())?;
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("HOME", &self.dir)
            .env("COFFERDAM_STATE_DIR", self.state())
            .env("ANTHROPIC_API_KEY", "sk-nobody-asks-for-it")
            .env("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
            .env("NO_COLOR", "1")
            .env("COFFERDAM_LOG", "warn")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        if let Some(faults) = faults {
            command.env("COFFERDAM_FAULTS", faults);
        }
        Ok(command)
    }

    /// The last lines of what daemons wrote.
    pub(crate) fn last_words(&self, lines: usize) -> String {
        let text = File::open(self.log())
            .and_then(io::read_to_string)
            .unwrap_or_default();
        let all: Vec<_> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

/// One that runs.
pub(crate) struct Daemon {
    child: Child,
    socket: PathBuf,
}

impl Daemon {
    /// Waits until it answers or ends.
    pub(crate) async fn ready(&mut self) -> io::Result<Beginning> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Beginning::Ended(status));
            }
            if answers(&self.socket) {
                return Ok(Beginning::Ready);
            }
            if Instant::now() > deadline {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the daemon does not get ready",
                ));
            }
            sleep(LOOK).await;
        }
    }

    /// Waits for its end, at most so long.
    pub(crate) async fn end_within(&mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(ended) => ended.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// SIGKILL, and until it is gone.
    pub(crate) async fn kill(mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// SIGTERM.
    pub(crate) fn ask_to_stop(&self) -> io::Result<()> {
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok())
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        }
        Ok(())
    }

    /// SIGTERM, and until it is gone.
    pub(crate) async fn stop(mut self) -> io::Result<ExitStatus> {
        self.ask_to_stop()?;
        match self.end_within(PATIENCE).await? {
            Some(status) => Ok(status),
            None => Err(io::Error::new(io::ErrorKind::TimedOut, "the daemon does not end")),
        }
    }
}

fn answers(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}
