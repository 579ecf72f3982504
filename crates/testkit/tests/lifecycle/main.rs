//! The life of sessions when things go wrong, on an engine in memory: every loss, every takeover, every failing call.
//!
//! A manager that is killed here is torn down wherever its tasks stand; see `testkit::harness`. Nothing waits for a time
//! to pass: tests wait for facts, and a fact that does not come fails them.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on panics, in its helpers as well"
)]

mod agents;
mod chaos;
mod checkpoints;
mod coming_back;
mod commands;
mod creation;
mod daemon;
mod destruction;
mod egress;
mod interrupting;
mod lifetimes;
mod links;
mod losses;
mod lost_work;
mod mcp;
mod mounts;
mod programs;
mod reconciling;
mod recovery;
mod restarts;
mod takeover;
mod terminals;
mod watchdog;
mod world;
