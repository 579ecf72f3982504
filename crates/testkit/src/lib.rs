//! What the tests, the demo and the benches stand on: real things made small and repeatable, so that nobody has to mock what
//! a user has for real.

pub mod canary;
pub mod conformance;
pub mod faults;
pub mod fixtures;
pub mod harness;
pub mod ledger;
pub mod mcp;
pub mod memory;
pub mod model;
pub mod second_engine;
