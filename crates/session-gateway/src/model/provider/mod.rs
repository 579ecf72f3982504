//! Providers: where requests go, and what turns a session's request into the operator's.
//!
//! ```text
//!   ProviderConfig ──▶ Provider: a name, an API, an address, and where its key comes from
//!      Messages API   a header field: API key, bearer token, subscription, a gateway's own field
//!      Bedrock        a signature (SigV4) over the request with its body
//!      Vertex         a bearer token of Google's
//! ```
//!
//! A key is looked up when a request is forwarded, lives on the host only, and is handed out together with the pattern with
//! which answers are searched for it. What a session sees of its provider is the [`ModelApi`] and nothing else.

mod aws;
mod google;
mod lineup;
mod messages;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::Uri;
use hyper::http::request::Parts;
use session_core::gateway::ModelApi;
use tokio::time::Instant;

use self::aws::{AwsKey, AwsKeys};
use self::google::GoogleTokens;
use super::base_url::BaseUrl;
use super::credential::Credential;
use super::dialect::Dialect;
use super::queue::{FairQueue, Sharing};
use super::redact::Needle;
use super::refusal::Refusal;
use super::source::CredentialSource;
use crate::error::{GatewayError, GatewayErrorKind};

pub use self::aws::{AwsSources, BedrockConfig, WebIdentity};
pub use self::google::{GoogleSources, VertexConfig};
pub(crate) use self::lineup::{Lineup, Lineups};
pub use self::messages::MessagesConfig;

/// One provider, as the operator configures it.
#[derive(Debug, Clone)]
pub struct ProviderConfig {
    /// What it is called in events and logs.
    pub name: String,
    /// What it is.
    pub kind: ProviderKind,
}

/// What a provider is.
#[derive(Debug, Clone)]
pub enum ProviderKind {
    /// The vendor, or whatever else speaks the Messages API.
    Messages(MessagesConfig),
    /// AWS Bedrock.
    Bedrock(BedrockConfig),
    /// Google Vertex.
    Vertex(VertexConfig),
}

impl ProviderConfig {
    /// A provider that speaks the Messages API.
    pub fn messages(name: impl Into<String>, base_url: BaseUrl, credential: CredentialSource) -> Self {
        Self {
            name: name.into(),
            kind: ProviderKind::Messages(MessagesConfig { base_url, credential }),
        }
    }

    /// AWS Bedrock.
    pub fn bedrock(name: impl Into<String>, config: BedrockConfig) -> Self {
        Self {
            name: name.into(),
            kind: ProviderKind::Bedrock(config),
        }
    }

    /// Google Vertex.
    pub fn vertex(name: impl Into<String>, config: VertexConfig) -> Self {
        Self {
            name: name.into(),
            kind: ProviderKind::Vertex(config),
        }
    }
}

/// Where requests go, for the operator to read. Never a secret.
impl fmt::Display for ProviderConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, at) = match &self.kind {
            ProviderKind::Messages(config) => return write!(f, "{}", config.base_url),
            ProviderKind::Bedrock(config) => (
                match config.region.as_ref().or(config.sources.region.as_ref()) {
                    Some(region) => format!("AWS Bedrock in {region}"),
                    None => "AWS Bedrock in the profile's region".to_owned(),
                },
                &config.base_url,
            ),
            ProviderKind::Vertex(config) => (
                format!("Google Vertex in {}, project {}", config.region, config.project),
                &config.base_url,
            ),
        };
        match at {
            Some(base_url) => write!(f, "{what} ({base_url})"),
            None => f.write_str(&what),
        }
    }
}

/// A provider that requests can be sent to.
pub(crate) struct Provider {
    name: String,
    api: ModelApi,
    base: BaseUrl,
    keys: Keys,
    /// Where requests wait for their turn.
    line: FairQueue,
    /// Until when others are asked first, after a failure.
    paused: Mutex<Option<Instant>>,
}

/// Where a provider's key comes from.
enum Keys {
    Header(CredentialSource),
    Aws(AwsKeys),
    Google(GoogleTokens),
}

/// A key as it is now. Cheap to clone.
#[derive(Clone)]
pub(crate) enum Key {
    /// Travels in a header field.
    Header(Credential),
    /// Signs.
    Aws(Arc<AwsKey>),
}

impl Provider {
    fn new(name: &str, api: ModelApi, base: BaseUrl, keys: Keys) -> Self {
        Self {
            name: name.to_owned(),
            api,
            base,
            keys,
            line: FairQueue::new(Sharing::default()),
            paused: Mutex::new(None),
        }
    }

    fn shared_by(mut self, sharing: Sharing) -> Self {
        self.line = FairQueue::new(sharing);
        self
    }

    /// Where requests to it wait for their turn.
    pub(crate) fn line(&self) -> &FairQueue {
        &self.line
    }

    /// What it is called in events and logs.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The API that it has.
    pub(crate) fn api(&self) -> &ModelApi {
        &self.api
    }

    pub(crate) fn dialect(&self) -> Dialect {
        Dialect::of(&self.api)
    }

    /// The address of a path and query that the policy has let pass.
    pub(crate) fn address(&self, path_and_query: &str) -> Result<Uri, Refusal> {
        self.base
            .join(path_and_query)
            .map_err(|_| Refusal::MalformedTarget)
    }

    /// The longest body of which all must be there before the request can be sent; `None` when it can be sent at once.
    pub(crate) fn signs_bodies_up_to(&self) -> Option<usize> {
        match &self.keys {
            Keys::Aws(_) => Some(aws::MAX_BODY),
            Keys::Header(_) | Keys::Google(_) => None,
        }
    }

    /// The key as it is now. Waits for whoever gives it out, within bounds.
    pub(crate) async fn key(&self) -> Result<Key, Refusal> {
        match &self.keys {
            Keys::Header(source) => source.get().await.map(Key::Header).ok_or(Refusal::NoCredential),
            Keys::Aws(keys) => keys.key().await.map(Key::Aws),
            Keys::Google(tokens) => tokens.token().await.map(Key::Header),
        }
    }

    /// Another key than one that was refused, when there is one by now.
    pub(crate) async fn other_key(&self, refused: &Key) -> Option<Key> {
        match (&self.keys, refused) {
            (Keys::Header(source), Key::Header(refused)) => source.other_than(refused).await.map(Key::Header),
            (Keys::Google(tokens), Key::Header(refused)) => tokens.other_than(refused).await.map(Key::Header),
            (Keys::Aws(keys), Key::Aws(refused)) => keys.other_than(refused).await.map(Key::Aws),
            (Keys::Header(_) | Keys::Google(_), Key::Aws(_)) | (Keys::Aws(_), Key::Header(_)) => None,
        }
    }

    /// Puts the key into a request, or signs it. `body` is all of it where the provider signs bodies.
    pub(crate) fn authorise(&self, key: &Key, request: &mut Parts, body: &[u8]) -> Result<(), Refusal> {
        match (key, &self.api) {
            (Key::Header(credential), _) => {
                credential.apply(&mut request.headers);
                Ok(())
            }
            (Key::Aws(key), ModelApi::Bedrock { region }) => key.sign(region, request, body),
            (Key::Aws(_), _) => Err(Refusal::NoCredential),
        }
    }

    /// Asks others first for a while.
    pub(crate) fn pause(&self, pause: Duration) {
        let until = Instant::now().checked_add(pause);
        let mut paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        *paused = (*paused).max(until);
    }

    fn is_paused(&self, now: Instant) -> bool {
        let paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        paused.is_some_and(|until| now < until)
    }
}

impl Key {
    /// What answers are searched for.
    pub(crate) fn needle(&self) -> &Arc<Needle> {
        match self {
            Self::Header(credential) => credential.needle(),
            Self::Aws(key) => key.needle(),
        }
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("name", &self.name)
            .field("api", &self.api)
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

fn invalid(message: &'static str, hint: &'static str) -> GatewayError {
    GatewayError::new(
        GatewayErrorKind::InvalidProvider,
        "set up the model provider",
        message,
    )
    .with_hint(hint)
}

/// Whether a text can be a part of a path and of a host's name.
fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}
