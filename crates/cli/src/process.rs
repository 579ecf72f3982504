//! What a process of ours does around a command: harden itself, start a runtime, end.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use tokio::runtime::{Builder, Runtime};

use crate::app::{Invocation, Threads};
use crate::compose::Local;
use crate::console::Streams;
use crate::daemon::start;
use crate::exit::ExitStatus;
use crate::failure::print_error;
use crate::mcp::{McpInvocation, keeper};
use crate::printer::Printer;
use crate::settings::env::ProcessEnvironment;
use crate::settings::{ColorChoice, OutputSettings, Terminals};

/// How many threads work for commands that move many bytes.
const WORKERS: usize = 2;
/// How long threads that read or write files may take after a command is done.
const GRACE: Duration = Duration::from_millis(200);
/// A hundred busy sessions. Not more, because programs that we start inherit it, and some look at every number up to it.
const ENOUGH_FILES: u64 = 65_536;

/// The first file beyond standard input, output and error.
const FIRST_FILE: i32 = 3;

/// The first argument of a process that watches over one MCP server on this host. Not a command of people: what it does
/// comes on a socket.
pub const SUPERVISE: &str = "__supervise-mcp-server";

/// `cofferdam`, from beginning to end.
pub fn main() -> ExitCode {
    keep_files_to_ourselves();
    if let Some(ended) = supervised() {
        return ended;
    }
    keep_secrets_out_of_dumps();
    raise_file_limit();
    match streams().and_then(run) {
        Ok(status) | Err(status) => status.into(),
    }
}

fn run(streams: Streams) -> Result<ExitStatus, ExitStatus> {
    #[cfg(feature = "faults")]
    crate::faults::arrange(&ProcessEnvironment).map_err(|error| failed(&error))?;
    let invocation = Invocation::parse(std::env::args_os(), &ProcessEnvironment, streams)?;
    if invocation.leaves_daemon() {
        return start::leave_behind(invocation.daemon_arguments())
            .map(|()| ExitStatus::SUCCESS)
            .map_err(|error| failed(&error));
    }
    let runtime = runtime(invocation.threads(&ProcessEnvironment)).map_err(|_| ExitStatus::INTERNAL)?;
    let status = runtime.block_on(invocation.run(&ProcessEnvironment, &Local));
    // A thread that waits for standard input would be waited for without end.
    runtime.shutdown_timeout(GRACE.min(grace_for(status)));
    Ok(status)
}

/// `cofferdam-mcp`, from beginning to end.
pub fn mcp_main() -> ExitCode {
    keep_files_to_ourselves();
    if let Some(ended) = supervised() {
        return ended;
    }
    keep_secrets_out_of_dumps();
    raise_file_limit();
    as_mcp()
}

fn as_mcp() -> ExitCode {
    // Whichever of our programs a client is, it is the daemon too when it is started as one.
    let run = if std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == start::SERVE)
    {
        run
    } else {
        run_mcp
    };
    match streams().and_then(run) {
        Ok(status) | Err(status) => status.into(),
    }
}

fn run_mcp(streams: Streams) -> Result<ExitStatus, ExitStatus> {
    #[cfg(feature = "faults")]
    crate::faults::arrange(&ProcessEnvironment).map_err(|error| failed(&error))?;
    let invocation = McpInvocation::parse(std::env::args_os(), &ProcessEnvironment, streams)?;
    if invocation.starts_keeper() {
        let started = keeper::start(invocation.state_dir());
        return started
            .map(|()| ExitStatus::SUCCESS)
            .map_err(|error| failed(&error));
    }
    let runtime = runtime(Threads::Several).map_err(|_| ExitStatus::INTERNAL)?;
    let status = runtime.block_on(invocation.run(&ProcessEnvironment, &Local));
    // What had to be brought to its end was waited for; a client that left must not see the process linger.
    runtime.shutdown_background();
    Ok(status)
}

/// The whole life of a process that only watches over another: before there are threads, and before anything else is read.
fn supervised() -> Option<ExitCode> {
    let first = std::env::args_os().nth(1)?;
    (first == SUPERVISE).then(|| match session_gateway::mcp::upstream::supervise() {
        Ok(()) => ExitStatus::SUCCESS.into(),
        Err(_) => ExitStatus::INTERNAL.into(),
    })
}

fn streams() -> Result<Streams, ExitStatus> {
    Streams::of_process().map_err(|error| failed(&error))
}

fn failed(error: &session_core::error::Error) -> ExitStatus {
    print_error(&plain_printer(), error);
    error.kind().into()
}

/// The program that this process runs, to be started again.
///
/// # Errors
/// When the system does not say.
pub fn own_program() -> std::io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    // Replaced by another version while we run: the system still knows ours, and only ours speaks as we do.
    if cfg!(target_os = "linux") && !path.exists() {
        return Ok("/proc/self/exe".into());
    }
    Ok(path)
}

/// Nothing is left to be written after success; after a failure a thread may still clean up what it had begun.
fn grace_for(status: ExitStatus) -> Duration {
    if status == ExitStatus::SUCCESS {
        Duration::ZERO
    } else {
        GRACE
    }
}

/// Enough open files, where the machine lets us: each connection of a session takes two, and the usual soft limit of 1024 is
/// there for programs that still use `select`, of which this is none. What cannot be raised is told by `doctor`.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(ENOUGH_FILES, |most| most.min(ENOUGH_FILES));
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            maximum: limit.maximum,
        };
        let _ = setrlimit(Resource::Nofile, raised);
    }
}

/// Whatever our caller had open beside the three streams is for this process alone, not for those that it starts: some of
/// them outlive it, and would hold the caller's locks and the ends of its pipes. Before there are threads, so that nobody
/// else starts a process or opens a file meanwhile.
fn keep_files_to_ourselves() {
    close_fds::set_fds_cloexec(FIRST_FILE, &[]);
}

/// A core dump would hold the provider's key. What cannot be set here is not worse than not having tried.
fn keep_secrets_out_of_dumps() {
    let _ = setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    );
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

fn runtime(threads: Threads) -> std::io::Result<Runtime> {
    let mut builder = match threads {
        Threads::One => Builder::new_current_thread(),
        Threads::Several => {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(WORKERS);
            builder
        }
    };
    builder.enable_all().build()
}

/// For what goes wrong before the command line could be read.
fn plain_printer() -> Printer {
    let settings = OutputSettings::resolve(
        false,
        false,
        0,
        ColorChoice::Never,
        Terminals::default(),
        &ProcessEnvironment,
    );
    Printer::new(Box::new(std::io::stdout()), Box::new(std::io::stderr()), settings)
}
