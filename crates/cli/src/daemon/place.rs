//! Where a daemon is found, and whether what is there can be trusted.
//!
//! The socket is in the state directory, which nobody else can enter. What stands in its place and is not our socket is
//! somebody's doing: it is told and never replaced.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use session_core::error::{Error, ErrorKind, Result};
use session_core::state_dir::StateDir;

const OPERATION: &str = "reach the daemon";
/// The name of the socket in a state directory.
const SOCKET: &str = "cofferdam.sock";
/// The most bytes of a socket's path, its closing NUL included.
const MAX_PATH: usize = 108;

/// What is at the place of the socket.
#[derive(Debug, PartialEq, Eq)]
pub enum Presence {
    /// Somebody answers.
    Answers,
    /// Nobody does: there is no socket, or one that a daemon left behind when it was killed.
    Nobody,
}

/// The place of the socket, judged.
///
/// # Errors
/// `StateDirRefused` when its path is too long, or when what is there is not a socket of ours.
pub fn socket(state: &StateDir) -> Result<PathBuf> {
    let path = state.path().join(SOCKET);
    if path.as_os_str().as_bytes().len() >= MAX_PATH {
        return Err(
            refused(&path, "the path of its socket is longer than a socket's may be")
                .with_hint("choose a state directory with a shorter path, or use --embedded"),
        );
    }
    match path.symlink_metadata() {
        Ok(found) if found.file_type().is_socket() && found.uid() == rustix::process::geteuid().as_raw() => {
            Ok(path)
        }
        Ok(_) => Err(refused(
            &path,
            "what is in the place of its socket is not a socket of ours",
        )
        .with_hint(format!(
            "see what it is and who put it there, then move {} away",
            path.display()
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path),
        Err(source) => Err(Error::new(
            ErrorKind::HostIo,
            OPERATION,
            "the place of its socket cannot be looked at",
        )
        .with_context("path", path.display())
        .with_source(source)),
    }
}

/// Whether somebody answers at a socket. Takes microseconds: nothing is said.
///
/// # Errors
/// `HostIo` when the system refuses the connection for another reason than that nobody listens.
pub fn presence(socket: &Path) -> Result<Presence> {
    match UnixStream::connect(socket) {
        Ok(_) => Ok(Presence::Answers),
        // Its queue is full: it is there.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Presence::Answers),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            Ok(Presence::Nobody)
        }
        Err(source) => Err(
            Error::new(ErrorKind::HostIo, OPERATION, "its socket cannot be connected to")
                .with_context("path", socket.display())
                .with_context("cause", &source)
                .with_source(source),
        ),
    }
}

fn refused(path: &Path, message: &'static str) -> Error {
    Error::new(ErrorKind::StateDirRefused, OPERATION, message).with_context("path", path.display())
}
