//! Logins at HTTP servers (OAuth 2.1): made once by a person, renewed without one, kept on the host.
//!
//! ```text
//! login ─▶ discovery, registration, URL for the person ─▶ redirect to 127.0.0.1 ─▶ tokens ─▶ file
//! call  ─▶ file ─▶ token; nearly expired or refused ─▶ renewed, by one of all who want that ─▶ file
//! ```
//!
//! The protocol library speaks OAuth; every request that it makes goes through the same gate as those to the server. A
//! token goes to the endpoint for which it was made and to no other, whatever has that server's name later.

mod errand;
mod flow;
mod store;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use hyper::Uri;
use rmcp::transport::auth::{AuthError, AuthorizationManager, OAuthClientConfig};
use secrecy::{ExposeSecret as _, SecretString};
use session_core::mcp::ServerName;
use tokio::sync::Mutex;

use self::errand::Errands;
pub use self::flow::LoggedIn;
pub(super) use self::flow::{Inquiry, run};
use self::store::{Kept, Store};
use super::call::FailureCause;
use super::upstream::{Gate, Reason, one_line};

/// The login of one server. Cheap to clone; all clones renew it together.
#[derive(Clone)]
pub(super) struct Login(Arc<Inner>);

struct Inner {
    server: ServerName,
    endpoint: Uri,
    store: Store,
    gate: Gate,
    /// The client's own secret, when the operator gave it one.
    client_secret: Option<SecretString>,
    /// Held by whoever renews.
    renewing: Arc<Mutex<()>>,
}

impl Login {
    /// The login at `endpoint`, whether there is one or not.
    pub(super) fn new(
        server: ServerName,
        endpoint: Uri,
        directory: &Path,
        gate: Gate,
        client_secret: Option<SecretString>,
    ) -> Self {
        let store = Store::new(directory, &server);
        Self(Arc::new(Inner {
            server,
            endpoint,
            store,
            gate,
            client_secret,
            renewing: Arc::default(),
        }))
    }

    /// A person has to log in.
    pub(super) fn needed(&self) -> Reason {
        let told = format!("a person has to log in: cofferdam mcp login {}", self.0.server);
        (FailureCause::NeedsLogin, told)
    }

    /// A token that is good for a while.
    pub(super) async fn token(&self) -> Result<SecretString, Reason> {
        let kept = self.kept().await?;
        if kept.is_fresh() {
            return Ok(kept.access_token());
        }
        self.renew(&kept.access_token()).await
    }

    /// Another token than the one that was refused.
    pub(super) async fn renewed(&self, refused: &SecretString) -> Result<SecretString, Reason> {
        self.renew(refused).await
    }

    async fn kept(&self) -> Result<Kept, Reason> {
        let kept = self.0.store.load().await.map_err(|error| unusable(&error))?;
        kept.filter(|kept| kept.is_for(&self.0.endpoint))
            .ok_or_else(|| self.needed())
    }

    /// Renews the login, unless somebody else has done so since `old` was read: in this process or another.
    async fn renew(&self, old: &SecretString) -> Result<SecretString, Reason> {
        let renewing = Arc::clone(&self.0.renewing).lock_owned().await;
        let locked = self.0.store.lock().await.map_err(|error| unusable(&error))?;
        let kept = self.kept().await?;
        let current = kept.access_token();
        if current.expose_secret() != old.expose_secret() && kept.is_fresh() {
            return Ok(current);
        }
        if !kept.is_renewable() {
            return Err(self.needed());
        }
        tracing::debug!(server = %self.0.server, "a login is renewed");
        let login = self.clone();
        // Seen to its end whatever becomes of the request that wants it: the old token is used up before the new one is
        // kept. There is one such task at a time, and its requests have their own deadlines.
        let refreshing = tokio::spawn(async move {
            let _held = (renewing, locked);
            login.refreshed(&kept).await
        });
        let lost = |_| Err((FailureCause::Silent, "its login could not be renewed".to_owned()));
        refreshing.await.unwrap_or_else(lost)
    }

    async fn refreshed(&self, kept: &Kept) -> Result<SecretString, Reason> {
        match self.refresh(kept).await {
            Ok(()) => Ok(self.kept().await?.access_token()),
            Err(AuthError::TokenRefreshRejected(_) | AuthError::AuthorizationRequired) => Err(self.needed()),
            Err(error) => {
                tracing::warn!(server = %self.0.server, "a login could not be renewed: {}", told(&error));
                let detail = format!("its login could not be renewed: {}", told(&error));
                Err((FailureCause::Silent, detail))
            }
        }
    }

    async fn refresh(&self, kept: &Kept) -> Result<(), AuthError> {
        let errands = Arc::new(Errands::new(self.0.gate.clone()));
        let url = self.0.endpoint.to_string();
        let mut manager = AuthorizationManager::new_with_oauth_http_client(url, errands).await?;
        manager.set_credential_store(self.0.store.writer(kept.clone()));
        let found = manager.resolve_metadata().await?;
        if kept.issuer().is_some() && kept.issuer() != found.metadata.issuer.as_deref() {
            // The token would be handed to somebody else than who gave it.
            return Err(AuthError::AuthorizationRequired);
        }
        manager.set_metadata(found.metadata);
        let mut client = OAuthClientConfig::new(kept.client_id(), kept.redirect_uri());
        let secret = self.0.client_secret.as_ref().or(kept.client_secret());
        if let Some(secret) = secret {
            client = client.with_client_secret(secret.expose_secret());
        }
        manager.configure_client(client)?;
        manager.refresh_token().await.map(drop)
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("server", &self.0.server)
            .finish_non_exhaustive()
    }
}

/// Forgets the login at a server; whether there was one.
pub(super) async fn forget(directory: &Path, server: &ServerName) -> Result<bool, Reason> {
    let removed = Store::new(directory, server).remove().await;
    removed.map_err(|error| {
        let detail = format!("its login cannot be taken away: {}", error.kind());
        (FailureCause::Unavailable, detail)
    })
}

/// Whether there is a login at a server; it may not be good any more.
pub(super) async fn is_there(directory: &Path, server: &ServerName) -> bool {
    matches!(Store::new(directory, server).load().await, Ok(Some(_)))
}

fn unusable(error: &std::io::Error) -> Reason {
    let detail = format!("its login cannot be read on this host: {}", error.kind());
    (FailureCause::Unavailable, detail)
}

/// What went wrong, without what the server sent: that may hold what nobody should read.
fn told(error: &AuthError) -> String {
    match error {
        AuthError::NoAuthorizationSupport => "the server offers no login".to_owned(),
        AuthError::PkceUnsupported => "the authorization server lacks PKCE with S256".to_owned(),
        AuthError::RegistrationFailed(_) => {
            "the authorization server does not register clients by itself: give it `oauth.client_id`"
                .to_owned()
        }
        AuthError::DiscoveryRequestFailed { url, source } => {
            let host = url.host_str().unwrap_or_default();
            one_line(&format!("{host} cannot be asked: {source}"))
        }
        AuthError::AuthorizationServersUnavailable { .. }
        | AuthError::MetadataError(_)
        | AuthError::ProtectedResourceMetadataInvalid { .. } => {
            "what the server publishes about its login is unusable".to_owned()
        }
        AuthError::AuthorizationServerMismatch { .. }
        | AuthError::AuthorizationServerMissingIssuer { .. } => {
            "the answer came from another authorization server than the one that was asked".to_owned()
        }
        AuthError::TokenExchangeFailed(_) => "the authorization server gave no token".to_owned(),
        AuthError::TokenRefreshFailed(_) => "the authorization server gave no new token".to_owned(),
        AuthError::CredentialStoreError(_) => "the login could not be kept on this host".to_owned(),
        _ => "the authorization server answered otherwise than it should".to_owned(),
    }
}
