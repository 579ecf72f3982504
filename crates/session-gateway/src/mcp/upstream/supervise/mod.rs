//! The parent of one program on the host: a process of its own, so that nothing of the program is left over.
//!
//! A program can start others that leave its process group, and this process can be killed without a chance to end
//! anything. The supervisor adopts whatever the program leaves behind (a child subreaper), and holds one end of a socket
//! whose other end is here: when that closes, for whatever reason, everything below the supervisor is ended. The program's
//! standard streams are handed through that socket and are its own: no byte of them passes the supervisor.
//!
//! ```text
//! gateway ──▶ one byte with three file descriptors (stdin, stdout, stderr), length, JSON of a Job
//! gateway ◀── Started or Failed, then Exited or Killed
//! gateway ──▶ TERMINATE, KILL; the end of the stream is both
//! ```

mod protocol;
mod tree;

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions};

pub(super) use self::protocol::{Job, KILL, REPORT, Refusal, Report, TERMINATE, send_job};

/// What the program may take to end when its owner is gone, before it is killed.
const LAST_GRACE: Duration = Duration::from_millis(500);

/// Runs the supervisor of one program: the whole life of a process that the gateway started with
/// [`McpConfig::supervisor`](crate::mcp::McpConfig::supervisor). To be called first thing in `main`, before there are other
/// threads; returns when nothing of the program is left.
///
/// # Errors
/// When the gateway is gone or what came from it is no job: there is nobody to tell.
pub fn supervise() -> io::Result<()> {
    // It holds the secrets of its program for a moment.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // What people see in a list of processes.
    let _ = rustix::thread::set_name(c"mcp-supervisor");
    // A duplicate is closed on exec; descriptor 0 itself is replaced in the program.
    let mut control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (job, streams) = protocol::receive_job(&mut control)?;
    // A terminal of the gateway's is none of the program's. Fails only where there is none to leave.
    let _ = rustix::process::setsid();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let listener = control.try_clone()?;
    let started = start(&job, streams.map(Stdio::from));
    drop(job);
    let pid = match started {
        Ok(pid) => pid,
        Err(refusal) => return control.write_all(&Report::Failed(refusal).encode()),
    };
    control.write_all(&Report::Started { pid }.encode())?;
    let done = Arc::new(AtomicBool::new(false));
    let listening = Arc::clone(&done);
    let obeying = std::thread::Builder::new().spawn(move || obey(listener, &listening));
    if obeying.is_err() {
        // Nobody would hear that the gateway is gone.
        tree::kill_all();
    }
    reap(pid, &mut control, &done)
}

fn start(job: &Job, [stdin, stdout, stderr]: [Stdio; 3]) -> Result<u32, Refusal> {
    let mut command = Command::new(&job.program);
    command
        .arg0(&job.name)
        .args(&job.args)
        .env_clear()
        .envs(job.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&job.cwd)
        .stdin(stdin)
        .stdout(stdout)
        .stderr(stderr)
        .process_group(0);
    // Whether the directory is there is asked before: the error of a start does not say which of the two was missing.
    if !job.cwd.is_dir() {
        return Err(Refusal::BadWorkingDirectory);
    }
    command
        .spawn()
        .map(|child| child.id())
        .map_err(|error| Refusal::of(&error))
}

/// Waits for everything below. What the program leaves behind is ended as soon as the program has ended.
fn reap(program: u32, control: &mut UnixStream, done: &AtomicBool) -> io::Result<()> {
    let program = i32::try_from(program).ok().and_then(Pid::from_raw);
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if Some(pid) == program => {
                let killed = status.terminating_signal().map(Report::Killed);
                let report = killed.unwrap_or(Report::Exited(status.exit_status().unwrap_or_default()));
                // The gateway may be gone; what is left is ended all the same.
                let _ = control.write_all(&report.encode());
                done.store(true, Ordering::Release);
                tree::kill_all();
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::CHILD) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Does what the gateway asks for, until it is gone; then ends everything.
fn obey(mut control: UnixStream, done: &AtomicBool) {
    let mut order = [0];
    loop {
        match control.read(&mut order) {
            Ok(1) if order == [TERMINATE] => tree::signal(Signal::TERM),
            Ok(1) if order == [KILL] => tree::kill_all(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => break,
        }
    }
    if !done.load(Ordering::Acquire) {
        tree::signal(Signal::TERM);
        std::thread::sleep(LAST_GRACE);
    }
    tree::kill_all();
}
