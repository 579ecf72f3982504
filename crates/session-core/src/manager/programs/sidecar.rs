//! Sidecars: sealed containers that hold one program each and live as long as it does.
//!
//! A sidecar is a session in every respect: recorded before it is made, signed, sealed, reached by a link, with an
//! allow-list that the egress door keeps. So whatever removes what sessions leave behind removes what sidecars leave
//! behind. It differs in three ways: [`SIDECAR_LABEL`] hides it from people who look for their sessions, it has no agent,
//! and it belongs to a process: a lock in its directory is held for as long as it is wanted, and whoever finds the lock
//! free ends it, at the opening of the next manager or when somebody reconciles.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::driver::{LaunchPlan, Request};
use crate::error::{Error, ErrorKind, Result};
use crate::gateway::SidecarSpec;
use crate::id::SessionId;
use crate::lifetime::Lifetime;
use crate::policy;
use crate::policy::mounts::JudgedDir;
use crate::session::{CreateSession, SIDECAR_LABEL, SessionFilter, SessionInfo};
use crate::state::SessionState;
use crate::state_dir::SidecarLock;
use crate::store::SessionRecord;

use super::super::SessionManager;

/// Sidecars of one process, those that are being made or removed included.
pub(in super::super) const MAX_SIDECARS: usize = 64;

/// A sidecar that is wanted.
pub(super) struct Sidecar {
    session: SessionId,
    _lock: SidecarLock,
    /// Given back when nothing of it is left.
    _place: OwnedSemaphorePermit,
}

impl Sidecar {
    pub(super) fn session(&self) -> &SessionId {
        &self.session
    }
}

/// Whether a session is there for a program alone.
pub(in super::super) fn is_sidecar(info: &SessionInfo) -> bool {
    info.labels.contains_key(SIDECAR_LABEL)
}

impl SessionManager {
    pub(super) async fn make_sidecar(&self, spec: SidecarSpec) -> Result<Sidecar> {
        let request = CreateSession {
            name: Some(spec.name.clone()),
            image: spec.image,
            limits: spec.limits,
            mounts: spec.mounts,
            allow: spec.allow,
            ..CreateSession::default()
        };
        policy::limits::validate_create(&request)?;
        let place = self.sidecar_place()?;
        let (mut record, judged) = self.prepare_record(request, None).await?;
        record
            .info
            .labels
            .insert(SIDECAR_LABEL.to_owned(), spec.name.clone());
        // It lives as long as its connection.
        record.info.lifetime = Lifetime::default();
        let session = record.info.id;
        let foundation = &self.inner.foundation;
        foundation.store.insert_session(record.clone()).await?;
        // Before it is ready: only one that is being made is left alone without the lock.
        let lock = foundation.state_dir.try_lock_sidecar(&session).and_then(|lock| {
            lock.ok_or_else(|| {
                Error::new(
                    ErrorKind::Internal,
                    "lock a sidecar",
                    "a new one is locked already",
                )
            })
        });
        let made = match lock {
            Ok(lock) => self
                .launch_sidecar(&record, judged.into_places())
                .await
                .map(|()| lock),
            Err(error) => Err(error),
        };
        match made {
            Ok(lock) => {
                tracing::debug!(%session, name = spec.name, "a sidecar is ready");
                Ok(Sidecar {
                    session,
                    _lock: lock,
                    _place: place,
                })
            }
            Err(error) => {
                self.destroy_quietly(&session).await;
                Err(error.with_context("sidecar", spec.name.escape_debug()))
            }
        }
    }

    /// Servers come and go as their sessions and they themselves will: the engine is not theirs alone.
    fn sidecar_place(&self) -> Result<OwnedSemaphorePermit> {
        let places = Arc::clone(&self.inner.sidecars);
        places.try_acquire_owned().map_err(|_| {
            Error::new(
                ErrorKind::LimitExceeded,
                "make a sidecar",
                "too many MCP servers run in containers of their own",
            )
            .with_context("limit", MAX_SIDECARS)
        })
    }

    async fn launch_sidecar(&self, record: &SessionRecord, places: Vec<JudgedDir>) -> Result<()> {
        let plan = LaunchPlan {
            info: record.info.clone(),
            warm_agent: false,
            account: None,
            restore: None,
            places,
        };
        let driver = self.driver(record);
        driver.ask(|answer| Request::Create(Box::new(plan), answer)).await
    }

    /// Removes a sidecar whose program is not wanted any more. What cannot be removed now is removed when it is reconciled.
    pub(super) async fn end_sidecar(&self, sidecar: Sidecar) {
        self.destroy_quietly(&sidecar.session).await;
    }

    async fn destroy_quietly(&self, session: &SessionId) {
        if let Err(error) = self.destroy_session(session).await {
            tracing::warn!(%session, %error, "a sidecar was not removed; the reconciler will");
        }
    }

    /// Ends the sidecars of processes that are gone.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub(in super::super) async fn end_abandoned_sidecars(&self) -> Result<()> {
        let live = SessionFilter::default();
        for record in self.inner.foundation.store.sessions(&live).await? {
            if is_sidecar(&record.info)
                && let Err(error) = self.end_if_abandoned(&record).await
            {
                tracing::warn!(session = %record.info.id, %error, "an abandoned sidecar was not removed");
            }
        }
        Ok(())
    }

    /// Ends a sidecar if the process that wanted it is gone. One in the making is its maker's, and one that is being
    /// removed is seen to by whoever finishes what was broken off.
    pub(in super::super) async fn end_if_abandoned(&self, record: &SessionRecord) -> Result<bool> {
        let (foundation, id) = (&self.inner.foundation, &record.info.id);
        if matches!(
            record.info.state,
            SessionState::Creating | SessionState::Destroying
        ) {
            return Ok(false);
        }
        let Some(_lock) = foundation.state_dir.try_lock_sidecar(id)? else {
            return Ok(false);
        };
        if self.record(id, "end a sidecar").await?.info.state.is_final() {
            // It was removed in this instant; to look for the lock made its directory again.
            foundation.state_dir.remove_session_dir(id)?;
            return Ok(false);
        }
        self.destroy_session(id).await?;
        Ok(true)
    }
}
