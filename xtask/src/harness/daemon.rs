//! `cofferdam serve` as its users have it: started by the first command of the command line, asked through its socket.
//!
//! It is told everything by its environment, of which this task's own has no part: the same settings wherever it runs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use http_client::HttpSessions;
use secrecy::ExposeSecret as _;
use tokio::process::Command;
use xtask::error::{Context, Error, Result};
use xtask::workspace;

use crate::lab::Provider;

/// No command takes longer, and no daemon takes so long to end.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);
/// What it has of this task's environment.
const HANDED_ON: [&str; 5] = ["LANG", "PATH", "SSL_CERT_FILE", "TMPDIR", "USER"];

/// The command line on a state directory, and the daemon that it starts there.
#[derive(Debug)]
pub(crate) struct Daemon {
    program: PathBuf,
    state: PathBuf,
    environment: Vec<(String, String)>,
    sessions: HttpSessions,
}

impl Daemon {
    /// The program that was built with this one. Nothing is started yet.
    pub(crate) fn new(
        state: &Path,
        host: &str,
        provider: &Provider,
        variables: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Result<Self> {
        let doing = || "cannot find the program `cofferdam`".to_owned();
        let this = std::env::current_exe().context(doing)?;
        let inherited = HANDED_ON
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), workspace::env(name)?)));
        let own = [
            ("HOME", shown(state)),
            ("COFFERDAM_STATE_DIR", shown(state)),
            ("DOCKER_HOST", host.to_owned()),
            ("ANTHROPIC_API_KEY", provider.key.expose_secret().to_owned()),
            ("NO_COLOR", "1".to_owned()),
        ];
        let url = provider.url.clone().map(|url| ("ANTHROPIC_BASE_URL", url));
        let told = own.into_iter().chain(url).chain(variables);
        Ok(Self {
            program: this.with_file_name("cofferdam"),
            environment: inherited
                .chain(told.map(|(name, value)| (name.to_owned(), value)))
                .collect(),
            sessions: HttpSessions::unix(socket(state)).context(doing)?,
            state: state.to_owned(),
        })
    }

    /// The command line.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// All of its environment.
    pub(crate) fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// The lifecycle API, by the socket.
    pub(crate) fn sessions(&self) -> &HttpSessions {
        &self.sessions
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        socket(&self.state)
    }

    /// The command line with its environment.
    pub(crate) fn command<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs a command and answers what it printed. The first one starts the daemon.
    pub(crate) async fn run<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> Result<String> {
        printed(self.command(args)).await
    }

    /// Its process, when it runs.
    pub(crate) async fn process(&self) -> Result<u32> {
        let told = self.sessions.server().await;
        Ok(told
            .context(|| "the daemon does not say who it is".to_owned())?
            .pid)
    }

    /// Ends it as a power cut would, and waits until it is gone.
    pub(crate) async fn kill(&self) -> Result<()> {
        let process = self.process().await?;
        let pid = i32::try_from(process)
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        let pid = pid.ok_or_else(|| Error::new(format!("{process} is no process number")))?;
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)
            .context(|| format!("cannot kill the daemon, process {process}"))?;
        until_gone(process).await
    }

    /// Ends it, if it runs, and waits until it is gone.
    pub(crate) async fn stop(&self) -> Result<()> {
        let Ok(process) = self.process().await else {
            return Ok(());
        };
        self.sessions.close().await;
        self.run(["serve", "--stop"]).await?;
        until_gone(process).await
    }
}

async fn until_gone(process: u32) -> Result<()> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let arguments = Path::new("/proc").join(process.to_string()).join("cmdline");
    // One that ended and that is a child of ours has none, and stays listed until somebody asks how it ended.
    while std::fs::read(&arguments).is_ok_and(|arguments| !arguments.is_empty()) {
        if tokio::time::Instant::now() > deadline {
            return Err(Error::new(format!("the daemon, process {process}, does not end")));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Runs a program to its end and answers what it printed.
pub(crate) async fn printed(mut command: Command) -> Result<String> {
    let shown = command.as_std().get_program().to_string_lossy().into_owned();
    let ended = tokio::time::timeout(PATIENCE, command.output()).await;
    let ended = ended.context(|| format!("`{shown}` does not end"))?;
    let ended = ended.context(|| format!("cannot run `{shown}`"))?;
    if ended.status.success() {
        return Ok(String::from_utf8_lossy(&ended.stdout).into_owned());
    }
    let args: Vec<_> = command.as_std().get_args().map(OsStr::to_string_lossy).collect();
    Err(
        Error::new(format!("`{shown} {}` failed ({})", args.join(" "), ended.status))
            .output(String::from_utf8_lossy(&ended.stderr)),
    )
}

fn socket(state: &Path) -> PathBuf {
    state.join("cofferdam.sock")
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
