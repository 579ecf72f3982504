//! The lifecycle API over HTTP: a manager in another process, by a Unix socket or TCP.
//!
//! [`HttpSessions`] is the second implementation of [`SessionApi`](session_core::api::SessionApi). One suite holds both to
//! the same promises (`tests/conformance`), so a front end cannot tell which it has, except by what only a connection
//! can do: break. Then an error is a `LinkLost` that names the server, and says whether asking again is safe.
//!
//! No task of this crate outlives what it works for: connections are driven by tasks that the pool owns
//! ([`HttpSessions::close`] waits for them), and streams are read by whoever asks them.

mod address;
mod answer;
mod api;
mod command;
mod connector;
mod events;
mod failure;
mod files;
mod options;
mod sessions;
mod socket;
mod terminal;
mod transport;

pub use failure::{NotReached, is_not_reached};
pub use options::ConnectOptions;
pub use sessions::HttpSessions;
