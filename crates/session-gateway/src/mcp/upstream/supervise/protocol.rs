//! What the gateway and a supervisor say to each other.

use std::ffi::{OsStr, OsString};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};

/// Bytes of a report.
pub(in crate::mcp::upstream) const REPORT: usize = 5;
/// Asks for SIGTERM to everything.
pub(in crate::mcp::upstream) const TERMINATE: u8 = b'T';
/// Asks for SIGKILL to everything.
pub(in crate::mcp::upstream) const KILL: u8 = b'K';
/// Longer than what the system takes as arguments and environment.
const MAX_JOB: u32 = 16 << 20;

/// What to start. Holds secrets, so it is never shown.
pub(in crate::mcp::upstream) struct Job {
    /// The program's file.
    pub(in crate::mcp::upstream) program: PathBuf,
    /// What it is called: its first argument.
    pub(in crate::mcp::upstream) name: OsString,
    /// The further arguments.
    pub(in crate::mcp::upstream) args: Vec<OsString>,
    /// All of its environment.
    pub(in crate::mcp::upstream) env: Vec<(OsString, OsString)>,
    /// Where it runs.
    pub(in crate::mcp::upstream) cwd: PathBuf,
}

impl Job {
    /// As fields, each with its length before it: texts of the system need not be Unicode.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        let count = |bytes: &mut Vec<u8>, count: usize| bytes.extend((count as u64).to_ne_bytes());
        let field = |bytes: &mut Vec<u8>, text: &OsStr| {
            count(bytes, text.len());
            bytes.extend(text.as_bytes());
        };
        field(&mut bytes, self.program.as_os_str());
        field(&mut bytes, &self.name);
        field(&mut bytes, self.cwd.as_os_str());
        count(&mut bytes, self.args.len());
        self.args.iter().for_each(|argument| field(&mut bytes, argument));
        count(&mut bytes, self.env.len());
        for (name, value) in &self.env {
            field(&mut bytes, name);
            field(&mut bytes, value);
        }
        let length = u32::try_from(bytes.len() - 4).unwrap_or(u32::MAX);
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let (program, name, cwd) = (fields.text()?, fields.text()?, fields.text()?);
        let args = (0..fields.count()?)
            .map(|_| fields.text())
            .collect::<Option<_>>()?;
        let env = (0..fields.count()?)
            .map(|_| Some((fields.text()?, fields.text()?)))
            .collect::<Option<_>>()?;
        Some(Self {
            program: program.into(),
            name,
            args,
            env,
            cwd: cwd.into(),
        })
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn count(&mut self) -> Option<usize> {
        let (count, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        usize::try_from(u64::from_ne_bytes(*count)).ok()
    }

    fn text(&mut self) -> Option<OsString> {
        let length = self.count()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(OsString::from_vec(text.to_vec()))
    }
}

/// Why a program could not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mcp::upstream) enum Refusal {
    /// It, or the interpreter that it names, is not there.
    NotFound,
    NotExecutable,
    BadWorkingDirectory,
    /// There is no room for another process.
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

impl Refusal {
    /// What a failed start means.
    pub(in crate::mcp::upstream) fn of(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE) => Self::Exhausted,
            Some(Errno::TOOBIG) => Self::TooLong,
            Some(Errno::NOENT | Errno::NOTDIR) => Self::NotFound,
            _ => Self::NotExecutable,
        }
    }

    /// For people.
    pub(in crate::mcp::upstream) fn told(self) -> &'static str {
        match self {
            Self::NotFound => "its program, or the interpreter that the program names, is not there",
            Self::NotExecutable => "its program cannot be executed",
            Self::BadWorkingDirectory => "its working directory is not there",
            Self::Exhausted => "there is no room for another process on this host",
            Self::TooLong => "its arguments and environment are longer than the system takes",
        }
    }
}

/// What a supervisor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mcp::upstream) enum Report {
    /// The program runs.
    Started { pid: u32 },
    /// It does not.
    Failed(Refusal),
    /// It ended with a code.
    Exited(i32),
    /// It was ended by a signal.
    Killed(i32),
}

impl Report {
    pub(in crate::mcp::upstream) fn encode(self) -> [u8; REPORT] {
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

    pub(in crate::mcp::upstream) fn decode([tag, value @ ..]: [u8; REPORT]) -> Option<Self> {
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

/// Hands a job to the supervisor at the other end of `control`. Blocks only when the job is longer than what a socket
/// takes at once and the supervisor is not there yet.
pub(in crate::mcp::upstream) fn send_job(
    control: &mut UnixStream,
    job: &Job,
    streams: [&OwnedFd; 3],
) -> io::Result<()> {
    let fds = streams.map(AsFd::as_fd);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(
        &*control,
        &[IoSlice::new(&[0])],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?;
    control.write_all(&job.encode())
}

/// The supervisor's side of that.
pub(super) fn receive_job(control: &mut UnixStream) -> io::Result<(Job, [OwnedFd; 3])> {
    let streams = receive_streams(&*control)?;
    let mut length = [0; 4];
    control.read_exact(&mut length)?;
    let length = u32::from_ne_bytes(length);
    if length > MAX_JOB {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length as usize];
    control.read_exact(&mut bytes)?;
    let job = Job::decode(&bytes).ok_or(io::ErrorKind::InvalidData)?;
    Ok((job, streams))
}

fn receive_streams(control: impl AsFd) -> io::Result<[OwnedFd; 3]> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    rustix::net::recvmsg(control, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, flags)?;
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    fds.try_into()
        .map_err(|_wrong| io::Error::other("not three file descriptors"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(Report::decode([9; REPORT]), None);
    }

    #[test]
    fn jobs_round_trip_byte_for_byte() {
        let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let job = Job {
            program: "/bin/sh".into(),
            name: text(b"s\xffh"),
            args: vec![text(b""), text(b"a b\n\xfe")],
            env: vec![(text(b"K"), text(b"v=\xfd"))],
            cwd: "/".into(),
        };
        let bytes = job.encode();
        let got = Job::decode(&bytes[4..]).unwrap();
        assert_eq!(
            (got.program, got.name, got.args, got.env, got.cwd),
            (job.program, job.name, job.args, job.env, job.cwd)
        );
        for end in 4..bytes.len() {
            assert!(Job::decode(&bytes[4..end]).is_none(), "cut at {end}");
        }
    }
}
