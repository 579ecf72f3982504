//! The task tools: the same on every client, also on those that do not know the protocol's own tasks.

pub(super) mod cancel;
pub(super) mod get;
pub(super) mod list;
pub(super) mod start;
pub(super) mod wait;
