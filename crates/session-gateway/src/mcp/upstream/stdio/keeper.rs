//! One program that runs, and how it is ended: through its supervisor, or as a process group where there is none.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::super::supervise::{Job, KILL, REPORT, Refusal, Report, TERMINATE, send_job};
use super::Running;

/// How long a supervisor may take to be there and to start its program.
const SUPERVISOR: Duration = Duration::from_secs(10);
/// How long ending everything may take before what is left is given up on: it waits in the kernel, and is dead then.
const KILL_LIMIT: Duration = Duration::from_secs(15);

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mcp::upstream) enum Exit {
    Code(i32),
    Signal(i32),
    /// Nobody saw it.
    Unknown,
}

/// Why a program does not run.
#[derive(Debug)]
pub(in crate::mcp::upstream) enum Fault {
    Refused(Refusal),
    Io(&'static str, io::Error),
    NoSupervisor,
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A program that runs. Dropping it ends the program at once.
pub(in crate::mcp::upstream) enum Keeper {
    Supervised(Supervised),
    Group(Group),
}

/// Starts a program. Blocks for as long as that takes; a supervised one is [`Keeper::started`] later.
pub(super) fn spawn(job: &Job, supervisor: Option<&[OsString]>) -> Result<Running, Fault> {
    let failed = |error| Fault::Io("open its streams", error);
    let (stdin, ours_in) = io::pipe().map_err(failed)?;
    let (ours_out, stdout) = io::pipe().map_err(failed)?;
    let (ours_err, stderr) = io::pipe().map_err(failed)?;
    let streams = [OwnedFd::from(stdin), OwnedFd::from(stdout), OwnedFd::from(stderr)];
    let keeper = match supervisor {
        Some(argv) => Keeper::Supervised(Supervised::spawn(job, &streams, argv)?),
        None => Keeper::Group(Group::spawn(job, streams)?),
    };
    Ok(Running {
        scratch: None,
        stdin: pipe::Sender::from_owned_fd(ours_in.into()).map_err(failed)?,
        stdout: pipe::Receiver::from_owned_fd(ours_out.into()).map_err(failed)?,
        stderr: pipe::Receiver::from_owned_fd(ours_err.into()).map_err(failed)?,
        keeper,
    })
}

impl Keeper {
    /// Waits until the program runs.
    pub(super) async fn started(&mut self) -> Result<(), Fault> {
        match self {
            Self::Supervised(supervised) => supervised.started().await,
            Self::Group(_) => Ok(()),
        }
    }

    /// Waits until the program itself has ended. Cancel-safe; answers again when asked again.
    pub(super) async fn ended(&mut self) -> Exit {
        match self {
            Self::Supervised(supervised) => supervised.ended().await,
            Self::Group(group) => group.ended().await,
        }
    }

    /// Asks everything to end.
    pub(super) fn terminate(&mut self) {
        match self {
            Self::Supervised(supervised) => supervised.order(TERMINATE),
            Self::Group(group) => group.signal(Signal::TERM),
        }
    }

    /// Ends everything at once, and returns when nothing is left.
    pub(super) async fn kill(&mut self) {
        match self {
            Self::Supervised(supervised) => supervised.kill().await,
            Self::Group(group) => group.kill().await,
        }
    }
}

/// A program below a supervisor.
pub(in crate::mcp::upstream) struct Supervised {
    control: UnixStream,
    supervisor: Child,
    /// The program, which leads a group of its own.
    program: Option<Pid>,
    report: [u8; REPORT],
    /// How much of the report has come.
    come: usize,
    exit: Option<Exit>,
}

impl Supervised {
    fn spawn(job: &Job, streams: &[OwnedFd; 3], argv: &[OsString]) -> Result<Self, Fault> {
        let failed = |error| Fault::Io("start the process that watches over it", error);
        let (program, arguments) = argv.split_first().ok_or(Fault::NoSupervisor)?;
        let (mut control, theirs) = StdUnixStream::pair().map_err(failed)?;
        let supervisor = Command::new(program)
            .args(arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        control.set_write_timeout(Some(SUPERVISOR)).map_err(failed)?;
        let [stdin, stdout, stderr] = streams;
        send_job(&mut control, job, [stdin, stdout, stderr]).map_err(failed)?;
        control.set_nonblocking(true).map_err(failed)?;
        Ok(Self {
            control: UnixStream::from_std(control).map_err(failed)?,
            supervisor,
            program: None,
            report: [0; REPORT],
            come: 0,
            exit: None,
        })
    }

    /// The next report; `None` when there will be no more. Cancel-safe: what has come stays here.
    async fn next(&mut self) -> Option<Report> {
        while self.come < REPORT {
            match self.control.read(&mut self.report[self.come..]).await {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.come += read,
            }
        }
        self.come = 0;
        Report::decode(self.report)
    }

    async fn started(&mut self) -> Result<(), Fault> {
        match timeout(SUPERVISOR, self.next()).await {
            Ok(Some(Report::Started { pid })) => {
                self.program = i32::try_from(pid).ok().and_then(Pid::from_raw);
                Ok(())
            }
            Ok(Some(Report::Failed(refusal))) => Err(Fault::Refused(refusal)),
            _ => Err(Fault::NoSupervisor),
        }
    }

    async fn ended(&mut self) -> Exit {
        if let Some(exit) = self.exit {
            return exit;
        }
        let exit = match self.next().await {
            Some(Report::Exited(code)) => Exit::Code(code),
            Some(Report::Killed(signal)) => Exit::Signal(signal),
            _ => {
                // Somebody killed the supervisor. What it kept together cannot be found any more but for the group.
                self.kill_group();
                Exit::Unknown
            }
        };
        self.exit = Some(exit);
        exit
    }

    fn kill_group(&self) {
        if let Some(program) = self.program {
            let _ = kill_process_group(program, Signal::KILL);
        }
    }

    fn order(&self, order: u8) {
        // It fails when the supervisor has nothing left to do.
        let _ = self.control.try_write(&[order]);
    }

    async fn kill(&mut self) {
        self.order(KILL);
        if let Some(supervisor) = self.supervisor.id().and_then(pid) {
            // A program may have stopped the process that watches over it.
            let _ = kill_process(supervisor, Signal::CONT);
        }
        if timeout(KILL_LIMIT, self.supervisor.wait()).await.is_err() {
            tracing::warn!("a process that watches over an MCP server does not end");
            self.kill_group();
            let _ = self.supervisor.start_kill();
            let _ = timeout(KILL_LIMIT, self.supervisor.wait()).await;
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.order(KILL);
    }
}

/// A program that leads a process group.
pub(in crate::mcp::upstream) struct Group {
    leader: Child,
    group: Option<Pid>,
    exit: Option<Exit>,
}

impl Group {
    fn spawn(job: &Job, [stdin, stdout, stderr]: [OwnedFd; 3]) -> Result<Self, Fault> {
        if !job.cwd.is_dir() {
            return Err(Refusal::BadWorkingDirectory.into());
        }
        let leader = Command::new(&job.program)
            .arg0(&job.name)
            .args(&job.args)
            .env_clear()
            .envs(job.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&job.cwd)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .process_group(0)
            .spawn()
            .map_err(|error| Refusal::of(&error))?;
        Ok(Self {
            group: leader.id().and_then(pid),
            leader,
            exit: None,
        })
    }

    async fn ended(&mut self) -> Exit {
        if let Some(exit) = self.exit {
            return exit;
        }
        use std::os::unix::process::ExitStatusExt as _;
        let exit = match self.leader.wait().await {
            Ok(status) => status
                .code()
                .map(Exit::Code)
                .or(status.signal().map(Exit::Signal))
                .unwrap_or(Exit::Unknown),
            Err(_) => Exit::Unknown,
        };
        // At once: as soon as the group is empty, its number is anybody's.
        self.signal(Signal::KILL);
        self.exit = Some(exit);
        exit
    }

    fn signal(&self, signal: Signal) {
        if let (Some(group), None) = (self.group, self.exit) {
            let _ = kill_process_group(group, signal);
        }
    }

    async fn kill(&mut self) {
        self.signal(Signal::KILL);
        let deadline = Instant::now() + KILL_LIMIT;
        let _ = timeout(KILL_LIMIT, self.ended()).await;
        // What is not our child is reaped by somebody else.
        while let Some(group) = self.group
            && test_kill_process_group(group).is_ok()
            && Instant::now() < deadline
        {
            sleep(Duration::from_millis(2)).await;
        }
        self.group = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

fn pid(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}
