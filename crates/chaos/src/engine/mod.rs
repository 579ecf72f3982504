//! The engines under a campaign, which outlive every daemon, and their ledgers: what really ran, whoever was told of it.

mod docker;
mod memory;

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Duration;

use testkit::memory::MemoryRuntime;

use self::docker::Docker;
use self::memory::Memory;
use crate::client::Finished;
use crate::model::Ledger;

/// How each name of a task begins.
const TASK: &str = "task:";

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EngineKind {
    /// In this process.
    Memory,
    /// A real one, with the real agent and a scripted model.
    Docker,
    /// The same on an engine of the world's own, which may be killed.
    OwnDocker,
}

/// How fast a world is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// How long a daemon lives at most before it is killed.
    pub(crate) life: Duration,
    /// No piece of work takes longer.
    pub(crate) work: Duration,
    /// How long a daemon is given to come to a named point.
    pub(crate) point: Duration,
}

impl EngineKind {
    pub(crate) fn pace(self) -> Pace {
        let millis = Duration::from_millis;
        match self {
            Self::Memory => Pace {
                life: millis(250),
                work: millis(120),
                point: millis(1000),
            },
            Self::Docker | Self::OwnDocker => Pace {
                life: millis(6000),
                work: millis(1500),
                point: millis(12_000),
            },
        }
    }
}

/// An engine.
pub(crate) enum Engine {
    Memory(Memory),
    Docker(Box<Docker>),
}

impl Engine {
    pub(crate) async fn start(kind: EngineKind, dir: &Path) -> io::Result<Self> {
        Ok(match kind {
            EngineKind::Memory => Self::Memory(Memory::start(&dir.join("engine.sock"))?),
            EngineKind::Docker => Self::Docker(Box::new(Docker::start(dir, None).await?)),
            EngineKind::OwnDocker => {
                let own = docker::own_engine(&dir.join("engine")).await?;
                Self::Docker(Box::new(Docker::start(dir, Some(own)).await?))
            }
        })
    }

    /// What a daemon is told to find it.
    pub(crate) fn environment(&self) -> Vec<(OsString, OsString)> {
        match self {
            Self::Memory(memory) => memory.environment(),
            Self::Docker(docker) => docker.environment(),
        }
    }

    /// Restarts it: every container ends and stays where it is. The engine of the machine is left in peace.
    pub(crate) async fn restart(&self) -> io::Result<()> {
        match self {
            Self::Memory(memory) => {
                memory.runtime.restart();
                Ok(())
            }
            Self::Docker(docker) => docker.restart().await,
        }
    }

    /// The in-memory one, which can hang and be away.
    pub(crate) fn memory(&self) -> Option<&MemoryRuntime> {
        match self {
            Self::Memory(memory) => Some(&memory.runtime),
            Self::Docker(_) => None,
        }
    }

    /// How often everything ran.
    pub(crate) fn ledger(&self, finished: &[Finished]) -> Ledger {
        match self {
            Self::Memory(memory) => memory.ledger(),
            Self::Docker(_) => docker::ledger(finished),
        }
    }

    /// How many prompts an agent got while it worked on another.
    pub(crate) fn overlaps(&self) -> u64 {
        match self {
            Self::Memory(memory) => memory.runtime.agents().overlaps(),
            Self::Docker(_) => 0,
        }
    }

    /// Everything of this world that is on it.
    pub(crate) async fn left_over(&self) -> Vec<String> {
        match self {
            Self::Memory(memory) => memory.runtime.names().iter().map(ToString::to_string).collect(),
            Self::Docker(docker) => docker.left_over().await,
        }
    }
}

/// The command of which the ledger counts every run.
pub(crate) fn counted(kind: EngineKind, name: &str) -> Vec<String> {
    match kind {
        EngineKind::Memory => vec![memory::COUNTED.to_owned(), name.to_owned()],
        EngineKind::Docker | EngineKind::OwnDocker => docker::counted(name),
    }
}

/// The command that tells the ledger, where it is kept in the session.
pub(crate) fn tell_ledger(kind: EngineKind) -> Option<Vec<String>> {
    (kind != EngineKind::Memory).then(docker::tell_ledger)
}

/// What whoever is asked for `name` answers.
pub(crate) fn answer_to(name: &str) -> String {
    format!("done: {name}")
}

/// A name that says for how long there is to do.
pub(crate) fn task(name: &str, work: Duration) -> String {
    format!("{TASK}{name} {}ms", work.as_millis())
}

fn work_of(name: &str) -> Duration {
    let said = name.rsplit(' ').next().and_then(|last| last.strip_suffix("ms"));
    Duration::from_millis(said.and_then(|number| number.parse().ok()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_says_how_long_it_takes() {
        let work = Duration::from_millis(17);
        assert_eq!(work_of(&task("p-1-2", work)), work);
        assert_eq!(work_of("anything"), Duration::ZERO);
    }
}
