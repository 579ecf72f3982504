//! What a manager costs that holds ten sessions, each with a live agent: measured from outside, in a process of its own.

use std::process::Stdio;

use futures::future::try_join_all;
use session_core::api::{SessionApi, SessionApiExt};
use session_core::manager::SessionManager;
use session_core::session::{CreateSession, PromptRequest};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use xtask::error::{Context, Error, Result};

use super::cases::Figures;
use super::{Lab, scripted};
use crate::HoldArgs;
use crate::lab::{State, manager};

const SESSIONS: usize = 10;
/// What the measured process prints when its sessions are up.
const READY: &str = "ready";

/// Starts a process with a manager, lets it make its sessions, and reads what it uses.
pub(super) async fn memory(lab: &mut Lab) -> Result<Figures> {
    let state = State::new()?;
    let mut child = start(lab, &state)?;
    let measured = measure(&mut child).await;
    // Its input ends: it destroys its sessions and goes.
    drop(child.stdin.take());
    let status = child
        .wait()
        .await
        .context(|| "cannot wait for the measured process".to_owned())?;
    let bytes = measured?;
    if !status.success() {
        return Err(Error::new(format!("the measured process failed ({status})")));
    }
    Ok(Figures::Bytes(bytes))
}

fn start(lab: &Lab, state: &State) -> Result<Child> {
    let this = std::env::current_exe().context(|| "cannot find this program".to_owned())?;
    Command::new(this)
        .arg("hold")
        .arg("--state")
        .arg(state.path())
        .args(["--model", &lab.model.url(), "--sessions", &SESSIONS.to_string()])
        .env("DOCKER_HOST", &lab.host)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context(|| "cannot start the process to be measured".to_owned())
}

async fn measure(child: &mut Child) -> Result<u64> {
    let doing = || "the process to be measured does not say that it is ready".to_owned();
    let stdout = child.stdout.take().ok_or_else(|| Error::new(doing()))?;
    let line = BufReader::new(stdout).lines().next_line().await.context(doing)?;
    if line.as_deref() != Some(READY) {
        return Err(Error::new(doing()));
    }
    let pid = child.id().ok_or_else(|| Error::new(doing()))?;
    resident(pid)
}

/// The memory that a process has resident, in bytes.
pub(super) fn resident(pid: u32) -> Result<u64> {
    let status = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&status).context(|| format!("cannot read {status}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kilobytes
        .map(|kilobytes| kilobytes * 1024)
        .ok_or_else(|| Error::new(format!("{status} does not say how much memory is resident")))
}

/// The measured process: sessions whose agent has done a turn, held until its input ends.
pub(crate) async fn hold(args: &HoldArgs, host: &str) -> Result<()> {
    let manager = manager(&args.state, host, &scripted(&args.model)).await?;
    let held = hold_sessions(&manager, args.sessions).await;
    let sessions = manager.list(Default::default()).await.unwrap_or_default();
    let ending = sessions.iter().map(|session| manager.destroy(&session.id));
    let ended = try_join_all(ending)
        .await
        .context(|| "cannot destroy the sessions".to_owned());
    manager.shutdown().await;
    held.and(ended.map(drop))
}

async fn hold_sessions(manager: &SessionManager, count: usize) -> Result<()> {
    let doing = || "cannot hold the sessions".to_owned();
    for _ in 0..count {
        let session = manager.create(CreateSession::default()).await.context(doing)?;
        let prompt = PromptRequest {
            prompt: "Say that it is done.".to_owned(),
            ..PromptRequest::default()
        };
        manager
            .prompt_and_wait(&session.id, prompt)
            .await
            .context(doing)?;
    }
    let mut stdout = tokio::io::stdout();
    stdout
        .write_all(format!("{READY}\n").as_bytes())
        .await
        .context(doing)?;
    stdout.flush().await.context(doing)?;
    let mut rest = Vec::new();
    tokio::io::stdin().read_to_end(&mut rest).await.context(doing)?;
    Ok(())
}
