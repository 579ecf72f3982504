//! The endpoint as agents meet it, over servers that do what a test says.

mod asks;
mod calls;
mod changes;
mod filters;
mod hostile;
mod http;
mod lines;
mod lists;
mod searching;
pub(super) mod support;
