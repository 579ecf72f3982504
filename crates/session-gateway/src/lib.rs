//! What a sealed session may reach, and the host's end of it.
//!
//! A session has no network but loopback. Its loopback ports are doors: what connects to one comes out of the link on the
//! host as a byte stream, and [`SessionGateway`] answers it. Secrets live on this side only; a session holds a token of
//! its own that opens its own doors and nothing else. Every byte that comes in is an attacker's.
//!
//! * [`egress`]: the way to the few hosts that a session may reach, by name.
//! * [`mcp`]: the MCP servers that work for sessions.
//! * [`model`]: the model proxy, which adds the provider's credential and counts tokens.

pub mod egress;
mod error;
mod gateway;
pub mod mcp;
pub mod model;

pub use error::{GatewayError, GatewayErrorKind};
pub use gateway::SessionGateway;
