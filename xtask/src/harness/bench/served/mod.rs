//! The daemon: what a request costs, a subscriber, and having it run at all.
//!
//! Each measurement has a daemon and a state directory of its own, so that nothing but what is measured is in the figure.

mod load;
mod subscribers;

use std::time::Duration;

use futures::future::try_join_all;
use session_core::api::SessionApi;
use session_core::id::SessionId;
use session_core::session::CreateSession;
use xtask::error::{Context, Result};

use super::cases::Figures;
use super::memory::resident;
use super::{Lab, scripted};
use crate::daemon::Daemon;
use crate::lab::State;

pub(super) use self::load::list;
pub(super) use self::subscribers::{event, subscribers};

/// How many sessions an idle daemon is measured with.
const SESSIONS: usize = 24;
/// How long it is left alone before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(3);

/// What the daemon has resident with nothing to do.
pub(super) async fn memory(lab: &mut Lab) -> Result<Figures> {
    let served = Served::start(lab).await?;
    let idle = served.resident().await;
    served.stop().await?;
    Ok(Figures::Bytes(idle?))
}

/// What each of the idle sessions adds to that.
pub(super) async fn session_memory(lab: &mut Lab) -> Result<Figures> {
    let served = Served::start(lab).await?;
    let measured = async {
        let idle = served.resident().await?;
        served.sessions(SESSIONS).await?;
        Ok(served.resident().await?.saturating_sub(idle) / SESSIONS as u64)
    };
    let measured = measured.await;
    served.stop().await?;
    Ok(Figures::Bytes(measured?))
}

/// A daemon that is measured.
pub(super) struct Served {
    pub(super) daemon: Daemon,
    pub(super) state: State,
}

impl Served {
    /// Started by a command, as always.
    pub(super) async fn start(lab: &Lab) -> Result<Self> {
        let state = State::new()?;
        let daemon = Daemon::new(state.path(), &lab.host, &scripted(&lab.model.url()), [])?;
        daemon.run(["ls"]).await?;
        Ok(Self { daemon, state })
    }

    /// Sessions that do nothing.
    pub(super) async fn sessions(&self, count: usize) -> Result<Vec<SessionId>> {
        let api = self.daemon.sessions();
        let made = try_join_all((0..count).map(|_| api.create(CreateSession::default()))).await;
        let made = made.context(|| "cannot make the sessions".to_owned())?;
        Ok(made.into_iter().map(|session| session.id).collect())
    }

    pub(super) async fn resident(&self) -> Result<u64> {
        let process = self.daemon.process().await?;
        tokio::time::sleep(SETTLE).await;
        resident(process)
    }

    /// Ends its sessions and then itself, whatever became of the measurement.
    pub(super) async fn stop(self) -> Result<()> {
        let ended = self.end_sessions().await;
        self.daemon.stop().await?;
        ended
    }

    async fn end_sessions(&self) -> Result<()> {
        let doing = || "cannot end the sessions".to_owned();
        let api = self.daemon.sessions();
        let sessions = api.list(Default::default()).await.context(doing)?;
        let ending = sessions.iter().map(|session| api.destroy(&session.id));
        try_join_all(ending).await.context(doing).map(drop)
    }
}
