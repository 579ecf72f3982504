//! `session-init supervise`: the parent of one command.
//!
//! Init starts one for every command and talks to it over its standard input, a socket, so that no file descriptor has to
//! be passed by number. It adopts whatever the command leaves behind, says how the command itself ended as soon as it
//! did, reaps the rest, and ends when nothing is left below it.
//!
//! ```text
//! init ──▶ one byte with three file descriptors (the command's stdin, stdout, stderr), length, JSON of a Job
//! init ◀── Started or Failed, then Exited; five bytes each
//! ```

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::FileExt, net::UnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::{
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags,
    },
    process::{DumpableBehavior, Pid, WaitOptions},
};
use session_link::SpawnSpec;

/// Where programs are looked for when the environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Half of the memory there is, added to what a process uses, when the kernel looks for one to kill.
const VICTIM: &[u8] = b"500";

/// Bytes of a report.
pub(super) const REPORT: usize = 5;

/// Why a command could not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NotFound,
    NotExecutable,
    BadWorkingDirectory,
    /// Not for its own sake: there is no room for another process.
    Exhausted,
    /// Arguments and environment are longer than the system takes.
    TooLong,
}

const REFUSALS: [Refusal; 5] = [
    Refusal::NotFound,
    Refusal::NotExecutable,
    Refusal::BadWorkingDirectory,
    Refusal::Exhausted,
    Refusal::TooLong,
];

/// What a supervisor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// The command runs.
    Started { pid: u32 },
    /// It does not.
    Failed(Refusal),
    /// The command itself ended with a code; its descendants may run on.
    Exited(i32),
    /// The command itself was ended by a signal.
    Killed(i32),
}

impl Report {
    pub(super) fn encode(self) -> [u8; REPORT] {
        let (tag, value) = match self {
            Self::Started { pid } => (1, pid),
            Self::Failed(refusal) => (2, refusal as u32),
            Self::Exited(code) => (3, code.cast_unsigned()),
            Self::Killed(signal) => (4, signal.cast_unsigned()),
        };
        let mut bytes = [tag; REPORT];
        bytes[1..].copy_from_slice(&value.to_ne_bytes());
        bytes
    }

    pub(super) fn decode([tag, value @ ..]: [u8; REPORT]) -> Option<Self> {
        let value = u32::from_ne_bytes(value);
        Some(match tag {
            1 => Self::Started { pid: value },
            2 => Self::Failed(*REFUSALS.get(value as usize)?),
            3 => Self::Exited(value.cast_signed()),
            4 => Self::Killed(value.cast_signed()),
            _ => return None,
        })
    }
}

/// Init's side: hands the three ends of the command's streams to the supervisor at the other end of `control`.
pub(super) fn send_streams(control: impl AsFd, streams: [&OwnedFd; 3]) -> io::Result<()> {
    let fds = streams.map(AsFd::as_fd);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(
        control,
        &[IoSlice::new(&[0])],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

fn receive_streams(control: impl AsFd) -> io::Result<[OwnedFd; 3]> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    rustix::net::recvmsg(
        control,
        &mut [IoSliceMut::new(&mut byte)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    fds.try_into()
        .map_err(|_wrong| io::Error::other("not three file descriptors"))
}

/// The whole program. An error means that init is gone or broke its own protocol: there is nobody to tell.
pub(crate) fn run() -> io::Result<()> {
    let victim = Victim::prefer();
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // What people see in a list of processes; without a name of its own it would be called `exe`.
    let _ = rustix::thread::set_name(c"supervisor");
    // A duplicate is closed on exec; descriptor 0 itself is replaced in the command.
    let mut control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let [stdin, stdout, stderr] = receive_streams(&control)?;
    let spec = receive_spec(&mut control)?;
    // Init started it for this: a failure of either leaves it as it was, and says nothing about the command.
    let _ = rustix::process::setsid();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let started = start(&spec, [stdin.into(), stdout.into(), stderr.into()]);
    drop(spec);
    match started {
        Ok(pid) => {
            victim.spare();
            control.write_all(&Report::Started { pid }.encode())?;
            reap(pid, &mut control)
        }
        Err(refusal) => control.write_all(&Report::Failed(refusal).encode()),
    }
}

/// When memory runs out the kernel takes a command, neither init nor the supervisor, who tells how the command ended.
///
/// The score is inherited by what is started, so it is the supervisor's own until then. The file is opened while that is
/// allowed: a process that cannot be dumped may not open it.
struct Victim(Option<(File, Vec<u8>)>);

impl Victim {
    /// Not without permission to write it, which costs this preference only.
    fn prefer() -> Self {
        let prefer = || -> io::Result<_> {
            let mut file = File::options()
                .read(true)
                .write(true)
                .open("/proc/self/oom_score_adj")?;
            let mut before = Vec::new();
            file.read_to_end(&mut before)?;
            file.write_all_at(VICTIM, 0)?;
            Ok((file, before))
        };
        Self(prefer().ok())
    }

    /// The command has the score by now; this process does not need it any more.
    fn spare(self) {
        if let Some((file, before)) = self.0 {
            let _ = file.write_all_at(&before, 0);
        }
    }
}

fn receive_spec(control: &mut UnixStream) -> io::Result<SpawnSpec> {
    let mut length = [0; 4];
    control.read_exact(&mut length)?;
    let mut json = vec![0; u32::from_ne_bytes(length) as usize];
    control.read_exact(&mut json)?;
    serde_json::from_slice(&json).map_err(io::Error::other)
}

fn start(spec: &SpawnSpec, streams: [Stdio; 3]) -> Result<u32, Refusal> {
    enter(spec.cwd.as_deref()).map_err(|_error| Refusal::BadWorkingDirectory)?;
    let program = spec.argv.first().map_or(OsStr::new(""), OsString::as_os_str);
    let [stdin, stdout, stderr] = streams;
    let found = find(program, &spec.env)?;
    let mut command = match spec.terminal {
        // What leads a session leads a group as well, and what leads a group cannot begin a session.
        Some(_) => {
            let mut sit = Command::new("/proc/self/exe");
            sit.arg0("session-init").arg("sit").arg(found).arg(program);
            sit
        }
        None => {
            let mut command = Command::new(found);
            command.arg0(program).process_group(0);
            command
        }
    };
    command.args(spec.argv.iter().skip(1));
    command
        .env_clear()
        .envs(spec.env.iter().map(|(name, value)| (name, value)));
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    command
        .spawn()
        .map(|child| child.id())
        .map_err(|error| refusal(&error))
}

/// Why a program that is there was not started.
fn refusal(error: &io::Error) -> Refusal {
    match Errno::from_io_error(error) {
        Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE) => Refusal::Exhausted,
        Some(Errno::TOOBIG) => Refusal::TooLong,
        // Its interpreter is missing, or it is no program at all.
        _ => Refusal::NotExecutable,
    }
}

/// Goes to the working directory. It must not lie in `/proc`, also if it is the one an image names: links there can lead
/// out of the container.
fn enter(cwd: Option<&str>) -> io::Result<()> {
    if let Some(cwd) = cwd {
        std::env::set_current_dir(cwd)?;
    }
    if std::env::current_dir()?.starts_with("/proc") {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(())
}

/// Finds a program as `execvp` would, but in the environment it will have.
fn find(program: &OsStr, env: &[(String, String)]) -> Result<PathBuf, Refusal> {
    if program.as_bytes().contains(&b'/') {
        return executable(Path::new(program)).map(|()| program.into());
    }
    let path = env
        .iter()
        .rev()
        .find(|(name, _)| name == "PATH")
        .map_or(DEFAULT_PATH, |(_, value)| value);
    let mut refused = Refusal::NotFound;
    for directory in path.split(':') {
        let directory = if directory.is_empty() { "." } else { directory };
        let candidate = Path::new(directory).join(program);
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Refusal::NotExecutable) => refused = Refusal::NotExecutable,
            Err(_) => {}
        }
    }
    Err(refused)
}

fn executable(path: &Path) -> Result<(), Refusal> {
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => Refusal::NotExecutable,
        _ => Refusal::NotFound,
    })?;
    let allowed = rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    if allowed && metadata.is_file() {
        Ok(())
    } else {
        Err(Refusal::NotExecutable)
    }
}

/// Waits for everything below, reports the command itself.
fn reap(command: u32, control: &mut UnixStream) -> io::Result<()> {
    let command = i32::try_from(command).ok().and_then(Pid::from_raw);
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if Some(pid) == command => {
                let killed = status.terminating_signal().map(Report::Killed);
                let report = killed.unwrap_or(Report::Exited(status.exit_status().unwrap_or_default()));
                control.write_all(&report.encode())?;
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::CHILD) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Refusal, Report, find};

    #[test]
    fn reports_round_trip() {
        for report in [
            Report::Started { pid: 70_000 },
            Report::Failed(Refusal::NotFound),
            Report::Failed(Refusal::TooLong),
            Report::Exited(255),
            Report::Killed(9),
        ] {
            assert_eq!(Report::decode(report.encode()), Some(report));
        }
        assert_eq!(Report::decode([9; super::REPORT]), None);
    }

    #[test]
    fn programs_are_looked_for_in_the_path_given() {
        let env = |path: &str| vec![("PATH".to_owned(), path.to_owned())];
        assert!(find("sh".as_ref(), &env("/nonexistent:/bin")).is_ok());
        assert_eq!(find("sh".as_ref(), &env("/nonexistent")), Err(Refusal::NotFound));
        assert_eq!(
            find("passwd".as_ref(), &env("/nonexistent:/etc")),
            Err(Refusal::NotExecutable)
        );
        assert!(find("sh".as_ref(), &[]).is_ok());
    }
}
