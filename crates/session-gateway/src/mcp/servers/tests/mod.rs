//! Supervision over servers that live in memory.

mod approvals;
pub(crate) mod caller;
mod calls;
mod lab;
mod lives;
mod modern;
mod puppet;
mod sharing;
