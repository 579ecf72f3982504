//! Who works in a session.

use std::time::Duration;

use session_link::{Link, ProcessInfo, ProcessState};

use super::Keeper;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{CommandId, SessionId};
use crate::manager::SessionManager;
use crate::session::SessionInfo;
use crate::state::Operation;
use crate::state_dir::{WorkLock, WorkStamp};
use crate::store::SessionRecord;

/// How long one waits who wants to work in a session that somebody is about to end: it is decided in an instant.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

/// Held for as long as somebody works in a session. Nothing for sessions that do not end for idleness.
#[derive(Debug, Default)]
pub(in crate::manager) struct AtWork(#[expect(dead_code, reason = "held, never read")] Option<WorkLock>);

/// What can be seen of the work in a session without asking its container.
pub(super) struct Seen {
    pub(super) held: bool,
    pub(super) stamp: Option<WorkStamp>,
}

impl SessionManager {
    /// Begins to work in a session.
    ///
    /// # Errors
    /// `StateConflict` when the session ends, because it had nothing to do until now.
    pub(in crate::manager) async fn begin_work(
        &self,
        record: &SessionRecord,
        operation: &'static str,
    ) -> Result<AtWork> {
        if record.info.lifetime.idle_ms.is_none() {
            return Ok(AtWork::default());
        }
        let (dir, session) = (&self.inner.foundation.state_dir, &record.info.id);
        let patience = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(lock) = dir.try_work(session)? {
                return Ok(AtWork(Some(lock)));
            }
            if tokio::time::Instant::now() > patience {
                return Err(Error::new(
                    ErrorKind::StateConflict,
                    operation,
                    "the session ends because it had nothing to do for too long",
                )
                .with_context("session", session)
                .with_hint("create a new one"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether commands run in a session, whoever started them.
    pub(super) async fn runs_commands(&self, record: &SessionRecord) -> Result<bool> {
        Ok(self.running_commands(record).await?.is_some())
    }

    /// Counts as work what runs in a session and nobody watches: commands that outlived who started them.
    pub(super) async fn adopt_commands(&self, session: &SessionId) -> Result<()> {
        let record = self.record(session, "look for commands").await?;
        let running = self.running_commands(&record).await?;
        let Some((link, commands)) = running else {
            return Ok(());
        };
        let work = self.begin_work(&record, "look for commands").await?;
        let (stop, at_work) = (self.inner.shutdown.clone(), self.inner.foundation.work.token());
        self.inner.tasks.spawn(async move {
            let ended = crate::manager::commands::until_ended(&link, &commands);
            // Both arms only look; the commands go on whatever becomes of this task.
            tokio::select! { () = stop.cancelled() => {}, () = ended => {} }
            drop((work, at_work));
        });
        Ok(())
    }

    /// The commands that run in a session, whoever started them; `None` when there are none, or when nothing can run.
    async fn running_commands(
        &self,
        record: &SessionRecord,
    ) -> Result<Option<(Link, Vec<session_link::ProcessId>)>> {
        if record.info.state.permits(Operation::Command).is_err() {
            return Ok(None);
        }
        let (link, _) = self.driver(record).link().await?;
        let processes = link
            .processes()
            .await
            .map_err(|error| crate::link_error::from_link("look for commands", error))?;
        let commands: Vec<_> = processes
            .into_iter()
            .filter(is_running_command)
            .map(|process| process.id)
            .collect();
        Ok((!commands.is_empty()).then_some((link, commands)))
    }
}

/// Terminals count by who looks at them, and what is neither is the agent's or the gateway's.
fn is_running_command(process: &ProcessInfo) -> bool {
    process.state == ProcessState::Running
        && process.terminal.is_none()
        && process.id.as_str().parse::<CommandId>().is_ok()
}

impl Keeper {
    pub(super) fn work_in(&self, info: &SessionInfo) -> Seen {
        let nothing = Seen {
            held: false,
            stamp: None,
        };
        if info.lifetime.idle_ms.is_none() {
            return nothing;
        }
        let dir = &self.manager.inner.foundation.state_dir;
        let seen = dir.work_stamp(&info.id).and_then(|stamp| {
            let held = stamp.is_some() && dir.try_end_work(&info.id)?.is_none();
            Ok(Seen { held, stamp })
        });
        seen.unwrap_or_else(|error| {
            tracing::warn!(session = %info.id, %error, "nobody can tell whether somebody works in the session");
            // What cannot be told counts as work: nobody loses anything by it.
            Seen {
                held: true,
                ..nothing
            }
        })
    }
}
