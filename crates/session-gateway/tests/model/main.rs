//! The model proxy from end to end: a session's connection on one side, a provider on loopback on the other.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod accounts;
mod admission;
mod bedrock;
mod forwarding;
mod gateway;
mod lifetime;
mod retries;
mod secrets;
mod sso;
mod support;
mod usage;
mod vertex;
