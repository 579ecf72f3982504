//! The socket of a state directory: for its own user alone, from its first moment on.
//!
//! It is bound under another name, with its mode set before it has one, and renamed into place when it listens; so there
//! is no moment at which somebody else could connect, or at which a client finds a socket that does not listen. What is
//! at its place already is replaced only if it is a socket of ours that nobody listens on, and only by whoever holds the
//! lock of the serving process.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use session_core::error::{Error, ErrorKind, Result};
use session_core::state_dir::ServingLock;
use tokio::net::UnixListener;

const OPERATION: &str = "listen on the socket";
/// What fits into `sockaddr_un` before its final NUL, in bytes.
pub const MAX_SOCKET_PATH: usize = 107;
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);
const BACKLOG: i32 = 1024;

/// A socket that listens. [`crate::HttpServer::serve`] removes its file when it stops listening.
#[derive(Debug)]
pub struct ServerSocket {
    pub(crate) listener: UnixListener,
    path: PathBuf,
    dir: OwnedFd,
    /// Device and inode of what was bound.
    file: (u64, u64),
}

impl ServerSocket {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file if it is still that of this socket.
    pub(crate) fn remove(&self) {
        let Some(name) = self.path.file_name() else { return };
        let ours = rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| (stat.st_dev, stat.st_ino) == self.file);
        if ours && let Err(error) = rustix::fs::unlinkat(&self.dir, name, AtFlags::empty()) {
            tracing::debug!(%error, "the socket's file stays behind");
        }
    }
}

/// Listens at `path`, whose directory must be closed to others' writing.
///
/// # Errors
/// `InvalidArgument` for a path that is too long for a socket; `StateDirRefused` when something else is there or the
/// directory is open to others; `Busy` when somebody listens there; `HostIo`.
///
/// # Panics
/// Outside of a tokio runtime with I/O.
pub fn bind_socket(path: &Path, _lock: &ServingLock) -> Result<ServerSocket> {
    let failed = |source: io::Error| {
        Error::new(ErrorKind::HostIo, OPERATION, "the host refused")
            .with_context("path", path.display())
            .with_source(source)
    };
    let path = std::path::absolute(path).map_err(failed)?;
    let length = path.as_os_str().as_bytes().len();
    if length > MAX_SOCKET_PATH {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            OPERATION,
            "the path is too long for a socket",
        )
        .with_context("path", path.display())
        .with_context("bytes", length)
        .with_hint("use a state directory with a shorter path; 107 bytes are what the kernel takes"));
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(refused(&path, "this is no path of a file"));
    };
    let dir = open_parent(parent)?;
    make_room(&dir, name, &path)?;
    let (listener, file) = publish(&dir, name).map_err(failed)?;
    Ok(ServerSocket {
        listener: UnixListener::from_std(listener).map_err(failed)?,
        path,
        dir,
        file,
    })
}

fn open_parent(parent: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let failed = |errno: Errno| match errno {
        Errno::LOOP | Errno::NOTDIR => {
            refused(parent, "the directory of the socket is a symlink or no directory")
        }
        errno => Error::new(ErrorKind::HostIo, OPERATION, "the host refused")
            .with_context("path", parent.display())
            .with_source(io::Error::from(errno)),
    };
    let dir = rustix::fs::open(parent, flags, Mode::empty()).map_err(failed)?;
    let stat = rustix::fs::fstat(&dir).map_err(failed)?;
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(refused(
            parent,
            "the directory of the socket belongs to somebody else",
        ));
    }
    if stat.st_mode & 0o022 != 0 {
        return Err(refused(
            parent,
            "others can write into the directory of the socket",
        ));
    }
    Ok(dir)
}

/// Sees that nothing is at `name` but, at most, a socket of ours that nobody listens on.
fn make_room(dir: &OwnedFd, name: &std::ffi::OsStr, path: &Path) -> Result<()> {
    let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => {
            return Err(Error::new(ErrorKind::HostIo, OPERATION, "the host refused")
                .with_context("path", path.display())
                .with_source(io::Error::from(errno)));
        }
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Socket => {}
        FileType::Symlink => return Err(refused(path, "there is a symlink at the place of the socket")),
        _ => {
            return Err(refused(
                path,
                "there is something else at the place of the socket",
            ));
        }
    }
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(refused(path, "there is a socket of somebody else at its place"));
    }
    match std::os::unix::net::UnixStream::connect(through(dir, name)) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        _ => Err(
            Error::new(ErrorKind::Busy, OPERATION, "another program listens there")
                .with_context("path", path.display())
                .with_hint("end that program; it is no server of this state directory"),
        ),
    }
}

/// Binds, sets the mode, listens and renames into place, in this order.
fn publish(
    dir: &OwnedFd,
    name: &std::ffi::OsStr,
) -> io::Result<(std::os::unix::net::UnixListener, (u64, u64))> {
    let draft = format!(".{:016x}.sock", rand::random::<u64>());
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    // The kernel gives the file the mode of the socket, less the umask: nothing for others from the first moment.
    rustix::fs::fchmod(&socket, PRIVATE)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(through(dir, draft.as_ref()))?)?;
    let listened = || -> io::Result<(u64, u64)> {
        rustix::fs::chmodat(dir, &draft, PRIVATE, AtFlags::empty())?;
        let stat = rustix::fs::statat(dir, &draft, AtFlags::SYMLINK_NOFOLLOW)?;
        rustix::net::listen(&socket, BACKLOG)?;
        rustix::fs::renameat(dir, &draft, dir, name)?;
        Ok((stat.st_dev, stat.st_ino))
    };
    match listened() {
        Ok(file) => Ok((socket.into(), file)),
        Err(error) => {
            // The failure is told; a file that nobody listens on harms nobody.
            let _ = rustix::fs::unlinkat(dir, &draft, AtFlags::empty());
            Err(error)
        }
    }
}

/// A path to what is in an opened directory, short enough for a socket whatever the directory's own path is.
fn through(dir: &OwnedFd, name: &std::ffi::OsStr) -> PathBuf {
    Path::new("/proc/self/fd")
        .join(dir.as_raw_fd().to_string())
        .join(name)
}

fn refused(path: &Path, message: &'static str) -> Error {
    Error::new(ErrorKind::StateDirRefused, OPERATION, message)
        .with_context("path", path.display())
        .with_hint("move away what is there, or use another state directory")
}
