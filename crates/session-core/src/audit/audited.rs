//! A caller's view of the sessions that writes down what the caller does.
//!
//! Whatever changes something gets a line before it is answered: that it was done, or refused and by which rule, or
//! that it failed. When the line cannot be written, the caller is told so instead of being told that it was done. Where
//! the store makes the change in the caller's own task, the line is in the same transaction. Reading leaves no line.

use std::fmt;
use std::sync::Arc;

use super::act::Act;
use super::{AuditDecision, AuditEntry, AuditLog};
use crate::api::SessionApi;
use crate::error::{Error, ErrorKind, Result};
use crate::id::SessionId;

/// [`SessionApi`] of one caller, with an audit log.
pub struct Audited {
    pub(super) sessions: Arc<dyn SessionApi>,
    pub(super) scribe: Scribe,
}

/// Writes down what one caller does.
pub(super) struct Scribe {
    log: AuditLog,
    actor: Arc<str>,
}

impl fmt::Debug for Audited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audited")
            .field("actor", &self.scribe.actor)
            .finish_non_exhaustive()
    }
}

impl Audited {
    /// What `actor` does with `sessions` is written to `log`. The actor is text for people, such as `token NAME`,
    /// `socket uid 1000` or `embedded uid 1000`; put this around whatever judges what the actor may do, so that
    /// refusals are written too.
    pub fn new(sessions: Arc<dyn SessionApi>, log: AuditLog, actor: impl Into<Arc<str>>) -> Self {
        Self {
            sessions,
            scribe: Scribe::new(log, actor),
        }
    }
}

impl Scribe {
    pub(super) fn new(log: AuditLog, actor: impl Into<Arc<str>>) -> Self {
        Self {
            log,
            actor: actor.into(),
        }
    }

    /// Has `work` done and writes what became of it, before anybody learns that. `detail` tells of what was done.
    pub(super) async fn act<T>(
        &self,
        action: &'static str,
        session: Option<&SessionId>,
        work: impl Future<Output = Result<T>> + Send,
        detail: impl FnOnce(&T) -> Told + Send,
    ) -> Result<T> {
        let act = Act::new(&self.actor, action);
        let abandoned = Abandoned {
            log: Some(self.log.clone()),
            act: act.clone(),
            session: session.copied(),
        };
        let outcome = act.cover(work).await;
        abandoned.was_not();
        let entry = match &outcome {
            Ok(_) if act.is_told() => return outcome,
            Ok(done) => {
                let told = detail(done);
                AuditEntry {
                    detail: told.detail,
                    ..act.entry(session.copied().or(told.session), AuditDecision::Done)
                }
            }
            Err(error) => failure(&act, session, error),
        };
        match self.log.record(entry).await {
            Ok(()) => outcome,
            // What failed is more to know than that it could not be written down.
            Err(unwritten) if outcome.is_err() => {
                tracing::warn!(error = %unwritten, action, "a line of the audit log could not be written");
                outcome
            }
            Err(unwritten) => Err(unwritten.with_context("after it was done", action)),
        }
    }
}

/// What a line tells of something that was done.
#[derive(Default)]
pub(super) struct Told {
    pub(super) session: Option<SessionId>,
    pub(super) detail: Option<String>,
}

impl Told {
    pub(super) fn detail(detail: impl fmt::Display) -> Self {
        Self {
            session: None,
            detail: Some(detail.to_string()),
        }
    }

    pub(super) fn nothing<T>(_: &T) -> Self {
        Self::default()
    }
}

fn failure(act: &Act, session: Option<&SessionId>, error: &Error) -> AuditEntry {
    let decision = if is_refusal(error.kind()) {
        AuditDecision::Refused
    } else {
        AuditDecision::Failed
    };
    AuditEntry {
        rule: Some(error.kind().code().to_owned()),
        // The message is ours; context may have what a caller or an engine said.
        detail: Some(format!("could not {}: {}", error.operation(), error.message())),
        ..act.entry(session.copied(), decision)
    }
}

/// Whether it was judged, instead of tried without success.
fn is_refusal(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::InvalidArgument
            | ErrorKind::NotFound
            | ErrorKind::StateConflict
            | ErrorKind::Busy
            | ErrorKind::IdempotencyMismatch
            | ErrorKind::WorkspaceMissing
            | ErrorKind::WorkspaceRefused
            | ErrorKind::WorkspaceNotWritable
            | ErrorKind::Unsupported
            | ErrorKind::ArchiveRefused
            | ErrorKind::LimitExceeded
            | ErrorKind::StateDirRefused
    )
}

/// Tells of what its caller did not wait for: it may be done or not.
struct Abandoned {
    log: Option<AuditLog>,
    act: Act,
    session: Option<SessionId>,
}

impl Abandoned {
    fn was_not(mut self) {
        self.log = None;
    }
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        let Some(log) = self.log.take() else {
            return;
        };
        let entry = AuditEntry {
            rule: Some(ErrorKind::Cancelled.code().to_owned()),
            detail: Some("its caller went away before it was answered".to_owned()),
            ..self.act.entry(self.session, AuditDecision::Failed)
        };
        // Nothing was acknowledged, so nobody waits for the line; at the end of a process there is nobody to write it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = log.record(entry).await {
                    tracing::debug!(%error, "the audit log was closed before a line was written");
                }
            });
        }
    }
}
