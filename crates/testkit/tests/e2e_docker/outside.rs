//! What happens to a session from outside of us, and what can be seen of it there: by the engine's own command line.

use std::process::Output;

use serde_json::Value;
use session_core::id::{ContainerName, SessionId};
use tokio::process::Command;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Runs the engine's command line and answers with what it prints.
pub(crate) async fn docker(args: &[&str]) -> Result<String> {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new("docker").args(args).output().await?;
    if !status.success() {
        return Err(format!(
            "docker {args:?} failed: {}",
            String::from_utf8_lossy(&stderr).trim()
        )
        .into());
    }
    Ok(String::from_utf8(stdout)?.trim().to_owned())
}

/// The session's container, as the engine calls it.
pub(crate) fn container(session: &SessionId) -> String {
    ContainerName::of(session).to_string()
}

/// Everything that the engine knows of the session's container.
pub(crate) async fn inspect(session: &SessionId) -> Result<Value> {
    let text = docker(&["inspect", &container(session)]).await?;
    let all: Value = serde_json::from_str(&text)?;
    Ok(all[0].clone())
}

/// The host's process numbers of all that runs in the session, with their command lines.
pub(crate) async fn processes(session: &SessionId) -> Result<Vec<(u32, String)>> {
    let text = docker(&["top", &container(session), "-eo", "pid,args"]).await?;
    let rows = text.lines().skip(1).filter_map(|row| row.trim().split_once(' '));
    Ok(rows
        .filter_map(|(pid, args)| Some((pid.parse().ok()?, args.trim().to_owned())))
        .collect())
}

/// The process number of the session's agent.
pub(crate) async fn agent(session: &SessionId) -> Result<u32> {
    let all = processes(session).await?;
    let found = all.iter().find(|(_, args)| args.contains("--input-format"));
    found
        .map(|(pid, _)| *pid)
        .ok_or_else(|| format!("no agent among {all:?}").into())
}

/// Containers and volumes of a session that are there.
pub(crate) async fn traces(session: &SessionId) -> Result<Vec<String>> {
    let filter = format!("label={}={session}", session_core::label::SESSION);
    let containers = docker(&["ps", "--all", "--quiet", "--filter", &filter]).await?;
    let volumes = docker(&["volume", "ls", "--quiet", "--filter", &filter]).await?;
    Ok(containers
        .lines()
        .chain(volumes.lines())
        .map(str::to_owned)
        .collect())
}
