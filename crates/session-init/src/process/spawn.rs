//! Starting a supervisor and giving it a command.

use std::{
    io::{self, PipeReader, PipeWriter},
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream as StdUnixStream, process::CommandExt},
    },
    process::{Command, Stdio},
};

use session_link::{ErrorKind, LinkError, Result, SpawnSpec, StdinMode};
use tokio::net::{UnixStream, unix::pipe};

use super::{supervise, terminal::Terminal};

/// What init holds of a command that was started.
#[derive(Debug)]
pub(super) struct Handles {
    pub(super) control: UnixStream,
    pub(super) stdin: Option<pipe::Sender>,
    pub(super) stdout: Option<pipe::Receiver>,
    pub(super) stderr: Option<pipe::Receiver>,
    pub(super) terminal: Option<Terminal>,
    /// The program's end of its terminal, so that its being closed for a while is not taken for its end.
    pub(super) held: Option<OwnedFd>,
}

/// A supervisor that waits for its command.
#[derive(Debug)]
pub(super) struct Supervisor {
    pub(super) pid: i32,
    control: StdUnixStream,
}

/// Starts a supervisor.
pub(super) fn launch() -> Result<Supervisor> {
    let launch = || -> io::Result<Supervisor> {
        let (control, theirs) = StdUnixStream::pair()?;
        let child = Command::new("/proc/self/exe")
            .arg0("session-init")
            .arg("supervise")
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        // Never waited for by this handle: one loop reaps all children.
        Ok(Supervisor {
            pid: i32::try_from(child.id()).map_err(io::Error::other)?,
            control,
        })
    };
    launch().map_err(no_room)
}

/// Gives `supervisor` the ends of the pipes, or of the terminal, that its command will have.
pub(super) fn equip(supervisor: Supervisor, spec: &SpawnSpec) -> Result<Handles> {
    let equip = |control| match &spec.terminal {
        Some(terminal) => with_terminal(control, terminal),
        None => with_pipes(control, spec.stdin),
    };
    equip(supervisor.control).map_err(no_room)
}

fn with_pipes(control: StdUnixStream, mode: StdinMode) -> io::Result<Handles> {
    let (stdout, command_stdout) = io::pipe()?;
    let (stderr, command_stderr) = io::pipe()?;
    let (stdin, command_stdin) = stdin(mode)?;
    let streams = [&command_stdin, &command_stdout.into(), &command_stderr.into()];
    supervise::send_streams(&control, streams)?;
    Ok(Handles {
        control: nonblocking(control)?,
        stdin,
        stdout: Some(receiver(stdout)?),
        stderr: Some(receiver(stderr)?),
        terminal: None,
        held: None,
    })
}

fn with_terminal(control: StdUnixStream, wanted: &session_link::Terminal) -> io::Result<Handles> {
    let (terminal, theirs) = Terminal::open(wanted)?;
    supervise::send_streams(&control, [&theirs; 3])?;
    Ok(Handles {
        control: nonblocking(control)?,
        stdin: Some(terminal.input()?),
        stdout: Some(terminal.output()?),
        stderr: None,
        terminal: Some(terminal),
        held: Some(theirs),
    })
}

fn nonblocking(control: StdUnixStream) -> io::Result<UnixStream> {
    control.set_nonblocking(true)?;
    UnixStream::from_std(control)
}

fn no_room(error: io::Error) -> LinkError {
    use rustix::io::Errno;
    let kind = match Errno::from_io_error(&error) {
        Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::NOSPC) => {
            ErrorKind::LimitReached
        }
        _ => ErrorKind::Io,
    };
    LinkError::new(kind, "spawn", "the container has no room for another process").with_source(error)
}

fn stdin(mode: StdinMode) -> io::Result<(Option<pipe::Sender>, OwnedFd)> {
    match mode {
        StdinMode::Null => Ok((None, std::fs::File::open("/dev/null")?.into())),
        StdinMode::Piped => {
            let (theirs, ours) = io::pipe()?;
            Ok((Some(sender(ours)?), theirs.into()))
        }
    }
}

fn receiver(pipe: PipeReader) -> io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd(pipe.into())
}

fn sender(pipe: PipeWriter) -> io::Result<pipe::Sender> {
    pipe::Sender::from_owned_fd(pipe.into())
}
