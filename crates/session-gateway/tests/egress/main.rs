//! The egress door as a session sees it: a byte stream with HTTP on it, and real listeners behind.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod credentials;
mod denials;
mod gateway;
mod limits;
mod names;
mod plain;
mod support;
mod tunnels;
