//! The command line: a thin front end over the lifecycle API, and the composition root of everything.
//!
//! A library with thin binaries, so that tests drive it whole: arguments, environment and streams go in, an exit status
//! comes out. Only this crate reads the environment, installs a log and ends the process (I2); only [`compose`] knows
//! which runtime and which gateway there are (I1).
//!
//! Two programs: `cofferdam` ([`app`]) for shells and people, `cofferdam-mcp` ([`mcp`]) for MCP clients.

pub mod app;
pub mod args;
pub mod browser;
pub mod changes;
pub mod checks;
pub mod client_file;
pub mod commands;
pub mod compose;
pub mod console;
pub mod creating;
pub mod daemon;
pub mod deploying;
pub mod detach;
pub mod durable;
pub mod exit;
pub mod failure;
#[cfg(feature = "faults")]
pub mod faults;
pub mod follow;
pub mod interrupts;
pub mod logging;
pub mod mcp;
pub mod operator;
pub mod own_servers;
pub mod parse;
pub mod presets;
pub mod printer;
pub mod process;
pub mod pump;
pub mod raw_terminal;
pub mod reference;
pub mod render;
pub mod sanitize;
pub mod settings;
pub mod target;
