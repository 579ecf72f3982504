//! A server that is killed again and again: the next call finds a new one, and none is left over.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::client::Client;
use super::server::TOOL;
use super::{Result, open, seconds};

const SERVER: &str = "echo";
/// How long a process may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// So many kills, each followed by a call that may be repeated.
pub(super) async fn kills(count: usize) -> Result<Value> {
    let place = tempfile::tempdir()?;
    let before = children()?;
    let door = open(place.path(), &[SERVER.to_owned()], 1).await?;
    let client = Client::at_door(&door).await?;
    let tool = format!("{SERVER}__{TOOL}");
    client.call(&tool).await?;
    let mut times = Vec::new();
    for _ in 0..count {
        for server in children()?.difference(&before) {
            kill_process(
                Pid::from_raw(*server).ok_or("a process has a number")?,
                Signal::KILL,
            )?;
        }
        let started = Instant::now();
        client.call(&tool).await?;
        times.push(started.elapsed());
    }
    client.leave().await?;
    door.close().await;
    let left = wait_for_none(&before).await?;
    Ok(json!({ "killed": count, "left": left, "ours": seconds(&times) }))
}

async fn wait_for_none(before: &BTreeSet<i32>) -> Result<usize> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = children()?.difference(before).count();
        if left == 0 || Instant::now() > deadline {
            return Ok(left);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What this process has started and what those started, dead ones that nobody has waited for included.
fn children() -> Result<BTreeSet<i32>> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        // Gone meanwhile.
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let parent = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<i32>().ok());
        parents.extend(parent.map(|parent| (pid, parent)));
    }
    let me = i32::try_from(std::process::id())?;
    let mut ours = BTreeSet::from([me]);
    loop {
        let more: BTreeSet<i32> = parents
            .iter()
            .filter(|(pid, parent)| ours.contains(parent) && !ours.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if more.is_empty() {
            break;
        }
        ours.extend(more);
    }
    ours.remove(&me);
    Ok(ours)
}
