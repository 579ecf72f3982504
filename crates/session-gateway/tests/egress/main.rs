//! The egress door as a session sees it: a byte stream with HTTP on it, and real listeners behind.

mod credentials;
mod denials;
mod gateway;
mod limits;
mod names;
mod plain;
mod support;
mod tunnels;
