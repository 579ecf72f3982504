//! What the proxy knows of each session: its token, its providers, its account, and how much it has open.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use secrecy::{ExposeSecret, SecretString};
use session_core::gateway::{DoorEvent, ModelFailure};
use session_core::id::SessionId;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::accounts::{Account, Accounts, Terms};
use super::activity::{self, Activity};
use super::config::Limits;
use super::provider::Lineup;
use super::refusal::Refusal;
use super::usage::Usage;

/// What a session presents and what it is given; replaced as one when it is registered again.
struct Grant {
    token: SecretString,
    lineup: Arc<Lineup>,
    /// The provider that answered last, once it is not the preferred one.
    provider: Option<String>,
}

/// One registered session.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    grant: RwLock<Grant>,
    pub(crate) account: Arc<Account>,
    pub(crate) activity: Arc<Activity>,
    usage: watch::Sender<Usage>,
    requests: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    /// Cancelled when the session is forgotten.
    pub(crate) forgotten: CancellationToken,
}

impl Session {
    fn new(id: SessionId, grant: Grant, account: Arc<Account>, limits: &Limits) -> Self {
        Self {
            id,
            grant: RwLock::new(grant),
            account,
            activity: Arc::default(),
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

    /// The providers that its requests may go to.
    pub(crate) fn lineup(&self) -> Arc<Lineup> {
        let grant = self.grant.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&grant.lineup)
    }

    /// Notes which provider answers now; says whether it is another one than before.
    pub(crate) fn goes_to(&self, provider: &str, preferred: &str) -> bool {
        let is_same = |last: &Option<String>| last.as_deref().unwrap_or(preferred) == provider;
        let grant = self.grant.read().unwrap_or_else(PoisonError::into_inner);
        if is_same(&grant.provider) {
            return false;
        }
        drop(grant);
        let mut grant = self.grant.write().unwrap_or_else(PoisonError::into_inner);
        let changed = !is_same(&grant.provider);
        grant.provider = Some(provider.to_owned());
        changed
    }

    pub(crate) fn watch_usage(&self) -> watch::Receiver<Usage> {
        self.usage.subscribe()
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Usage)) {
        self.usage.send_modify(change);
    }

    /// A place for one more connection; given back when dropped.
    pub(crate) fn connection(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.connections).try_acquire_owned().ok()
    }

    /// A place for one more request; given back when dropped.
    pub(crate) fn request(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.requests).try_acquire_owned().ok()
    }

    /// A request was answered here and not sent on.
    pub(crate) fn refused(&self, refusal: Refusal) {
        self.count(|usage| usage.refused_requests += 1);
        if let Some(how) = activity::failure_of_refusal(refusal) {
            self.provider_failed(how, &Handle::current());
        }
    }

    /// The provider failed; says so when that is news.
    pub(crate) fn provider_failed(&self, how: ModelFailure, runtime: &Handle) {
        if self.activity.failed(how) {
            self.account
                .record(DoorEvent::ModelFailing { failure: how }, runtime);
        }
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
        lineup: Arc<Lineup>,
        terms: Terms,
        accounts: &Accounts,
        limits: &Limits,
    ) {
        let grant = Grant {
            token,
            lineup,
            provider: None,
        };
        let mut sessions = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match sessions.get(&id) {
            Some(session) => {
                *session.grant.write().unwrap_or_else(PoisonError::into_inner) = grant;
                session.account.agree(terms);
            }
            None => {
                let account = accounts.open(id, terms);
                sessions.insert(id, Arc::new(Session::new(id, grant, account, limits)));
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
    pub(crate) fn remove(&self, id: &SessionId) -> Option<Arc<Session>> {
        let removed = self.0.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        if let Some(session) = &removed {
            session.forgotten.cancel();
        }
        removed
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sessions = self.0.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_set().entries(sessions.keys()).finish()
    }
}
