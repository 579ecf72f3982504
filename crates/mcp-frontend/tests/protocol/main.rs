//! The protocol over an in-memory connection: every tool, every failure, and clients that behave badly.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod accounts;
mod bad_input;
mod commands;
mod configuration;
mod egress;
mod extension;
mod files;
mod handshake;
mod http;
mod http_gate;
mod keeping;
mod logs;
mod prompts;
mod resources;
mod schemas;
mod secrets;
mod servers;
mod sessions;
mod spawn;
mod support;
mod tasks;
