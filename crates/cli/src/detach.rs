//! Without a daemon, a turn that goes on after this process: a process of its own owns it until it ends.
//!
//! The model proxy of a sealed session lives in the process that owns the session's agent, so a turn needs one for as
//! long as it runs. `prompt --embedded --detach` starts this program again, hands it the prompt on a pipe, and waits only for the
//! answer that the turn was accepted.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use session_core::error::{Error, ErrorKind, ErrorReport, Result};
use session_core::id::SessionId;
use session_core::turn::TurnInfo;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::exit::ExitStatus;
use crate::failure::print_report;
use crate::printer::Printer;
use crate::process;

/// How long the owner may take to accept the turn.
const PATIENCE: Duration = Duration::from_secs(30);
const OPERATION: &str = "leave the turn to a process of its own";

/// The owner's one line on its standard output.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The turn was accepted.
    Accepted(Box<TurnInfo>),
    /// It was not.
    Refused(ErrorReport),
}

/// The owner to start.
#[derive(Debug)]
pub struct Owner<'a> {
    /// The session.
    pub session: SessionId,
    /// The turn's time limit.
    pub timeout: Option<Duration>,
    /// By which the turn is found when it is asked for again.
    pub idempotency_key: Option<&'a str>,
    /// The variable that holds the credential.
    pub api_key_env: Option<&'a str>,
    /// Where sessions are recorded.
    pub state_dir: &'a Path,
}

impl Owner<'_> {
    /// Starts the owner and prints the turn that it accepted.
    ///
    /// # Errors
    /// `HostIo` when the process cannot be started, `Internal` when it does not answer.
    pub async fn start(&self, prompt: &str, printer: &Printer) -> Result<ExitStatus> {
        let mut child = self.spawn()?;
        let answer = tokio::time::timeout(PATIENCE, converse(&mut child, prompt))
            .await
            .map_err(|_| Error::new(ErrorKind::Internal, OPERATION, "it does not answer"))??;
        match answer {
            Answer::Accepted(turn) => accepted(&turn, printer)?,
            Answer::Refused(report) => {
                print_report(printer, &report);
                return Ok(report.code.into());
            }
        }
        Ok(ExitStatus::SUCCESS)
    }

    fn spawn(&self) -> Result<Child> {
        let failed =
            |source| Error::new(ErrorKind::HostIo, OPERATION, "it cannot be started").with_source(source);
        let mut command = Command::new(process::own_program().map_err(failed)?);
        command
            .arg("--state-dir")
            .arg(self.state_dir)
            .arg("__own-turn")
            .arg(self.session.to_string())
            // It holds no directory that somebody may want to remove or unmount.
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if let Some(timeout) = self.timeout {
            command.arg("--timeout-ms").arg(timeout.as_millis().to_string());
        }
        if let Some(key) = self.idempotency_key {
            // In one word: a key may begin with a dash.
            command.arg(format!("--idempotency-key={key}"));
        }
        if let Some(name) = self.api_key_env {
            command.arg("--api-key-env").arg(name);
        }
        command.spawn().map_err(failed)
    }
}

/// Tells of a turn that goes on by itself.
///
/// # Errors
/// `HostIo` when standard output cannot be written.
pub fn accepted(turn: &TurnInfo, printer: &Printer) -> Result<()> {
    if printer.json() {
        return printer.object(turn);
    }
    printer.note(format_args!(
        "follow it with `cofferdam logs -f {}`",
        turn.session
    ));
    printer.line(turn.id)
}

async fn converse(child: &mut Child, prompt: &str) -> Result<Answer> {
    let broken =
        |source| Error::new(ErrorKind::Internal, OPERATION, "it does not take part").with_source(source);
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(Error::new(ErrorKind::Internal, OPERATION, "it has no pipes"));
    };
    stdin.write_all(prompt.as_bytes()).await.map_err(broken)?;
    drop(stdin);
    let mut line = String::new();
    BufReader::new(stdout)
        .read_line(&mut line)
        .await
        .map_err(broken)?;
    serde_json::from_str(&line).map_err(|source| {
        Error::new(ErrorKind::Internal, OPERATION, "it ended without an answer")
            .with_hint("run the prompt without --detach to see why")
            .with_source(source)
    })
}
