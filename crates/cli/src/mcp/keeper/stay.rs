//! The other end: the process that stays behind.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use session_core::api::{SessionApi, SessionApiExt as _};
use session_core::error::{Error, ErrorKind, Result};
use session_core::turn::TurnInfo;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::task::JoinSet;

use super::{Answer, Wish};
use crate::args::Program;
use crate::compose::Backend;
use crate::console::{Reader, Writer};
use crate::process;
use crate::settings::Settings;

/// The first step: starts the process that stays, which inherits the environment and the pipes to the server but no other
/// file (see [`process::main`]), and lets it go.
///
/// # Errors
/// `HostIo` when it cannot be started.
pub fn start(state_dir: Option<&Path>) -> Result<()> {
    let failed = |source| {
        Error::new(
            ErrorKind::HostIo,
            "leave a process behind",
            "it cannot be started",
        )
        .with_source(source)
    };
    let mut command = Command::new(process::own_program().map_err(failed)?);
    command.arg0(Program::CofferdamMcp.name());
    if let Some(dir) = state_dir {
        command.arg("--state-dir").arg(dir);
    }
    command
        .args(["--__keep-turns", "stay"])
        .stderr(Stdio::null())
        .spawn()
        .map(drop)
        .map_err(failed)
}

/// The second step: keeps the turns that it is told of until all of them have ended and nobody will tell any more.
///
/// # Errors
/// Those of opening the lifecycle API.
pub async fn stay(
    settings: &Settings,
    backend: &dyn Backend,
    wishes: Reader,
    mut answers: Writer,
) -> Result<()> {
    // What a terminal or a client sends to the server's group is not for us. It fails only for the leader of a group,
    // which has its own signals already.
    let _ = rustix::process::setsid();
    let opened = backend.open(settings).await?;
    let mut wishes = Some(BufReader::new(wishes).lines());
    let mut turns = JoinSet::new();
    loop {
        // A line that is half read stays in its reader, and a turn that ended in its set.
        tokio::select! {
            line = async {
                match &mut wishes {
                    Some(lines) => lines.next_line().await.ok().flatten(),
                    None => std::future::pending().await,
                }
            } => match line {
                Some(line) => {
                    let answer = keep(&line, &opened.api, &mut turns).await;
                    // A server that died meanwhile does not hear it, and its turn is kept all the same.
                    if let Ok(mut line) = serde_json::to_vec(&answer) {
                        line.push(b'\n');
                        let _ = answers.write_all(&line).await;
                        let _ = answers.flush().await;
                    }
                }
                None => wishes = None,
            },
            Some(_) = turns.join_next() => {}
        }
        if wishes.is_none() && turns.is_empty() {
            break;
        }
    }
    opened.close.await;
    Ok(())
}

async fn keep(line: &str, api: &Arc<dyn SessionApi>, turns: &mut JoinSet<()>) -> Answer {
    match follow(line, api, turns).await {
        Ok(turn) => Answer::Kept(turn.id),
        Err(error) => Answer::Refused(error.report()),
    }
}

/// Whoever follows a session's events wants its turns to run, so following is what makes this process contend for the
/// agent's lock.
async fn follow(line: &str, api: &Arc<dyn SessionApi>, turns: &mut JoinSet<()>) -> Result<TurnInfo> {
    let wish: Wish = serde_json::from_str(line).map_err(|source| {
        Error::new(ErrorKind::Internal, "keep a turn", "the wish cannot be read").with_source(source)
    })?;
    let turn = api.turn(&wish.session, &wish.turn).await?;
    // Opened here and once more by the waiting itself: what cannot be followed is refused.
    drop(
        api.events(&turn.session, turn.first_event.saturating_sub(1))
            .await?,
    );
    let (api, followed) = (api.clone(), turn.clone());
    turns.spawn(async move {
        if let Err(error) = api.wait_turn(&followed).await {
            tracing::warn!(session = %followed.session, turn = %followed.id, %error, "a turn is kept no longer");
        }
    });
    Ok(turn)
}
