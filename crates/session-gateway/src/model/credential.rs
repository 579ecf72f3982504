//! The real credential: held on the host, and put into a request at the last moment. Each one carries the pattern with which
//! answers are searched for it (see `redact`).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::redact::Needle;
use crate::error::{GatewayError, GatewayErrorKind};

/// The header in which an API key travels.
pub(crate) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Shorter texts occur in answers by chance, and masking those would damage them.
const MIN_SECRET: usize = 8;

/// The vendor's beta features that a request uses.
const ANTHROPIC_BETA: HeaderName = HeaderName::from_static("anthropic-beta");
/// The one without which the vendor refuses a subscription's token.
const OAUTH_BETA: &str = "oauth-2025-04-20";
/// How a subscription's token begins, as `claude setup-token` gives it.
const SUBSCRIPTION_PREFIX: &str = "sk-ant-oat";

/// How every key of the vendor's begins.
const VENDOR_PREFIX: &str = "sk-ant-";

/// Fields in which no credential can travel: they mean something else.
const NOT_FOR_CREDENTIALS: [&str; 10] = [
    "accept-encoding",
    "anthropic-beta",
    "anthropic-version",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "te",
    "transfer-encoding",
];

/// How a credential travels.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Scheme {
    ApiKey,
    Bearer,
    Subscription,
    Header(HeaderName),
}

/// One credential of a provider: a key or a token, and how it travels.
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

    /// The token of a Claude subscription, as `claude setup-token` gives it (`CLAUDE_CODE_OAUTH_TOKEN`). Sent as
    /// `authorization: Bearer …`, with the beta feature `oauth-2025-04-20` beside those that the agent asks for: that is
    /// all in which the requests of Claude Code differ when it holds such a token itself.
    ///
    /// # Errors
    /// `InvalidCredential` as for [`Credential::api_key`].
    pub fn subscription(secret: &SecretString) -> Result<Self, GatewayError> {
        Self::new(Scheme::Subscription, secret)
    }

    /// A key that travels in a field of this name, for gateways and for Azure (`api-key`).
    ///
    /// # Errors
    /// `InvalidCredential` as for [`Credential::api_key`], and for a name that is none or that has a meaning of its own.
    pub fn header(name: &str, secret: &SecretString) -> Result<Self, GatewayError> {
        let name = HeaderName::from_str(name.trim())
            .ok()
            .filter(|name| !NOT_FOR_CREDENTIALS.contains(&name.as_str()));
        match name {
            Some(name) if name == AUTHORIZATION => Self::new(Scheme::Bearer, secret),
            Some(name) if name == X_API_KEY => Self::new(Scheme::ApiKey, secret),
            Some(name) => Self::new(Scheme::Header(name), secret),
            None => Err(GatewayError::new(
                GatewayErrorKind::InvalidCredential,
                "read the model provider's credential",
                "no credential can travel in a header field of this name",
            )
            .with_hint("give the name that the gateway's documentation gives, such as api-key")),
        }
    }

    /// A key that a session brings along: it travels as this one does, unless it is of another kind by its looks.
    pub(crate) fn brought_along(like: Option<&Self>, secret: &SecretString) -> Result<Self, GatewayError> {
        match like.map(|like| &like.0.scheme) {
            Some(Scheme::Header(name)) => Self::new(Scheme::Header(name.clone()), secret),
            _ if secret.expose_secret().trim().starts_with(SUBSCRIPTION_PREFIX) => Self::subscription(secret),
            Some(Scheme::Bearer) if !secret.expose_secret().trim().starts_with(VENDOR_PREFIX) => {
                Self::bearer(secret)
            }
            _ => Self::api_key(secret),
        }
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
            Scheme::ApiKey | Scheme::Header(_) => HeaderValue::from_str(text),
            Scheme::Bearer | Scheme::Subscription => HeaderValue::from_str(&format!("Bearer {text}")),
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
        let name = match &self.0.scheme {
            Scheme::ApiKey => X_API_KEY,
            Scheme::Bearer => AUTHORIZATION,
            Scheme::Subscription => {
                add_beta(headers);
                AUTHORIZATION
            }
            Scheme::Header(name) => name.clone(),
        };
        headers.insert(name, self.0.header.clone());
    }

    /// Whether both are the same secret and travel alike.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.scheme == other.0.scheme
                && bool::from(self.0.header.as_bytes().ct_eq(other.0.header.as_bytes())))
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

/// Adds the beta feature to the list that the agent sends, in whatever number of fields it sends it.
fn add_beta(headers: &mut HeaderMap) {
    let mut list = Vec::new();
    for value in headers.get_all(&ANTHROPIC_BETA) {
        let known = value.as_bytes().split(|byte| *byte == b',');
        for beta in known.map(<[u8]>::trim_ascii).filter(|beta| !beta.is_empty()) {
            if beta != OAUTH_BETA.as_bytes() {
                list.extend_from_slice(beta);
                list.push(b',');
            }
        }
    }
    list.extend_from_slice(OAUTH_BETA.as_bytes());
    // It is made of values and commas, so it is a value.
    if let Ok(list) = HeaderValue::from_bytes(&list) {
        headers.insert(ANTHROPIC_BETA, list);
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
    fn a_subscription_s_token_travels_as_the_agent_would_send_it() {
        let token = Credential::subscription(&CANARY.into()).unwrap();
        for (sent, expected) in [
            (vec![], "oauth-2025-04-20"),
            (vec!["a,b"], "a,b,oauth-2025-04-20"),
            (vec!["a , oauth-2025-04-20", "", "b"], "a,b,oauth-2025-04-20"),
        ] {
            let mut headers = HeaderMap::new();
            for beta in sent {
                headers.append(ANTHROPIC_BETA, HeaderValue::from_static(beta));
            }
            headers.append(X_API_KEY, HeaderValue::from_static("one"));
            token.apply(&mut headers);
            let betas: Vec<_> = headers.get_all(ANTHROPIC_BETA).iter().collect();
            assert_eq!(betas, [expected]);
            assert_eq!(headers[AUTHORIZATION], format!("Bearer {CANARY}"));
            assert!(!headers.contains_key(X_API_KEY));
        }
    }

    #[test]
    fn a_gateway_s_key_travels_in_the_field_that_it_names() {
        let mut headers = HeaderMap::new();
        headers.append("api-key", HeaderValue::from_static("the session's"));
        headers.append(X_API_KEY, HeaderValue::from_static("one"));
        Credential::header("API-Key", &CANARY.into())
            .unwrap()
            .apply(&mut headers);
        assert_eq!(headers.len(), 1);
        assert_eq!(headers["api-key"], CANARY);
        for name in [
            "",
            "a b",
            "Host",
            "content-length",
            "anthropic-beta",
            "transfer-encoding",
        ] {
            let error = Credential::header(name, &CANARY.into()).unwrap_err();
            assert_eq!(error.kind(), GatewayErrorKind::InvalidCredential, "{name}");
        }
    }

    #[test]
    fn a_session_s_key_travels_as_the_provider_takes_it() {
        let name_of = |like: Option<&Credential>, secret: &str| {
            let mut headers = HeaderMap::new();
            Credential::brought_along(like, &secret.into())
                .unwrap()
                .apply(&mut headers);
            headers
                .keys()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(name_of(None, CANARY), "x-api-key");
        assert_eq!(
            name_of(None, "sk-ant-oat01-canary"),
            "anthropic-beta authorization"
        );
        let azure = Credential::header("api-key", &CANARY.into()).unwrap();
        assert_eq!(name_of(Some(&azure), "their-own-key"), "api-key");
        let gateway = Credential::bearer(&CANARY.into()).unwrap();
        assert_eq!(name_of(Some(&gateway), "their-own-key"), "authorization");
        assert_eq!(name_of(Some(&gateway), "sk-ant-api03-canary"), "x-api-key");
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
        let mut headers = HeaderMap::new();
        credential.apply(&mut headers);
        assert!(!format!("{credential:?} {headers:?}").contains("canary"));
    }
}
