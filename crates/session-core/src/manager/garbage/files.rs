//! What is left in the state directory: directories of no session, sockets and drafts of dead processes.

use std::collections::HashSet;

use session_link::LinkListener;

use super::{Finding, Removal};
use crate::error::{Error, ErrorKind, Result};
use crate::garbage::{GarbageKind, GarbageReport};
use crate::id::SessionId;
use crate::manager::SessionManager;

const OPERATION: &str = "look for what dead processes left";

impl SessionManager {
    /// Removes the directories of sessions that nobody wants and of which nothing is left on the engine, and what dead
    /// processes left in the others.
    pub(in crate::manager) async fn sweep_directories(
        &self,
        still_there: &HashSet<SessionId>,
        report: &mut GarbageReport,
    ) -> Result<()> {
        let foundation = &self.inner.foundation;
        // Before the records are read: a session's record is there before its directory.
        let directories = foundation.state_dir.session_dirs()?;
        let records = foundation.store.listing().await?;
        let mut found = Vec::new();
        let mut wanted = Vec::new();
        for session in directories {
            match self.unwanted(&records, &session).await? {
                Some(_) if still_there.contains(&session) => {}
                Some(reason) => {
                    let name = format!("sessions/{session}");
                    let removal = Removal::Directory(session);
                    found.push(Finding::new(
                        GarbageKind::Directory,
                        name,
                        reason.as_str(),
                        removal,
                    ));
                }
                None => wanted.push(session),
            }
        }
        found.extend(self.stale_sockets(wanted).await?);
        self.sweep(found, report).await;
        Ok(())
    }

    /// Sockets of links that their hosts did not take with them.
    async fn stale_sockets(&self, sessions: Vec<SessionId>) -> Result<Vec<Finding>> {
        let state_dir = self.inner.foundation.state_dir.clone();
        blocking(move || {
            let mut found = Vec::new();
            for session in sessions {
                let directory = state_dir.session_dir(&session).join("link");
                // Without a link there is nothing to find, and what cannot be looked at is looked at the next time.
                for file in LinkListener::stale(&directory).unwrap_or_default() {
                    let name = format!("sessions/{session}/link/{file}");
                    let removal = Removal::Socket {
                        directory: directory.clone(),
                        file,
                    };
                    let reason = "the process that listened on it has ended";
                    found.push(Finding::new(GarbageKind::Socket, name, reason, removal));
                }
            }
            Ok(found)
        })
        .await
    }

    /// Drafts whose maker is gone.
    pub(super) async fn abandoned_files(&self) -> Result<Vec<Finding>> {
        let state_dir = self.inner.foundation.state_dir.clone();
        blocking(move || {
            let found = state_dir.abandoned_drafts()?.into_iter().map(|path| {
                let (name, reason) = (path.display().to_string(), "the process that wrote it has ended");
                Finding::new(GarbageKind::File, name, reason, Removal::File(path))
            });
            Ok(found.collect())
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|source| {
        Error::new(ErrorKind::Cancelled, OPERATION, "it was broken off").with_source(source)
    })?
}
