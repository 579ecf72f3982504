//! What the model proxy forwards to, and what one session may use of it.

use std::fmt;
use std::time::Duration;

use session_core::budget::Budget;

use super::accounts::PriceTable;
use super::base_url::BaseUrl;
use super::provider::{AwsSources, ProviderConfig};
use super::queue::Sharing;
use super::retry::RetryPolicy;
use super::source::CredentialSource;

/// How a [`ModelProxy`](super::ModelProxy) works. `Default` is the vendor's address without a credential.
#[derive(Debug, Clone)]
pub struct ModelProxyConfig {
    /// The providers, in order of preference. Sessions are admitted to the API of the first one; those that follow take
    /// over when it is busy or cannot be reached, as far as they have the same API (for Bedrock and Vertex: the same
    /// region and project). Without any, no request of a session without an account of its own is forwarded.
    pub providers: Vec<ProviderConfig>,
    /// Where AWS credentials and the region come from for sessions that bring a Bedrock account of their own without them.
    pub aws: AwsSources,
    /// When requests are sent once more.
    pub retry: RetryPolicy,
    /// What one session may use.
    pub limits: Limits,
    /// What models cost.
    pub prices: PriceTable,
    /// What each session may use, beside its own budget.
    pub session_budget: Budget,
    /// What all sessions of the state directory may use in a day.
    pub daily_budget: Budget,
    /// How each provider's places are shared.
    pub sharing: Sharing,
}

impl ModelProxyConfig {
    /// With one provider that speaks the Messages API.
    pub fn messages(base_url: BaseUrl, credential: CredentialSource) -> Self {
        Self {
            providers: vec![ProviderConfig::messages("anthropic", base_url, credential)],
            aws: AwsSources::default(),
            retry: RetryPolicy::default(),
            limits: Limits::default(),
            prices: PriceTable::default(),
            session_budget: Budget::default(),
            daily_budget: Budget::default(),
            sharing: Sharing::default(),
        }
    }
}

/// Where requests go, for the operator to read. Never a secret.
impl fmt::Display for ModelProxyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, provider) in self.providers.iter().enumerate() {
            write!(f, "{}{provider}", if index == 0 { "" } else { ", then " })?;
        }
        if self.providers.is_empty() {
            f.write_str("nowhere")?;
        }
        Ok(())
    }
}

impl Default for ModelProxyConfig {
    fn default() -> Self {
        Self::messages(BaseUrl::default(), CredentialSource::default())
    }
}

/// Bounds that keep one session from starving its host or its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one request's body, counted as they pass. The vendor's own limit is 32 MB.
    pub max_request_body: u64,
    /// Bytes of one request's body that are kept so that it can be sent again; a longer one is sent once.
    pub max_held_body: usize,
    /// Bytes of all bodies of all sessions that are kept at once. Requests to Bedrock are signed with their bodies and are refused
    /// when there is no place; others are then sent once.
    pub max_held_in_all: usize,
    /// Requests of one session that are under way at once; one more gets 429.
    pub max_concurrent_requests: usize,
    /// Connections of one session that are open at once; one more is closed.
    pub max_connections: usize,
    /// Number of header fields of one request.
    pub max_headers: usize,
    /// Bytes of one request's head, and of what is read ahead of a slow upstream. At least 8 KiB.
    pub max_buffer: usize,
    /// From the end of one request (or the opening) to the complete head of the next. It bounds a client that sends
    /// its head slowly, and is also how long an idle connection is kept. Longer than the five minutes for which the
    /// agent's HTTP client keeps one, so that the agent never writes into a connection that is being closed here.
    pub head_timeout: Duration,
    /// To a TCP connection with the upstream.
    pub connect_timeout: Duration,
    /// From the request to the head of its response. The vendor's clients wait ten minutes for one that is not streamed.
    pub response_timeout: Duration,
    /// Between two pieces of a body, in either direction. The vendor sends pings, so a silence of this length is a fault.
    pub stall_timeout: Duration,
    /// How long the body of a refused request is read away, and how long a request may go on after a shutdown began.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_request_body: 64 * 1024 * 1024,
            max_held_body: 8 * 1024 * 1024,
            max_held_in_all: 256 * 1024 * 1024,
            max_concurrent_requests: 32,
            max_connections: 64,
            max_headers: 128,
            max_buffer: 128 * 1024,
            head_timeout: Duration::from_secs(360),
            connect_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_secs(600),
            stall_timeout: Duration::from_secs(300),
            drain_timeout: Duration::from_secs(5),
        }
    }
}
