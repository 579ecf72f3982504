//! The process that [`super::Mode::DoubleFork`] leaves behind, as daemons do it: started by a child that ends at once, in a
//! session of its own.

use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use super::Options;

/// How long an orphan lives that nobody ends: longer than any test, and not for ever.
const LIFE: Duration = Duration::from_secs(600);

/// Starts a child that starts the orphan, and waits for the child's end.
pub(super) fn leave(options: &Options) {
    if let Some(mut child) = again(options, "unsettled") {
        let _ = child.wait();
    }
}

/// The program as the child, or as the orphan.
pub(super) fn run(options: &Options, settled: bool) -> ExitCode {
    if settled {
        // Fails only for the leader of a process group, which a child of the child is not.
        let _ = rustix::process::setsid();
        options.note(&format!("orphan {}", std::process::id()));
        std::thread::sleep(LIFE);
    } else {
        drop(again(options, "settled"));
    }
    ExitCode::SUCCESS
}

fn again(options: &Options, how: &str) -> Option<std::process::Child> {
    let mut command = Command::new(std::env::current_exe().ok()?);
    command.args(["--orphan", how]);
    if let Some(journal) = &options.journal {
        command.arg("--journal").arg(journal);
    }
    let silent = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    silent.spawn().ok()
}
