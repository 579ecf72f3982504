//! Supervision over servers that live in memory.

pub(crate) mod caller;
