//! The lifecycle API as one caller sees it.
//!
//! Whoever sees only sessions of their own cannot tell one of somebody else from one that never was: for both, the same
//! question goes to the store and the same failure comes back, whatever was to be done.

mod api;
mod places;
mod refusal;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use session_core::api::SessionApi;
use session_core::checkpoint::RestoreRequest;
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::SessionId;
use session_core::session::{CreateSession, SessionFilter, SessionInfo};

use self::places::Handed;
use crate::caller::{Caller, Scope};

pub(crate) use self::refusal::{Forbidden, unsupported};

/// See the module.
pub(crate) struct Scoped {
    api: Arc<dyn SessionApi>,
    caller: Caller,
    projects: Option<PathBuf>,
}

impl Scoped {
    /// `projects` is where the directories are that callers without the scope `admin` may hand to sessions.
    pub(crate) fn new(api: Arc<dyn SessionApi>, caller: Caller, projects: Option<PathBuf>) -> Self {
        Self {
            api,
            caller,
            projects,
        }
    }

    fn name(&self) -> &str {
        self.caller.name().unwrap_or_default()
    }

    fn may(&self, operation: &'static str, scope: Scope) -> Result<()> {
        if self.caller.scope() >= scope {
            Ok(())
        } else {
            Err(refusal::forbidden(operation, scope))
        }
    }

    /// Makes a session, and puts it away again when it got something else of the host than was judged: what another session
    /// works on may be swapped between the two.
    async fn make(
        &self,
        request: CreateSession,
        handed: Handed,
        judged_at: Timestamp,
    ) -> Result<SessionInfo> {
        let info = self.api.create(request).await?;
        self.keep_if_judged(info, handed, judged_at).await
    }

    /// The same for a session that is made as another one was.
    async fn bring_back(&self, request: RestoreRequest) -> Result<SessionInfo> {
        let judged_at = Timestamp::now();
        let before = self.api.session(&request.session).await?;
        let asked = CreateSession {
            workspace: before.workspace.clone(),
            mounts: before.mounts.clone(),
            ..CreateSession::default()
        };
        let (judged, handed) = places::judge(self.projects.clone(), asked).await?;
        // What is made has the directories of the record, so they have to be what was judged.
        if judged.workspace != before.workspace || judged.mounts != before.mounts {
            return Err(places::moved());
        }
        let info = self.api.restore(request).await?;
        if info.id == before.id {
            return Ok(info);
        }
        self.keep_if_judged(info, handed, judged_at).await
    }

    async fn keep_if_judged(
        &self,
        info: SessionInfo,
        handed: Handed,
        judged_at: Timestamp,
    ) -> Result<SessionInfo> {
        if handed.reached(&info).await {
            return Ok(info);
        }
        tracing::warn!(session = %info.id, "a directory was moved while a session was made of it");
        // One that was made before, under the same idempotency key, has what was judged then.
        if info.created_at >= judged_at {
            self.api.destroy(&info.id).await?;
        }
        Err(places::moved())
    }

    /// The session, if it exists for the caller.
    async fn find(&self, session: &SessionId) -> Result<SessionInfo> {
        match self.api.session(session).await {
            Ok(info) if self.sees(&info) => Ok(info),
            Ok(_) => Err(unknown(session)),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(unknown(session)),
            Err(error) => Err(error),
        }
    }

    /// Refuses sessions that do not exist for the caller. One that sees all is told by the operation itself.
    async fn check(&self, session: &SessionId) -> Result<()> {
        if self.caller.sees_all() {
            return Ok(());
        }
        self.find(session).await.map(drop)
    }

    async fn check_change(&self, operation: &'static str, session: &SessionId) -> Result<()> {
        self.may(operation, Scope::Use)?;
        self.check(session).await
    }

    fn sees(&self, info: &SessionInfo) -> bool {
        self.caller.sees_all() || info.owner.as_deref() == Some(self.name())
    }

    /// The sessions that the caller ever had; `None` when all exist for them.
    async fn own(&self) -> Result<Option<HashSet<SessionId>>> {
        if self.caller.sees_all() {
            return Ok(None);
        }
        let filter = SessionFilter {
            all: true,
            owner: Some(self.name().to_owned()),
            ..SessionFilter::default()
        };
        let own = self.api.list(filter).await?;
        Ok(Some(own.into_iter().map(|info| info.id).collect()))
    }
}

fn unknown(session: &SessionId) -> Error {
    Error::new(
        ErrorKind::NotFound,
        "find the session",
        "there is no such session",
    )
    .with_context("session", session)
    .with_hint("see `cofferdam ls --all`")
}
