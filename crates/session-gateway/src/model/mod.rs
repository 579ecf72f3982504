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

mod body;
mod config;
mod credential;
mod headers;
mod policy;
mod proxy;
mod redact;
mod refusal;
mod session;
mod upstream;
mod usage;

pub use config::{BaseUrl, Limits, ModelProxyConfig};
pub use credential::{Credential, CredentialSource};
pub use proxy::ModelProxy;
pub use usage::Usage;
