//! [`session_core::runtime::ContainerRuntime`] over a Unix socket: an engine in one process, its user in another.
//!
//! A test that kills the daemon at any moment needs an engine that goes on, as a real one does, and that is cheap enough to be
//! asked ten thousand times. So the in-memory engine of `testkit` lives in the process of the test behind [`serve`], and the real
//! daemon, built with the feature `faults`, reaches it by [`RemoteRuntime`]. Nothing of this is in a release.
//!
//! One connection is one call: a line of JSON there, a line of JSON back. After it, the connection of a bridge carries bytes,
//! and that of a watch one line for each fact. A connection that breaks is a call that failed, and nothing else.

mod client;
mod server;
mod wire;

pub use client::RemoteRuntime;
pub use server::serve;
