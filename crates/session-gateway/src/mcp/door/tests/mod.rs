//! The endpoint as agents meet it, over servers that do what a test says.

pub(super) mod support;
