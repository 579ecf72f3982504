//! What can be seen of us from outside: by the engine's own command line, and in the process table.

use std::path::Path;
use std::process::Output;

use session_core::label::{self, Signer};
use session_core::state_dir::StateDir;
use tokio::process::Command;

use super::Result;

/// Runs the engine's command line and answers with what it prints.
pub(crate) async fn docker(args: &[&str]) -> Result<String> {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new("docker").args(args).output().await?;
    if !status.success() {
        let said = String::from_utf8_lossy(&stderr);
        return Err(format!("docker {args:?} failed: {}", said.trim()).into());
    }
    Ok(String::from_utf8(stdout)?.trim().to_owned())
}

/// The containers and volumes that belong to a state directory, by name.
pub(crate) async fn belongings(state: &Path) -> Result<Vec<String>> {
    let signer = Signer::new(StateDir::open(state)?.signing_key()?);
    let filter = format!("label={}={}", label::OWNER, signer.owner());
    let containers = docker(&["ps", "--all", "--format", "{{.Names}}", "--filter", &filter]).await?;
    let volumes = docker(&["volume", "ls", "--quiet", "--filter", &filter]).await?;
    let names = containers.lines().chain(volumes.lines());
    Ok(names.map(str::to_owned).collect())
}

/// Removes containers and volumes by force.
pub(crate) async fn remove(names: &[String]) {
    for name in names {
        // One of the two knows the name.
        let _removed = docker(&["rm", "--force", "--volumes", name]).await;
        let _removed = docker(&["volume", "rm", "--force", name]).await;
    }
}

/// The processes of this host that were told of a state directory: servers and whoever they left behind.
pub(crate) fn processes(state: &Path) -> Vec<u32> {
    let told = state.as_os_str().as_encoded_bytes();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| *pid != std::process::id() && knows(*pid, told))
        .collect()
}

fn knows(pid: u32, text: &[u8]) -> bool {
    ["environ", "cmdline"].iter().any(|part| {
        std::fs::read(format!("/proc/{pid}/{part}"))
            .is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text))
    })
}
