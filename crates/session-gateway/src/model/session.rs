//! What the proxy knows of each session: its token, its own credential, its account, and how much it has open.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use secrecy::{ExposeSecret, SecretString};
use session_core::id::SessionId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::config::Limits;
use super::credential::Credential;
use super::usage::{Tokens, Usage};

/// What a session presents and what it is given; replaced as one when it is registered again.
struct Grant {
    token: SecretString,
    credential: Option<Credential>,
}

/// One registered session.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    grant: RwLock<Grant>,
    usage: watch::Sender<Usage>,
    requests: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    /// Cancelled when the session is forgotten.
    pub(crate) forgotten: CancellationToken,
}

impl Session {
    fn new(id: SessionId, grant: Grant, limits: &Limits) -> Self {
        Self {
            id,
            grant: RwLock::new(grant),
            usage: watch::Sender::default(),
            requests: Arc::new(Semaphore::new(limits.max_concurrent_requests)),
            connections: Arc::new(Semaphore::new(limits.max_connections)),
            forgotten: CancellationToken::new(),
        }
    }

    /// Runs `check` on the session's token.
    pub(crate) fn with_token<T>(&self, check: impl FnOnce(&[u8]) -> T) -> T {
        let grant = self.grant.read().unwrap_or_else(PoisonError::into_inner);
        check(grant.token.expose_secret().as_bytes())
    }

    /// The session's own credential, if it has one.
    pub(crate) fn credential(&self) -> Option<Credential> {
        self.grant
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .credential
            .clone()
    }

    pub(crate) fn watch_usage(&self) -> watch::Receiver<Usage> {
        self.usage.subscribe()
    }

    /// A place for one more connection; given back when dropped.
    pub(crate) fn connection(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.connections).try_acquire_owned().ok()
    }

    /// A place for one more request; given back when dropped.
    pub(crate) fn request(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.requests).try_acquire_owned().ok()
    }

    pub(crate) fn refused(&self) {
        self.usage.send_modify(|usage| usage.refused_requests += 1);
    }
}

/// One request that was sent on: keeps the account up to date, and the request's place until its answer is through.
pub(crate) struct Exchange {
    session: Arc<Session>,
    counted: Tokens,
    failed: bool,
    _place: OwnedSemaphorePermit,
}

impl Exchange {
    pub(crate) fn begin(session: Arc<Session>, place: OwnedSemaphorePermit) -> Self {
        session.usage.send_modify(|usage| {
            usage.requests += 1;
            usage.in_flight += 1;
        });
        Self {
            session,
            counted: Tokens::default(),
            failed: false,
            _place: place,
        }
    }

    /// The answer has used this much in all so far.
    pub(crate) fn used(&mut self, total: Tokens) {
        if total != self.counted {
            let more = total.since(self.counted);
            self.counted = total;
            self.session.usage.send_modify(|usage| usage.add(more));
        }
    }

    /// The request failed. Counts once.
    pub(crate) fn failed(&mut self) {
        if !std::mem::replace(&mut self.failed, true) {
            self.session.usage.send_modify(|usage| usage.failed_requests += 1);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.session
            .usage
            .send_modify(|usage| usage.in_flight = usage.in_flight.saturating_sub(1));
    }
}

/// The registered sessions. Its lock is held for a look-up and never across an await.
#[derive(Default)]
pub(crate) struct Sessions(RwLock<HashMap<SessionId, Arc<Session>>>);

impl Sessions {
    /// Adds a session, or replaces the grant of one; its account and its connections go on.
    pub(crate) fn put(
        &self,
        id: SessionId,
        token: SecretString,
        credential: Option<Credential>,
        limits: &Limits,
    ) {
        let grant = Grant { token, credential };
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
