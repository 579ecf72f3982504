//! The daemon: one process that owns a state directory, and the clients that reach it.
//!
//! ```text
//!  cofferdam exec ─┐                                   ┌─ SessionManager ─ gateway
//!  cofferdam-mcp ──┼─ <state>/cofferdam.sock ─▶ serve ─┤
//!  curl ───────────┘  (and TCP, when asked)            └─ http-frontend: /v1, /mcp, the older interface
//! ```
//!
//! Every command that needs sessions is a client. Where no daemon runs, the client starts one ([`start`]), which leaves by
//! itself when it has had nothing to do for a while ([`idle`]). What makes it the only one is a lock that dies with its
//! process; the socket is only where it is found. `--embedded` does without all this: everything in the client's process.

pub mod api;
pub mod connect;
pub mod identity;
pub mod idle;
pub mod place;
pub mod ready;
pub mod serve;
pub mod settings;
pub mod start;
