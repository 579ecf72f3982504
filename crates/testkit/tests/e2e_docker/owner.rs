//! A manager in a process of its own, to be killed: this program, started again with other arguments.

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::Arc;

use runtime_docker::{DockerOptions, DockerRuntime};
use session_core::api::SessionApi;
use session_core::id::{SessionId, TurnId};
use session_core::session::{CreateSession, PromptRequest};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::world::{World, open_manager, prompt_of};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const ASKED: &str = "--own-a-turn";
/// The idempotency key of the owner's prompt.
pub(crate) const PROMPT_KEY: &str = "the-only-prompt";
pub(crate) const PROMPT: &str = "Work for a while.";

/// A process that owns a session and its running turn.
pub(crate) struct Owner {
    child: Child,
    _stdout: Lines<BufReader<ChildStdout>>,
    pub(crate) session: SessionId,
    pub(crate) turn: TurnId,
}

impl Owner {
    /// Starts one on the world's state directory and waits until it has given its prompt.
    pub(crate) async fn start(world: &World) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(ASKED)
            .arg(world.state())
            .args([&world.model.url(), world.key.text()])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().ok_or("its output is a pipe")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = lines.next_line().await?.ok_or("the owner says nothing")?;
        let (session, turn) = line.split_once(' ').ok_or("the owner says something else")?;
        Ok(Self {
            session: session.parse()?,
            turn: turn.parse()?,
            child,
            _stdout: lines,
        })
    }

    /// Ends it without a chance to do anything.
    pub(crate) async fn kill(mut self) -> Result<()> {
        self.child.kill().await?;
        Ok(())
    }
}

/// Is the owner when the command line says so.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() != Some(ASKED) {
        return None;
    }
    let (state, model, key) = (PathBuf::from(args.next()?), args.next()?, args.next()?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .ok()?;
    match runtime.block_on(own(&state, &model, &key)) {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(error) => {
            println!("{}", super::chain(&*error));
            Some(ExitCode::FAILURE)
        }
    }
}

async fn own(state: &Path, model: &str, key: &str) -> Result<()> {
    let runtime = Arc::new(DockerRuntime::connect(DockerOptions::default())?);
    let manager = open_manager(state, runtime, model, key).await?;
    let session = manager.create(CreateSession::default()).await?.id;
    let request = PromptRequest {
        idempotency_key: Some(PROMPT_KEY.to_owned()),
        ..prompt_of(PROMPT)
    };
    let turn = manager.prompt(&session, request).await?;
    println!("{session} {}", turn.id);
    // Until it is killed.
    std::future::pending::<()>().await;
    Ok(())
}
