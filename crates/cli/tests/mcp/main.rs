//! The program `cofferdam-mcp` as its clients start it: over real pipes and real sockets, with no engine.

#![expect(
    clippy::unwrap_used,
    reason = "what a test assumes and does not find is its failure"
)]

mod http;
mod server;
mod servers;
mod settings;
mod stdio;
