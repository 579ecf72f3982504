//! A thousand sessions whose manager was killed, and the next one that takes them up. Containers are tasks of this process,
//! everything between their links and the manager is real.
//!
//! Links are carried by the bridge. A container that waits for a socket needs an inotify instance, of which the kernel gives
//! a user 128 in general, and here all thousand would be this one user's: those that get none are waited for in vain.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use session_core::api::SessionApi;
use session_core::session::CreateSession;
use testkit::harness::{ManagerProcess, Site};
use testkit::memory::{MemoryOptions, MemoryRuntime};
use xtask::error::{Context, Error, Result};

use super::super::Lab;
use super::super::cases::Figures;
use super::super::pairs::{Side, repeat};

const SESSIONS: usize = 1000;
const ROUNDS: u32 = 10;
/// How many are made at once.
const AT_ONCE: usize = 32;
/// Open files of so many sessions: both ends of each link are in this process.
const FILES: u64 = 16_384;

/// From the opening of the state directory to the last session's link.
pub(in super::super) async fn adoption(lab: &mut Lab) -> Result<Figures> {
    allow_files();
    let doing = || "cannot make the sessions".to_owned();
    let site = Site::with_engine(bridged()).context(doing)?;
    let manager = site.manager().await.context(doing)?;
    let creations = (0..SESSIONS).map(|_| manager.create(CreateSession::default()));
    let made: Vec<_> = stream::iter(creations)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
        .context(doing)?;
    debug_assert_eq!(made.len(), SESSIONS);
    let mut ours = Adoption {
        site,
        manager: Some(manager),
    };
    let measured = repeat(lab.rounds(ROUNDS), &mut ours).await;
    ours.kill().await;
    measured
}

/// An engine that mounts nothing of this host, so no sockets either.
fn bridged() -> MemoryRuntime {
    let mut options = MemoryOptions::default();
    options.capability.host_mounts = false;
    MemoryRuntime::with_options(options)
}

struct Adoption {
    site: Site,
    manager: Option<ManagerProcess>,
}

impl Adoption {
    async fn kill(&mut self) {
        if let Some(manager) = self.manager.take() {
            manager.kill().await;
        }
    }
}

impl Side for Adoption {
    async fn once(&mut self) -> Result<Duration> {
        let doing = || "cannot take the sessions up".to_owned();
        self.kill().await;
        let started = Instant::now();
        let manager = self.site.manager().await.context(doing)?;
        let adopted = manager.run(|manager| async move { manager.adopt().await }).await;
        let taken = started.elapsed();
        self.manager = Some(manager);
        let adopted = adopted.context(doing)?;
        if (adopted.sessions, adopted.failed) == (SESSIONS, 0) {
            return Ok(taken);
        }
        Err(Error::new(format!(
            "of {SESSIONS} sessions, {} were taken up and {} were not",
            adopted.sessions, adopted.failed
        )))
    }
}

/// As the daemon does for itself. Where the machine does not let us, the sessions cannot be made, which is told.
fn allow_files() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(FILES, |most| most.min(FILES));
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            maximum: limit.maximum,
        };
        let _ = setrlimit(Resource::Nofile, raised);
    }
}
