//! Version 1 of the API as its clients meet it, over TCP, on sessions of an engine in memory.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on panics, in its helpers as well"
)]

mod bad_input;
mod commands;
mod description;
mod events;
mod files;
mod followed;
mod keeping;
mod operator;
mod sessions;
mod sockets;
mod support;
mod terminals;
mod turns;
mod weight;
