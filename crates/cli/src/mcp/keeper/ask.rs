//! The server's end: starts the process that keeps turns, and tells it which.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use mcp_frontend::TurnKeeper;
use session_core::error::{Error, ErrorKind, Result};
use session_core::turn::TurnInfo;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

use super::{Answer, Wish};
use crate::args::Program;
use crate::process;
use crate::settings::env;

const OPERATION: &str = "see to it that the prompt outlives this server";
/// How long the process may take to start and to take a turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// Hands turns to a process that outlives this one.
#[derive(Debug)]
pub struct ProcessKeeper {
    state_dir: PathBuf,
    /// The process, once there is one. Taken out while it is asked, so that a conversation that broke is not used again.
    process: Mutex<Option<Conversation>>,
}

#[derive(Debug)]
struct Conversation {
    wishes: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl ProcessKeeper {
    /// For sessions that are recorded in `state_dir`. Nothing is started before there is a turn to be kept.
    pub fn new(state_dir: &Path) -> Self {
        Self {
            state_dir: state_dir.to_owned(),
            process: Mutex::new(None),
        }
    }

    async fn ask(&self, process: &mut Option<Conversation>, wish: Wish) -> Result<Answer> {
        if let Some(mut known) = process.take() {
            // It may have been killed; then the next one takes over.
            if let Ok(answer) = known.ask(wish).await {
                *process = Some(known);
                return Ok(answer);
            }
        }
        let mut conversation = self.start().await?;
        let answer = conversation.ask(wish).await?;
        *process = Some(conversation);
        Ok(answer)
    }

    async fn start(&self) -> Result<Conversation> {
        let failed = |source| {
            Error::new(ErrorKind::HostIo, OPERATION, "its process cannot be started").with_source(source)
        };
        let mut child = Command::new(process::own_program().map_err(failed)?)
            // One file may go by both names.
            .arg0(Program::CofferdamMcp.name())
            .arg("--state-dir")
            .arg(&self.state_dir)
            .args(["--__keep-turns", "start"])
            // Clients of the server are none of its.
            .env_remove(env::MCP_API_KEY.name)
            // It holds no directory that somebody may want to remove or unmount.
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let (Some(wishes), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::new(
                ErrorKind::Internal,
                OPERATION,
                "its process has no pipes",
            ));
        };
        // It ends as soon as it has started the one that stays.
        child.wait().await.map_err(failed)?;
        Ok(Conversation {
            wishes,
            answers: BufReader::new(answers).lines(),
        })
    }
}

#[async_trait]
impl TurnKeeper for ProcessKeeper {
    async fn keep(&self, turn: &TurnInfo) -> Result<()> {
        let wish = Wish {
            session: turn.session,
            turn: turn.id,
        };
        let asked = async {
            let mut process = self.process.lock().await;
            self.ask(&mut process, wish).await
        };
        let answer = tokio::time::timeout(PATIENCE, asked)
            .await
            .map_err(|_| Error::new(ErrorKind::Internal, OPERATION, "its process does not answer"))??;
        match answer {
            Answer::Kept(kept) if kept == turn.id => Ok(()),
            Answer::Kept(_) => Err(Error::new(
                ErrorKind::Internal,
                OPERATION,
                "its process kept another turn",
            )),
            Answer::Refused(report) => {
                Err(Error::new(report.code, OPERATION, report.message).with_retryable(report.retryable))
            }
        }
    }
}

impl Conversation {
    async fn ask(&mut self, wish: Wish) -> Result<Answer> {
        let broken = || Error::new(ErrorKind::Internal, OPERATION, "its process does not take part");
        let mut line = serde_json::to_vec(&wish).map_err(|source| broken().with_source(source))?;
        line.push(b'\n');
        self.wishes
            .write_all(&line)
            .await
            .map_err(|source| broken().with_source(source))?;
        let answer = self.answers.next_line().await;
        let answer = answer
            .map_err(|source| broken().with_source(source))?
            .ok_or_else(broken)?;
        serde_json::from_str(&answer).map_err(|source| broken().with_source(source))
    }
}
