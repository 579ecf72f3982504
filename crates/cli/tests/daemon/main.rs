//! The daemon as its clients meet it: real processes on a real socket, with no engine in reach.

#![expect(
    clippy::unwrap_used,
    reason = "what a test assumes and does not find is its failure"
)]

mod host;
mod idle;
mod place;
mod settings;
mod start;
mod tokens;
