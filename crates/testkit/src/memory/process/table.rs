//! All processes of a container that were started and not forgotten.

use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use session_link::{
    ErrorKind, ExitCause, ExitReport, LinkError, OnDisconnect, OutputStream, ProcessId, ProcessInfo, Result,
    SpawnSpec, StdinMode,
};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::{Notify, watch};

use super::spool::Spool;
use super::stdin::{PIPE, Sink};
use super::{Doom, Ledger, Process, Stdin, Terminal};
use crate::memory::container::Container;
use crate::memory::freezer::Freezer;
use crate::memory::program::{Context, Exit, Input, Machine, Output, Program};
use crate::memory::programs::Refusal;

/// How long what a program said last may take to be read.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The pid of the first process after PID 1.
const FIRST_PID: u32 = 7;

/// See the module.
#[derive(Debug, Default)]
pub(in crate::memory) struct Table {
    processes: Mutex<BTreeMap<ProcessId, Arc<Process>>>,
    next_pid: AtomicU32,
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ProcessId, Arc<Process>>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a process, unless its id exists; says whether it did.
    ///
    /// # Errors
    /// `Io` when this machine has no terminal to give.
    pub(in crate::memory) fn spawn(
        &self,
        container: &Arc<Container>,
        spec: SpawnSpec,
        link: u64,
    ) -> Result<(Arc<Process>, bool)> {
        let mut processes = self.lock();
        if let Some(process) = processes.get(&spec.id) {
            return Ok((process.clone(), true));
        }
        let program = container.find_program(&spec);
        let pid = program
            .is_ok()
            .then(|| FIRST_PID + self.next_pid.fetch_add(1, Ordering::Relaxed));
        let Wiring {
            input,
            mut streams,
            terminal,
        } = match &spec.terminal {
            Some(wanted) => Wiring::terminal(wanted)?,
            None => Wiring::pipes(spec.stdin),
        };
        let (stdin, feed) = Stdin::new(input);
        let process = Arc::new(Process {
            id: spec.id.clone(),
            pid,
            argv: spec
                .argv
                .iter()
                .map(|arg| arg.to_string_lossy().into_owned())
                .collect(),
            link,
            on_disconnect: spec.on_disconnect,
            began: Instant::now(),
            ledger: Mutex::new(Ledger {
                spool: Spool::new(spec.spool.memory.saturating_add(spec.spool.file)),
                acknowledged: 0,
                readers: BTreeMap::new(),
                output_left: spec.output_limit,
                exit: None,
            }),
            stdin,
            terminal,
            changed: Notify::new(),
            room: Notify::new(),
            doom: watch::Sender::new(None),
            handler: Mutex::new(None),
            freezer: Freezer::new(),
        });
        processes.insert(spec.id.clone(), process.clone());
        match program {
            Ok(program) => {
                container.spawn(feed);
                let limit = spec.time_limit;
                let reading = streams.reading(process.clone());
                let run = run(container.clone(), process.clone(), program, spec, streams);
                container.spawn(supervise(container.clone(), process.clone(), run, reading, limit));
            }
            Err(refusal) => process.exited(refused(refusal)),
        }
        Ok((process, false))
    }

    /// # Errors
    /// `NoSuchProcess`.
    pub(in crate::memory) fn get(&self, id: &ProcessId) -> Result<Arc<Process>> {
        self.lock().get(id).cloned().ok_or_else(|| {
            LinkError::new(ErrorKind::NoSuchProcess, "find process", "no process has that id")
                .with_context("process", id.as_str())
        })
    }

    pub(in crate::memory) fn by_pid(&self, pid: u32) -> Option<Arc<Process>> {
        self.lock()
            .values()
            .find(|process| process.pid == Some(pid))
            .cloned()
    }

    pub(in crate::memory) fn list(&self) -> Vec<ProcessInfo> {
        self.lock().values().map(|process| process.info()).collect()
    }

    /// A number of each process, all together.
    pub(in crate::memory) fn sum(&self, number: impl Fn(&Process) -> u64) -> u64 {
        self.lock().values().map(|process| number(process)).sum()
    }

    /// The argument vectors of what runs.
    pub(in crate::memory) fn running(&self) -> Vec<Vec<String>> {
        let processes = self.lock();
        processes
            .values()
            .filter(|process| process.is_running())
            .map(|process| process.argv.clone())
            .collect()
    }

    /// The processes that run.
    pub(in crate::memory) fn living(&self) -> Vec<Arc<Process>> {
        self.lock()
            .values()
            .filter(|process| process.is_running())
            .cloned()
            .collect()
    }

    /// Ends a process and forgets it.
    pub(in crate::memory) async fn forget(&self, id: &ProcessId) {
        let Ok(process) = self.get(id) else { return };
        process.end(Doom::Killed(ExitCause::Cancelled)).await;
        let mut processes = self.lock();
        if processes
            .get(id)
            .is_some_and(|known| Arc::ptr_eq(known, &process))
        {
            processes.remove(id);
        }
    }

    /// A link closed: what was to end with it ends.
    pub(in crate::memory) fn link_closed(&self, link: u64) {
        for process in self.lock().values() {
            if process.link == link && process.on_disconnect == OnDisconnect::Kill {
                process.doom(Doom::Killed(ExitCause::Cancelled));
            }
        }
    }
}

fn refused(refusal: Refusal) -> ExitReport {
    let (code, cause) = match refusal {
        Refusal::NotFound => (127, ExitCause::NotFound),
        Refusal::NotExecutable => (126, ExitCause::NotExecutable),
        Refusal::BadWorkingDirectory => (126, ExitCause::BadWorkingDirectory),
    };
    ExitReport {
        code: Some(code),
        signal: None,
        cause,
        duration: Duration::ZERO,
        oom_kills: 0,
    }
}

/// How a process is joined to its init.
struct Wiring {
    input: Option<Sink>,
    streams: Streams,
    terminal: Option<Terminal>,
}

/// What a program has as its three streams.
enum Streams {
    Pipes(Option<tokio::io::DuplexStream>),
    /// Its end of the terminal, and init's.
    Terminal {
        input: pipe::Receiver,
        output: pipe::Sender,
        written: Option<pipe::Receiver>,
    },
}

impl Wiring {
    fn pipes(mode: StdinMode) -> Self {
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let piped = mode == StdinMode::Piped;
        Self {
            input: piped.then(|| Box::new(ours) as Sink),
            streams: Streams::Pipes(piped.then_some(theirs)),
            terminal: None,
        }
    }

    fn terminal(wanted: &session_link::Terminal) -> Result<Self> {
        let open = || -> std::io::Result<Self> {
            let (terminal, theirs) = Terminal::open(wanted)?;
            Ok(Self {
                input: Some(Box::new(terminal.input()?)),
                streams: Streams::Terminal {
                    input: pipe::Receiver::from_owned_fd_unchecked(theirs.try_clone()?)?,
                    output: pipe::Sender::from_owned_fd_unchecked(theirs)?,
                    written: Some(terminal.output()?),
                },
                terminal: Some(terminal),
            })
        };
        open().map_err(|error| LinkError::io("spawn", "there is no terminal to be had", error))
    }
}

impl Streams {
    /// Takes what the program writes on a terminal to its spool, until nobody has that open any more.
    fn reading(&mut self, process: Arc<Process>) -> impl Future<Output = ()> + Send + use<> {
        let written = match self {
            Self::Pipes(_) => None,
            Self::Terminal { written, .. } => written.take(),
        };
        async move {
            let Some(mut written) = written else { return };
            let mut buffer = vec![0; PIPE];
            while let Ok(read @ 1..) = written.read(&mut buffer).await {
                let bytes = Bytes::copy_from_slice(&buffer[..read]);
                process.write(OutputStream::Stdout, bytes).await;
            }
        }
    }

    fn split(self, process: &Arc<Process>) -> (Input, Output, Output) {
        match self {
            Self::Pipes(pipe) => (
                pipe.map_or_else(Input::empty, Input::new),
                Output::new(process.clone(), OutputStream::Stdout),
                Output::new(process.clone(), OutputStream::Stderr),
            ),
            Self::Terminal { input, output, .. } => {
                let output = Output::terminal(output);
                (Input::new(input), output.clone(), output)
            }
        }
    }
}

async fn run(
    container: Arc<Container>,
    process: Arc<Process>,
    program: Program,
    spec: SpawnSpec,
    streams: Streams,
) -> Exit {
    let (stdin, stdout, stderr) = streams.split(&process);
    let context = Context {
        stdin,
        stdout,
        stderr,
        cwd: spec.cwd.unwrap_or_else(|| "/".to_owned()),
        argv: spec.argv,
        env: spec.env.into_iter().collect(),
        machine: Machine::new(container, process.clone()),
    };
    program(context).await
}

/// Runs a program while what it writes is read.
async fn alongside(program: impl Future<Output = Exit>, reading: Pin<&mut impl Future<Output = ()>>) -> Exit {
    let mut program = pin!(program);
    tokio::select! {
        exit = &mut program => return exit,
        () = reading => {}
    }
    program.await
}

/// Sees a program through to its end, whoever ends it.
async fn supervise(
    container: Arc<Container>,
    process: Arc<Process>,
    program: impl Future<Output = Exit>,
    reading: impl Future<Output = ()>,
    time_limit: Option<Duration>,
) {
    // Once done it stays so, however often it is asked.
    let mut reading = pin!(futures::future::maybe_done(reading));
    let program = alongside(program, reading.as_mut());
    let kills = container.oom_kills();
    let mut doom = process.doom.subscribe();
    let limit = async {
        match time_limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    // Whichever ends first decides; the others are dropped and with them what they held.
    let (code, signal, cause) = tokio::select! {
        biased;
        Ok(doom) = async { doom.wait_for(Option::is_some).await.map(|doom| *doom) } => match doom {
            Some(Doom::Signal(signal)) => (None, Some(signal), ExitCause::Signaled),
            Some(Doom::Killed(cause)) => (None, Some(9), cause),
            None => return,
        },
        () = limit => (None, Some(9), ExitCause::TimedOut),
        exit = process.freezer.wrap(program) => match exit {
            Exit::Code(code) => (Some(code), None, ExitCause::Exited),
            Exit::Signal(signal) => (None, Some(signal), ExitCause::Signaled),
        },
    };
    // What it said last; its end of the terminal is closed.
    let _ = tokio::time::timeout(LAST_WORDS, reading).await;
    process.exited(ExitReport {
        code,
        signal,
        cause,
        duration: process.began.elapsed(),
        oom_kills: container.oom_kills().saturating_sub(kills),
    });
}
