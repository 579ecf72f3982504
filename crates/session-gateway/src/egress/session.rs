//! What the door knows of each session: its policy, its ledger, how much it moved and has open.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use session_core::egress::{DenialReason, EgressDecision};
use session_core::error::Result;
use session_core::gateway::{DoorEvent, Ledger};
use session_core::id::SessionId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::config::EgressLimits;
use super::denial::{Denial, Destination};
use super::journal::Journal;
use super::meter::Meter;
use super::policy::Policy;

/// What a session used since it was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EgressUsage {
    /// Bytes, both ways.
    pub bytes: u64,
    /// Connections that are open.
    pub connections: usize,
}

/// What may be replaced when a session is admitted again.
#[derive(Clone)]
struct Grant {
    policy: Arc<Policy>,
    ledger: Arc<dyn Ledger>,
}

/// One admitted session.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) meter: Meter,
    grant: RwLock<Grant>,
    journal: Journal,
    connections: Arc<Semaphore>,
    max_connections: usize,
    /// Cancelled when the session is forgotten.
    pub(crate) forgotten: CancellationToken,
}

impl Session {
    fn new(id: SessionId, grant: Grant, limits: &EgressLimits) -> Self {
        // Whoever writes down a number without meaning asks for no limit, not for a panic.
        let max_connections = limits.max_connections.min(Semaphore::MAX_PERMITS);
        Self {
            id,
            meter: Meter::new(limits.max_bytes, limits.bytes_per_second),
            grant: RwLock::new(grant),
            journal: Journal::default(),
            connections: Arc::new(Semaphore::new(max_connections)),
            max_connections,
            forgotten: CancellationToken::new(),
        }
    }

    fn grant(&self) -> Grant {
        self.grant.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.grant().policy
    }

    /// What people decided, as it is now.
    pub(crate) async fn decisions(&self) -> Result<Vec<EgressDecision>> {
        self.grant().ledger.decisions().await
    }

    /// A place for one more connection; given back when dropped.
    pub(crate) fn connection(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.connections).try_acquire_owned().ok()
    }

    pub(crate) fn usage(&self) -> EgressUsage {
        EgressUsage {
            bytes: self.meter.moved(),
            connections: self.max_connections - self.connections.available_permits(),
        }
    }

    /// Tells that a host was reached, unless that is no news.
    pub(crate) async fn reached(&self, to: &Destination, rule: &str) {
        let Destination { host, port } = to;
        tracing::debug!(session = %self.id, host, port, rule, "a host is reached");
        self.tell(to, None, || DoorEvent::EgressAllowed {
            host: host.clone(),
            port: *port,
            rule: rule.to_owned(),
        })
        .await;
    }

    /// Tells that a host was denied, unless that is no news.
    pub(crate) async fn denied(&self, denial: &Denial) {
        let Destination { host, port } = &denial.to;
        let reason = denial.reason;
        tracing::info!(session = %self.id, host, port, ?reason, "a host is denied");
        self.tell(&denial.to, Some(reason), || DoorEvent::EgressDenied {
            host: host.clone(),
            port: *port,
            reason,
        })
        .await;
    }

    async fn tell(&self, to: &Destination, reason: Option<DenialReason>, event: impl FnOnce() -> DoorEvent) {
        if !self.journal.is_news(&to.host, to.port, reason) {
            return;
        }
        if let Err(error) = self.grant().ledger.record(event()).await {
            // The next time is the first that anybody hears of it: a person waits for this to decide about.
            self.journal.take_back(&to.host, to.port, reason);
            tracing::warn!(session = %self.id, %error, "what happened at the egress door could not be recorded");
        }
    }
}

/// The admitted sessions. Its lock is held for a look-up and never across an await.
#[derive(Default)]
pub(crate) struct Sessions(RwLock<HashMap<SessionId, Arc<Session>>>);

impl Sessions {
    /// Adds a session, or replaces the grant of one; what it moved and has open goes on.
    pub(crate) fn put(&self, id: SessionId, policy: Policy, ledger: Arc<dyn Ledger>, limits: &EgressLimits) {
        let grant = Grant {
            policy: Arc::new(policy),
            ledger,
        };
        let mut sessions = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match sessions.get(&id) {
            Some(session) => *session.grant.write().unwrap_or_else(PoisonError::into_inner) = grant,
            None => {
                sessions.insert(id, Arc::new(Session::new(id, grant, limits)));
            }
        }
    }

    pub(crate) fn get(&self, id: &SessionId) -> Option<Arc<Session>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned()
    }

    /// Takes a session out and ends its connections.
    pub(crate) fn remove(&self, id: &SessionId) {
        let removed = self.0.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        if let Some(session) = removed {
            session.forgotten.cancel();
        }
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sessions = self.0.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_set().entries(sessions.keys()).finish()
    }
}
