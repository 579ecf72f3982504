//! Programs on the host, spoken to on their standard streams.
//!
//! An argument vector and no shell; the environment that the definition names and no other; a process group and session of
//! its own below a supervisor, so that everything it starts ends with it.

mod find;
mod keeper;
mod scratch;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::ExposeSecret as _;
use tokio::net::unix::pipe;
use tokio::time::timeout;

use self::keeper::{Exit, Keeper};
use self::scratch::Scratch;
pub(super) use self::scratch::Scratches;
use super::diary::Diary;
use super::life::{Carrier, Reason};
use super::secrets::Resolved;
use super::supervise::{Job, Refusal};
use crate::mcp::call::FailureCause;

/// How long what a program wrote to its standard error may take to be read once it has ended.
const LAST_LINES: Duration = Duration::from_millis(200);
/// What shells and `env` exit with when there is no such program.
const NO_PROGRAM: i32 = 127;

/// What is to be started.
pub(super) struct Wanted<'a> {
    pub(super) command: &'a str,
    pub(super) args: &'a [String],
    /// The host's part of the environment.
    pub(super) host_environment: &'a BTreeMap<String, String>,
    /// The definition's part.
    pub(super) env: Resolved,
    /// Where it runs.
    pub(super) cwd: Cwd,
    pub(super) supervisor: Option<&'a [OsString]>,
}

/// Where a program runs.
pub(super) enum Cwd {
    Declared(PathBuf),
    /// A directory of its own, which is made.
    Own(PathBuf, Arc<Scratches>),
}

/// The program's streams, and what owns it.
pub(super) struct Running {
    pub(super) scratch: Option<Scratch>,
    pub(super) stdin: pipe::Sender,
    pub(super) stdout: pipe::Receiver,
    pub(super) stderr: pipe::Receiver,
    pub(super) keeper: Keeper,
}

/// Starts a program.
pub(super) async fn start(wanted: Wanted<'_>) -> Result<Running, Reason> {
    let supervisor = wanted.supervisor.map(<[OsString]>::to_vec);
    let Wanted {
        command,
        args,
        host_environment,
        env,
        cwd,
        ..
    } = wanted;
    let mut environment = host_environment.clone();
    for (name, value) in &env.values {
        environment.insert(name.clone(), value.expose_secret().to_owned());
    }
    let name = OsString::from(command);
    let command = command.to_owned();
    let args = args.iter().map(OsString::from).collect();
    let starting = tokio::task::spawn_blocking(move || {
        let (cwd, scratch) = match cwd {
            Cwd::Declared(cwd) => (cwd, None),
            Cwd::Own(cwd, scratches) => {
                let made = scratches.take(&cwd);
                let made = made.map_err(|error| keeper::Fault::Io("make its directory", error))?;
                (cwd, Some(made))
            }
        };
        let path = environment.get("PATH").map(String::as_str);
        let program = find::find(&command, path, &cwd)?;
        let env = environment
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        let job = Job {
            program,
            name,
            args,
            env,
            cwd,
        };
        fail::fail_point!("gateway.mcp.spawn");
        let running = keeper::spawn(&job, supervisor.as_deref())?;
        Ok(Running { scratch, ..running })
    });
    let mut running = match starting.await {
        Ok(started) => started.map_err(|fault| reason(&fault))?,
        Err(error) => {
            return Err((
                FailureCause::Unavailable,
                format!("it could not be started: {error}"),
            ));
        }
    };
    running.keeper.started().await.map_err(|fault| reason(&fault))?;
    Ok(running)
}

/// A directory for its owner alone.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

fn reason(fault: &keeper::Fault) -> Reason {
    match fault {
        keeper::Fault::Refused(refusal) => {
            let cause = match refusal {
                Refusal::NotFound | Refusal::NotExecutable | Refusal::BadWorkingDirectory => {
                    FailureCause::Missing
                }
                Refusal::Exhausted | Refusal::TooLong => FailureCause::Unavailable,
            };
            (cause, refusal.told().to_owned())
        }
        keeper::Fault::Io(what, error) => (FailureCause::Unavailable, format!("could not {what}: {error}")),
        keeper::Fault::NoSupervisor => (
            FailureCause::Unavailable,
            "the process that would watch over it does not answer".to_owned(),
        ),
    }
}

/// Owns a program, and what it writes to its standard error.
pub(super) struct StdioCarrier {
    keeper: Keeper,
    diary: Diary,
    scratch: Option<Scratch>,
}

impl StdioCarrier {
    pub(super) fn new(keeper: Keeper, diary: Diary, scratch: Option<Scratch>) -> Self {
        Self {
            keeper,
            diary,
            scratch,
        }
    }
}

#[async_trait]
impl Carrier for StdioCarrier {
    async fn ended(&mut self) -> Reason {
        let exit = self.keeper.ended().await;
        let _ = timeout(LAST_LINES, self.diary.finished()).await;
        let how = match exit {
            Exit::Code(code) => format!("it exited with code {code}"),
            Exit::Signal(signal) => format!("it was ended by signal {signal}"),
            Exit::Unknown => "it ended".to_owned(),
        };
        let cause = match exit {
            Exit::Code(NO_PROGRAM) => FailureCause::Missing,
            _ => FailureCause::Ended,
        };
        let detail = match self.diary.last_words() {
            Some(line) => format!("{how}: {line}"),
            None => how,
        };
        (cause, detail)
    }

    async fn close(&mut self, grace: Duration) {
        if timeout(grace, self.keeper.ended()).await.is_err() {
            self.keeper.terminate();
            let _ = timeout(grace, self.keeper.ended()).await;
        }
    }

    async fn kill(&mut self) {
        self.keeper.kill().await;
        drop(self.scratch.take());
    }
}
