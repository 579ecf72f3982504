//! What there is of a session while it lives, to be looked for when it is gone.

use std::path::{Path, PathBuf};

use session_core::id::{ContainerName, SessionId};
use xtask::error::Result;

use super::claims::Claims;
use crate::raw::Engine;

/// A session's traces on the engine and on this machine.
#[derive(Debug)]
pub(super) struct Traces {
    label: String,
    named: Vec<String>,
    processes: Vec<(u32, String)>,
    dir: PathBuf,
}

impl Traces {
    pub(super) async fn of(engine: &mut Engine, session: &SessionId, state: &Path) -> Result<Self> {
        let label = format!("{}={session}", session_core::label::SESSION);
        let pids = engine.processes(ContainerName::of(session).as_str()).await?;
        Ok(Self {
            named: engine.labelled(&label).await?,
            label,
            processes: pids
                .into_iter()
                .filter_map(|pid| Some((pid, birth(pid)?)))
                .collect(),
            dir: state.join("sessions").join(session.to_string()),
        })
    }

    pub(super) async fn expect_gone(&self, engine: &mut Engine, claims: &mut Claims<'_>) -> Result<()> {
        let left = engine.labelled(&self.label).await?;
        let claim = format!("{} containers and volumes are gone", self.named.len());
        claims.check(
            &claim,
            left.is_empty() && !self.named.is_empty(),
            &left.join(", "),
        );
        let alive = self
            .processes
            .iter()
            .filter(|(pid, born)| birth(*pid).as_ref() == Some(born));
        let alive: Vec<_> = alive.map(|(pid, _)| pid.to_string()).collect();
        let claim = format!("{} processes are gone", self.processes.len());
        claims.check(
            &claim,
            alive.is_empty() && !self.processes.is_empty(),
            &alive.join(", "),
        );
        claims.check("the session's directory is gone", !self.dir.exists(), "");
        Ok(())
    }
}

/// When a process was born, so that another one with its number is not taken for it.
fn birth(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)
        .map(str::to_owned)
}
