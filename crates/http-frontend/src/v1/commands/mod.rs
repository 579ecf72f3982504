//! Commands: programs run in a session that are not the agent.
//!
//! A command that was not detached belongs to the connection that started it, and ends with it. One that was goes on; its
//! output waits until somebody reads it, over a WebSocket and acknowledged, or as server-sent events.

pub(crate) mod follow;
mod pump;
pub(crate) mod run;
pub(crate) mod socket;
pub(crate) mod steer;
