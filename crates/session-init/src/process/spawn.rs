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

use super::supervise;

/// What init holds of a command that was started.
#[derive(Debug)]
pub(super) struct Handles {
    pub(super) supervisor: i32,
    pub(super) control: UnixStream,
    pub(super) stdin: Option<pipe::Sender>,
    pub(super) stdout: pipe::Receiver,
    pub(super) stderr: pipe::Receiver,
}

/// Starts a supervisor and hands it the command's ends of the pipes.
pub(super) fn start(spec: &SpawnSpec) -> Result<Handles> {
    try_start(spec).map_err(|error| {
        let exhausted = [
            rustix::io::Errno::AGAIN,
            rustix::io::Errno::NOMEM,
            rustix::io::Errno::MFILE,
            rustix::io::Errno::NFILE,
        ];
        let kind = match rustix::io::Errno::from_io_error(&error) {
            Some(errno) if exhausted.contains(&errno) => ErrorKind::LimitReached,
            _ => ErrorKind::Io,
        };
        LinkError::new(kind, "spawn", "the container has no room for another process").with_source(error)
    })
}

fn try_start(spec: &SpawnSpec) -> io::Result<Handles> {
    let (stdout, command_stdout) = io::pipe()?;
    let (stderr, command_stderr) = io::pipe()?;
    let (stdin, command_stdin) = stdin(spec.stdin)?;
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
    let supervisor = i32::try_from(child.id()).map_err(io::Error::other)?;
    supervise::send_streams(
        &control,
        [&command_stdin, &command_stdout.into(), &command_stderr.into()],
    )?;
    control.set_nonblocking(true)?;
    Ok(Handles {
        supervisor,
        control: UnixStream::from_std(control)?,
        stdin,
        stdout: receiver(stdout)?,
        stderr: receiver(stderr)?,
    })
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
