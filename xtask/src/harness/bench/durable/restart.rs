//! A daemon that was killed and started again: when each of its sessions answers as if nothing had been.

use std::process::Stdio;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use session_core::api::SessionApi;
use session_core::session::SessionDetails;
use session_core::state::SessionState;
use tokio::process::Child;
use xtask::error::{Context, Error, Result};

use super::super::Lab;
use super::super::cases::Figures;
use super::super::pairs::{Side, repeat};
use super::super::served::Served;

const SESSIONS: usize = 24;
const ROUNDS: u32 = 10;
/// How long they may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);

/// From the start of the process to the last session's answer. The one before ended with `kill -9`.
pub(in super::super) async fn restart(lab: &mut Lab) -> Result<Figures> {
    let mut ours = Restart {
        served: Served::start(lab).await?,
        child: None,
    };
    let measured = async {
        ours.served.sessions(SESSIONS).await?;
        repeat(lab.rounds(ROUNDS), &mut ours).await
    };
    let measured = measured.await;
    ours.served.stop().await?;
    measured
}

struct Restart {
    served: Served,
    /// The daemon, from the first restart on.
    child: Option<Child>,
}

impl Side for Restart {
    async fn once(&mut self) -> Result<Duration> {
        let daemon = &self.served.daemon;
        daemon.kill().await?;
        let mut serve = daemon.command(["serve"]);
        let serve = serve.stdout(Stdio::null()).stderr(Stdio::null());
        let started = Instant::now();
        let child = serve
            .spawn()
            .context(|| "cannot start the daemon again".to_owned())?;
        // The one before is dead; dropping it only forgets it.
        self.child = Some(child);
        until_all_answer(&self.served).await?;
        Ok(started.elapsed())
    }
}

async fn until_all_answer(served: &Served) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Nobody listens at first: until the deadline no failure is one.
        let outcome = answering(served).await;
        match outcome {
            Ok(SESSIONS) => return Ok(()),
            _ if Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
            Ok(count) => return Err(Error::new(format!("of {SESSIONS} sessions, {count} came back"))),
            Err(error) => return Err(Error::new("the daemon does not answer").source(error)),
        }
    }
}

/// How many sessions are ready and answer over their link.
async fn answering(served: &Served) -> session_core::error::Result<usize> {
    let api = served.daemon.sessions();
    let sessions = api.list(Default::default()).await?;
    let details = try_join_all(sessions.iter().map(|session| api.inspect(&session.id))).await?;
    Ok(details.iter().filter(|details| answers(details)).count())
}

fn answers(details: &SessionDetails) -> bool {
    details.info.state == SessionState::Ready && details.carrier.is_some() && details.resources.is_some()
}
