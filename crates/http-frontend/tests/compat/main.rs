//! The interface that existed before, as its clients use it: over a real manager with an engine in memory.

mod analyze;
mod bounds;
mod callers;
mod execute;
mod forms;
mod order;
mod paths;
mod restart;
mod support;
