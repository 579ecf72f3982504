//! The model proxy: how a session without a network and without a key talks to the model provider.
//!
//! A connection that the agent opens to the model port inside arrives here as a byte stream. For each request on it:
//!
//! ```text
//!  session ──▶ token? ──▶ method and path? ──▶ size, places, credential? ──▶ header fields ──▶ provider
//!              policy         policy                  proxy                     headers        upstream
//!     │          │              │                       │
//!     │◀─────────┴── refusal ───┴───────────────────────┘
//!     │
//!     ◀── key masked ◀── tokens counted ◀── header fields ◀── acceptable? ◀────────────────── provider
//!           redact           usage              headers           proxy
//! ```
//!
//! Everything that decides (`policy`, `headers`, `redact`, `usage`, `refusal`) is pure. `proxy`, `body` and `upstream` do
//! the I/O. A request's target contributes a path and a query, never a host; the session's token ends here and the
//! provider's key never goes the other way.

mod accounts;
mod activity;
mod base_url;
mod body;
mod config;
mod credential;
mod dialect;
mod exchange;
mod forward;
mod headers;
mod held;
mod policy;
mod provider;
mod proxy;
mod queue;
pub(crate) mod redact;
mod refusal;
mod retry;
mod session;
mod source;
mod upstream;
mod usage;

pub use accounts::{LongPrompt, ModelPrice, PriceTable, Rates, Terms};
pub use base_url::BaseUrl;
pub use config::{Limits, ModelProxyConfig};
pub use credential::Credential;
pub use provider::{
    AwsSources, BedrockConfig, GoogleSources, MessagesConfig, ProviderConfig, ProviderKind, VertexConfig,
    WebIdentity,
};
pub use proxy::{Access, ModelProxy};
pub use queue::{Rate, Sharing};
pub use retry::RetryPolicy;
pub use source::{CredentialReader, CredentialSource};
pub use usage::Usage;
