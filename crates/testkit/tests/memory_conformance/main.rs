//! The conformance suite on the in-memory runtime: with all it can do, with next to nothing, and over the bridge alone.

mod lab;

use std::process::ExitCode;
use std::sync::Arc;

use lab::{MemoryLab, MemorySessions, POOR, engine};
use libtest_mimic::Arguments;
use testkit::conformance;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let sessions = |capability, dials| Arc::new(MemorySessions { capability, dials });
    let tests = [
        conformance::runtime::tests("memory", Arc::new(MemoryLab(engine(None)))),
        conformance::runtime::tests("memory_poor", Arc::new(MemoryLab(engine(Some(POOR))))),
        conformance::sessions::tests("memory", sessions(None, true)),
        conformance::sessions::tests("memory_poor", sessions(Some(POOR), true)),
        conformance::sessions::tests("memory_bridge", sessions(None, false)),
    ];
    libtest_mimic::run(&arguments, tests.into_iter().flatten().collect()).exit_code()
}
