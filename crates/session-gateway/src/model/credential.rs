//! The real credential: held on the host, put into a request at the last moment, replaced without a restart.
//!
//! A credential is looked up when a request is forwarded and not before, so a rotated key is used at the next request of
//! every session. Each one carries the pattern with which answers are searched for it (see `redact`).

use std::fmt;
use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;

use super::redact::Needle;
use crate::error::{GatewayError, GatewayErrorKind};

/// The header in which an API key travels.
pub(crate) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Shorter texts occur in answers by chance, and masking those would damage them.
const MIN_SECRET: usize = 8;

/// How a credential travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    ApiKey,
    Bearer,
}

/// One credential of the provider: an API key, or a bearer token.
#[derive(Clone)]
pub struct Credential(Arc<Inner>);

struct Inner {
    scheme: Scheme,
    header: HeaderValue,
    needle: Arc<Needle>,
}

impl Credential {
    /// An API key, sent as `x-api-key`. White space around it (the line end of a key file) is taken off.
    ///
    /// # Errors
    /// `InvalidCredential` when it is shorter than eight bytes or holds anything but visible ASCII.
    pub fn api_key(secret: &SecretString) -> Result<Self, GatewayError> {
        Self::new(Scheme::ApiKey, secret)
    }

    /// A bearer token, sent as `authorization: Bearer …`. Otherwise like [`Credential::api_key`].
    ///
    /// # Errors
    /// `InvalidCredential` as for [`Credential::api_key`].
    pub fn bearer(secret: &SecretString) -> Result<Self, GatewayError> {
        Self::new(Scheme::Bearer, secret)
    }

    fn new(scheme: Scheme, secret: &SecretString) -> Result<Self, GatewayError> {
        let refuse = |message: &'static str| {
            GatewayError::new(
                GatewayErrorKind::InvalidCredential,
                "read the model provider's credential",
                message,
            )
            .with_hint("give the key as the provider shows it, on one line")
        };
        let text = secret.expose_secret().trim();
        if text.len() < MIN_SECRET {
            return Err(refuse("it is empty or shorter than eight characters"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refuse("it holds something other than visible ASCII characters"));
        }
        let value = match scheme {
            Scheme::ApiKey => HeaderValue::from_str(text),
            Scheme::Bearer => HeaderValue::from_str(&format!("Bearer {text}")),
        };
        let mut header = value.map_err(|_| refuse("it cannot be sent in a header"))?;
        header.set_sensitive(true);
        Ok(Self(Arc::new(Inner {
            scheme,
            header,
            needle: Arc::new(Needle::new(text.as_bytes())),
        })))
    }

    /// Puts the credential in, in the place of whatever was there.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        headers.remove(X_API_KEY);
        headers.remove(AUTHORIZATION);
        let name = match self.0.scheme {
            Scheme::ApiKey => X_API_KEY,
            Scheme::Bearer => AUTHORIZATION,
        };
        headers.insert(name, self.0.header.clone());
    }

    /// What answers are searched for.
    pub(crate) fn needle(&self) -> &Arc<Needle> {
        &self.0.needle
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("scheme", &self.0.scheme)
            .finish_non_exhaustive()
    }
}

/// A shared place for a credential that can change: clones see the same one.
#[derive(Clone)]
pub struct CredentialSource(Arc<watch::Sender<Option<Credential>>>);

impl CredentialSource {
    /// A source that starts with this credential.
    pub fn new(credential: Option<Credential>) -> Self {
        Self(Arc::new(watch::Sender::new(credential)))
    }

    /// Replaces the credential, or takes it away. Requests that are under way go on with the old one.
    pub fn rotate(&self, credential: Option<Credential>) {
        self.0.send_replace(credential);
    }

    /// Whether there is a credential now.
    pub fn is_configured(&self) -> bool {
        self.0.borrow().is_some()
    }

    pub(crate) fn current(&self) -> Option<Credential> {
        self.0.borrow().clone()
    }
}

impl Default for CredentialSource {
    fn default() -> Self {
        Self::new(None)
    }
}

impl fmt::Debug for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialSource")
            .field("configured", &self.is_configured())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "sk-canary-0123456789";

    #[test]
    fn replaces_what_the_session_sent() {
        let mut headers = HeaderMap::new();
        headers.append(X_API_KEY, HeaderValue::from_static("one"));
        headers.append(X_API_KEY, HeaderValue::from_static("two"));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer three"));
        Credential::api_key(&format!("{CANARY}\n").into())
            .unwrap()
            .apply(&mut headers);
        assert_eq!(headers.len(), 1);
        assert_eq!(headers[X_API_KEY], CANARY);

        Credential::bearer(&CANARY.into()).unwrap().apply(&mut headers);
        assert_eq!(headers.len(), 1);
        assert_eq!(headers[AUTHORIZATION], format!("Bearer {CANARY}"));
    }

    #[test]
    fn refuses_what_is_no_key() {
        for text in [
            "",
            "   ",
            "short",
            "with space in it",
            "line\nbreak-canary",
            "ключ-canary-123",
        ] {
            let error = Credential::api_key(&text.into()).unwrap_err();
            assert_eq!(error.kind(), GatewayErrorKind::InvalidCredential);
            assert!(!format!("{error} {error:?}").contains("canary"));
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let credential = Credential::api_key(&CANARY.into()).unwrap();
        let source = CredentialSource::new(Some(credential.clone()));
        let mut headers = HeaderMap::new();
        credential.apply(&mut headers);
        assert!(!format!("{credential:?} {source:?} {headers:?}").contains("canary"));
    }

    #[test]
    fn clones_of_a_source_rotate_together() {
        let source = CredentialSource::default();
        let other = source.clone();
        assert!(!other.is_configured());
        source.rotate(Some(Credential::api_key(&CANARY.into()).unwrap()));
        assert!(other.is_configured());
    }
}
