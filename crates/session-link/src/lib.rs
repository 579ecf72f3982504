//! The link: the one multiplexed byte stream between a manager on the host and `session-init`, PID 1 of a session.
//!
//! Both ends live here so that they cannot drift apart: [`wire`] says what travels, [`mux`] how many conversations share
//! one stream, [`client`] is the host's end and the only door the core has into a container. The other end, in
//! `session-init`, answers with the same types.
//!
//! The host treats every byte it receives as an attacker's: lengths, counts and names are bounded before they are used,
//! windows are bounded so that a flood stops at the sender, and whatever breaks the protocol closes the link.

pub mod client;
mod error;
pub mod listener;
pub mod mux;
pub mod process;
pub mod transfer;
pub mod wire;

pub use client::{
    CopyIn, CopyOut, Door, Health, Link, LinkOptions, Process, ProcessReader, ProcessWriter, Tunnel, Tunnels,
};
pub use error::{ErrorKind, LinkError, Result};
pub use listener::LinkListener;
pub use process::{
    ExitCause, ExitReport, OnDisconnect, OutputStream, ProcessEvent, ProcessId, ProcessInfo, ProcessState,
    Signal, SpawnSpec, Spawned, SpoolLimits, StdinMode, Terminal, WindowSize, WriteOutcome,
};
pub use transfer::{CopyInOptions, CopyOutOptions, CopyReport};
pub use wire::preface::{Hello, PROTOCOL_VERSION, Welcome};
