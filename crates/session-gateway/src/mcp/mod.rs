//! The MCP gateway: MCP servers that work for sealed sessions.
//!
//! MCP servers want lasting connections and secrets; sessions are sealed and come and go. So the servers are held here,
//! on the host, and each session finds one endpoint on its loopback:
//!
//! ```text
//!  agent ── http ── door ──▶ [`door`] one endpoint per session: names, filters, search, what the protocol's revisions need
//!                              │
//!                           [`servers`] one supervised instance per server (and session): started by the first call,
//!                              │        restarted, stopped when idle; manifests, approvals, status
//!                           [`upstream`] one connection: a program on the host, in a sidecar, in the session, or HTTP
//! ```
//!
//! Both sides are hostile: the session, and whatever a server says. Nothing that a server does reaches another server or
//! another session.

mod call;
mod config;
mod door;
mod gateway;
mod login;
mod plan;
mod servers;
pub mod upstream;
mod wire;

pub use self::call::{Failure, FailureCause};
pub use self::config::{McpConfig, McpLimits};
pub use self::gateway::{ClientGrant, McpGateway, Probe, Unrecorded};
pub use self::login::LoggedIn;
pub use self::upstream::{Connector, Network, supervise};
