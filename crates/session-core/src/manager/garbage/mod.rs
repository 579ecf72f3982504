//! Garbage: what we made and nobody wants any more, found first and removed then.
//!
//! What is found says why it is garbage, and removing it is a step of its own: so a dry run tells what a run would do, and a
//! run does exactly that. Nothing is garbage but what our signature, or our own directory, proves to be ours.
//!
//! | module | what it finds |
//! |---|---|
//! | [`orphans`] | containers and storage of no session |
//! | [`files`] | directories of no session, sockets and drafts of dead processes |
//! | [`stale`] | what the runtime keeps for itself: helpers, toolboxes, derived images |

mod files;
mod orphans;
mod stale;

use std::path::PathBuf;

use futures::StreamExt;

pub(super) use self::orphans::belongs_to;
pub(super) use self::stale::STALE_EVERY;
use super::SessionManager;
use crate::audit::{AuditDecision, AuditEntry};
use crate::error::{Error, Result};
use crate::garbage::{Garbage, GarbageKind, GarbageReport};
use crate::id::{ContainerName, SessionId};

/// How many containers are removed at once.
const AT_ONCE: usize = 8;

/// Something that is garbage, and how it is removed.
struct Finding {
    garbage: Garbage,
    removal: Removal,
}

enum Removal {
    Container(ContainerName),
    Stale,
    Directory(SessionId),
    Socket {
        directory: PathBuf,
        file: String,
    },
    File(PathBuf),
    /// Nobody wants it, and it is not ours to remove.
    None,
}

impl Removal {
    /// Whose it was.
    fn session(&self) -> Option<SessionId> {
        match self {
            Self::Container(name) => ContainerName::session(name.as_str()),
            Self::Directory(session) => Some(*session),
            _ => None,
        }
    }
}

impl Finding {
    fn new(kind: GarbageKind, name: impl Into<String>, reason: impl Into<String>, removal: Removal) -> Self {
        Self {
            garbage: Garbage {
                kind,
                name: name.into(),
                reason: reason.into(),
            },
            removal,
        }
    }
}

impl SessionManager {
    /// Removes all that no session wants, what costs the engine more to find included, or says what would be removed.
    pub(super) async fn collect(&self, dry_run: bool) -> Result<GarbageReport> {
        let _alone = self.inner.sweeping.lock().await;
        let mut report = self.reconcile_once(dry_run).await?;
        self.sweep_stale(&mut report).await?;
        Ok(report)
    }

    /// What the runtime and this directory keep beside sessions.
    pub(super) async fn sweep_stale(&self, report: &mut GarbageReport) -> Result<()> {
        let mut found = self.abandoned_files().await?;
        found.extend(self.stale_things().await?);
        self.sweep(found, report).await;
        let checkpoints = self.collect_checkpoints(report.dry_run).await?;
        if !report.dry_run {
            for checkpoint in &checkpoints {
                self.tell_removed(checkpoint, None).await;
            }
        }
        report.removed.extend(checkpoints);
        Ok(())
    }

    /// Removes what was found, or says that it would.
    async fn sweep(&self, found: Vec<Finding>, report: &mut GarbageReport) {
        let (containers, rest): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|finding| matches!(finding.removal, Removal::Container(_)));
        let dry_run = report.dry_run;
        let removing = containers
            .into_iter()
            .map(|finding| self.settle(finding, dry_run));
        let mut removing = futures::stream::iter(removing).buffered(AT_ONCE);
        while let Some(settled) = removing.next().await {
            note(report, settled);
        }
        // In order: a volume is free when its container is gone.
        for finding in rest {
            note(report, self.settle(finding, dry_run).await);
        }
    }

    /// What became of it, or would: removed, or left with the reason.
    async fn settle(&self, finding: Finding, dry_run: bool) -> Result<Garbage, Garbage> {
        let Finding { garbage, removal } = finding;
        if matches!(removal, Removal::None) {
            return Err(garbage);
        }
        if dry_run {
            return Ok(garbage);
        }
        let session = removal.session();
        match self.remove(&garbage, removal).await {
            Ok(true) => {
                self.tell_removed(&garbage, session).await;
                Ok(garbage)
            }
            Ok(false) => Err(Garbage {
                reason: "it is in use".to_owned(),
                ..garbage
            }),
            Err(error) => Err(Garbage {
                reason: error.to_string(),
                ..garbage
            }),
        }
    }

    /// One line for one thing that was removed; a run that removed nothing writes none. Nobody is told of the removal before,
    /// and what is gone stays gone when the line cannot be written.
    async fn tell_removed(&self, garbage: &Garbage, session: Option<SessionId>) {
        let Garbage { kind, name, reason } = garbage;
        tracing::info!(?kind, name, reason, "garbage was removed");
        let entry = AuditEntry {
            actor: "reconciler".to_owned(),
            action: format!("remove_{}", kind.as_str()),
            session,
            decision: AuditDecision::Done,
            rule: None,
            detail: Some(format!("{name}: {reason}")),
        };
        if let Err(error) = self.inner.audit.record(entry).await {
            tracing::warn!(%error, name, "a removal could not be written to the audit log");
        }
    }

    async fn remove(&self, garbage: &Garbage, removal: Removal) -> Result<bool> {
        let foundation = &self.inner.foundation;
        match removal {
            Removal::Container(name) => {
                fail::fail_point!("manager.orphan.before");
                foundation.runtime.remove(&name).await?;
            }
            Removal::Stale => return foundation.runtime.remove_stale(garbage).await,
            Removal::Directory(session) => foundation.state_dir.remove_session_dir(&session)?,
            Removal::Socket { directory, file } => {
                session_link::LinkListener::remove_stale(&directory, &file).map_err(|source| {
                    Error::new(
                        crate::error::ErrorKind::HostIo,
                        "remove a socket",
                        "the host's file system refused",
                    )
                    .with_source(source)
                })?;
            }
            Removal::File(path) => foundation.state_dir.remove_abandoned(&path)?,
            Removal::None => return Ok(false),
        }
        Ok(true)
    }
}

fn note(report: &mut GarbageReport, settled: Result<Garbage, Garbage>) {
    match settled {
        Ok(removed) => report.removed.push(removed),
        Err(left) => report.left.push(left),
    }
}
