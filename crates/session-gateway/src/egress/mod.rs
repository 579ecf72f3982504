//! The egress door: how a session without a network reaches the few hosts that it may, and nothing else.
//!
//! Programs inside are told of an HTTP proxy on a loopback port. A connection to it arrives here as a byte stream, from
//! the session's own link, so that who asks is known and no token is needed. For each request on it:
//!
//! ```text
//!                  ┌ target ┐  ┌ policy ┐   ┌──────── dial ────────┐   ┌ hello ┐  ┌ tunnel ┐
//!  CONNECT ──────▶ one      ──▶ rules,  ──▶ resolve ─▶ judge every ──▶ SNI is   ─▶ bytes     ──▶ host
//!                  spelling     presets,    once       address, dial   that       both ways
//!  http://… ─────▶ of a host    people                 that very one   host
//!                     │           │                         │       └─ forward: another request with the same meaning,
//!                     ▼           ▼                         ▼          with a credential where a rule says so ──▶ host
//!                  denial: one shape, with the way to allow it; journal: once a minute into the session's ledger
//! ```
//!
//! Everything that decides (`target`, `policy`, `address`, `hello`, `headers`, `denial`) is pure; `dial`, `tunnel`,
//! `forward` and `proxy` do the I/O. A host that no rule names costs no DNS query.

pub(crate) mod address;
mod body;
mod config;
mod credential;
pub(crate) mod denial;
pub(crate) mod dial;
mod forward;
mod headers;
mod hello;
mod journal;
mod meter;
mod policy;
mod proxy;
mod resolver;
mod session;
pub(crate) mod target;
pub(crate) mod tls;
mod tunnel;

pub use config::{EgressConfig, EgressLimits};
pub use credential::{CredentialRule, CredentialScheme, SecretCell};
pub use proxy::EgressProxy;
pub use resolver::{Resolve, SystemResolver};
pub use session::EgressUsage;
