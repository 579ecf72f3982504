//! The real `cofferdam-mcp` on a real engine, with clients that we did not write: the real Claude Code, and the protocol
//! library's own client. The agents inside sessions are real, too; only what models say is scripted.
//!
//! One test at a time: each makes containers. Every test has a state directory, models and a key of its own, and fails when
//! anything of it is left on the engine, in the process table, or the key anywhere but at the provider.

mod claude;
mod client;
mod delegation;
mod departures;
mod engine;
mod guide;
mod packages;
mod runner;
mod tools;
mod world;

use std::process::ExitCode;

use libtest_mimic::Arguments;

use self::runner::test;

/// What anything here answers with; `?` works on everything.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let tests = [
        delegation::tests(),
        tools::tests(),
        departures::tests(),
        packages::tests(),
        guide::tests(),
    ];
    let conclusion = libtest_mimic::run(&arguments, tests.into_iter().flatten().collect());
    conclusion.exit_code()
}
