//! MCP servers behind the gateway, used by the real Claude Code in a sealed session. The servers are those that others published
//! on npm and PyPI (`cargo xtask published` installs them), and small ones of ours where a real one does not misbehave on cue.
//! Only what models say is scripted.
//!
//! One test at a time: each makes containers. Every test has a state directory, a model and keys of its own, and fails when
//! anything of it is left on the engine, in the process table, or a key is anywhere but where it belongs.

// The same worlds as those of the tests of agents.
#[path = "../agents/engine.rs"]
mod engine;
#[path = "../agents/runner.rs"]
mod runner;
#[expect(dead_code, reason = "the server of the other tests is not needed here")]
#[path = "../agents/world.rs"]
mod world;

mod inside;
mod published;
mod real;
mod secrets;
mod shell;
mod small;
mod told;
mod trouble;

use std::process::ExitCode;

use libtest_mimic::Arguments;

use self::runner::test;

/// What anything here answers with; `?` works on everything.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let tests = [real::tests(), secrets::tests(), trouble::tests(), inside::tests()];
    let conclusion = libtest_mimic::run(&arguments, tests.into_iter().flatten().collect());
    conclusion.exit_code()
}
