//! The surface as clients meet it, over raw sockets: what gets in, how much of it, and what everybody else is told.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod bodies;
mod certificates;
mod connections;
mod ending;
mod gate;
mod json;
mod mcp;
mod mounts;
mod probes;
mod rates;
mod requests;
mod scopes;
mod socket;
mod support;
mod tokens;
