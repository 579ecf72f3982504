//! The socket carrier's host end: a Unix socket in a directory of one session, bind-mounted read-only into its container.
//!
//! The host opens the directory once and works through that handle: nothing a container changes can redirect it, and a
//! path longer than a socket address allows is no obstacle.

use std::{
    fs, io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, RenameFlags},
    io::Errno,
    net::RecvFlags,
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Mutex,
};

use crate::error::{ErrorKind, LinkError, Result};

/// What names of link sockets end with; init dials every such name in its link directory.
pub const SUFFIX: &str = ".sock";

/// What the name of a socket that is not ready ends with.
const NEW_SUFFIX: &str = ".new";

/// The longest name without the suffix, so that the path through `/proc` fits a socket address.
const MAX_NAME: usize = 64;

/// How long a connection may say nothing before the next one is looked at.
const SILENCE: Duration = Duration::from_secs(1);

/// Listens for one session's init. Dropping it removes the socket.
#[derive(Debug)]
pub struct LinkListener {
    listener: UnixListener,
    /// A connection that has not spoken yet; kept here, so that giving up on `accept` does not give up on it.
    silent: Mutex<Option<UnixStream>>,
    directory: OwnedFd,
    file: String,
}

impl LinkListener {
    /// Listens at `<name>.sock` in `directory`, which must exist and belong to one session alone, under a parent that
    /// nobody else can enter: the socket itself is open to every user, because the container's is not known here.
    /// Sockets of hosts that died are removed on the way.
    ///
    /// # Errors
    /// `InvalidArgument` for a name other than 1 to 64 of `A-Z a-z 0-9 _ -`, `Conflict` if a living host has it, and what
    /// the system says about the directory.
    pub fn bind(directory: &Path, name: &str) -> Result<Self> {
        const OPERATION: &str = "bind link";
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(legal) {
            return Err(LinkError::invalid(
                OPERATION,
                "the name of a socket is 1 to 64 of `A-Z a-z 0-9 _ -`",
            ));
        }
        let located = |message, error| {
            LinkError::io(OPERATION, message, error)
                .with_context("directory", directory.display().to_string())
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(directory, flags, Mode::empty())
            .map_err(|error| located("the link directory cannot be opened", error.into()))?;
        let file = format!("{name}{SUFFIX}");
        remove_stale(&handle).map_err(|error| located("the link directory cannot be cleaned", error))?;
        // Under its own name a socket is seen only when it listens and is open to all: no host takes it for stale and no
        // init finds it closed.
        let new = format!("{name}{NEW_SUFFIX}");
        match rustix::fs::unlinkat(&handle, &new, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(located("the link directory cannot be cleaned", error.into())),
        }
        let listener = UnixListener::bind(through(&handle, &new))
            .map_err(|error| located("the socket cannot be made", error))?;
        fs::set_permissions(through(&handle, &new), fs::Permissions::from_mode(0o666))
            .map_err(|error| located("the socket cannot be opened to the container", error))?;
        rustix::fs::renameat_with(&handle, &new, &handle, &file, RenameFlags::NOREPLACE).map_err(
            |error| {
                if error == Errno::EXIST {
                    return LinkError::new(
                        ErrorKind::Conflict,
                        OPERATION,
                        "a living host listens under that name",
                    )
                    .with_context("name", name);
                }
                located("the socket cannot be given its name", error.into())
            },
        )?;
        Ok(Self {
            listener,
            silent: Mutex::default(),
            directory: handle,
            file,
        })
    }

    /// The sockets in a link's directory on which nobody listens any more: their hosts died.
    ///
    /// # Errors
    /// What the system says about the directory; `NotFound` when there is none.
    pub fn stale(directory: &Path) -> io::Result<Vec<String>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        find_stale(&rustix::fs::open(directory, flags, Mode::empty())?)
    }

    /// Removes such a socket, if still nobody listens. Succeeds when it is gone.
    ///
    /// # Errors
    /// As [`LinkListener::stale`].
    pub fn remove_stale(directory: &Path, file: &str) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let directory = rustix::fs::open(directory, flags, Mode::empty())?;
        if find_stale(&directory)?.iter().any(|stale| stale == file) {
            unlink(&directory, file)?;
        }
        Ok(())
    }

    /// The next connection that says something. Cancel-safe.
    ///
    /// An init speaks as soon as it has dialled. What does not is another host that looked whether this one lives, or
    /// something else in the container, and is closed.
    ///
    /// Every process of the container can connect, not only its init: compare [`UnixStream::peer_cred`]'s process id
    /// with that of the container's init where the engine tells it.
    ///
    /// # Errors
    /// What the system says; too many open files, for one, pass.
    pub async fn accept(&self) -> Result<UnixStream> {
        let failed = |error| LinkError::io("accept link", "the socket takes no connection", error);
        let mut silent = self.silent.lock().await;
        loop {
            let stream = match &*silent {
                Some(stream) => stream,
                None => silent.insert(self.listener.accept().await.map_err(failed)?.0),
            };
            let speaks = tokio::time::timeout(SILENCE, speaks(stream)).await == Ok(true);
            if let Some(stream) = silent.take().filter(|_| speaks) {
                return Ok(stream);
            }
        }
    }

    /// The name of the socket's file.
    pub fn file_name(&self) -> &str {
        &self.file
    }
}

impl Drop for LinkListener {
    fn drop(&mut self) {
        if let Err(error) = rustix::fs::unlinkat(&self.directory, &self.file, AtFlags::empty()) {
            tracing::debug!(%error, file = %self.file, "the link's socket was not removed");
        }
    }
}

/// Waits for the first byte, which stays to be read; `false` when there is none.
async fn speaks(stream: &UnixStream) -> bool {
    let peek = || {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        Ok(rustix::net::recv(stream, &mut [0_u8; 1], flags).map(|(_, length)| length > 0)?)
    };
    stream
        .async_io(tokio::io::Interest::READABLE, peek)
        .await
        .unwrap_or(false)
}

/// A path to `file` in an opened directory that is short however deep the directory lies.
fn through(directory: &OwnedFd, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{file}", directory.as_fd().as_raw_fd()))
}

/// Removes the sockets on which nobody listens any more.
fn remove_stale(directory: &OwnedFd) -> io::Result<()> {
    for file in find_stale(directory)? {
        unlink(directory, &file)?;
    }
    Ok(())
}

fn unlink(directory: &OwnedFd, file: &str) -> io::Result<()> {
    match rustix::fs::unlinkat(directory, file, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn find_stale(directory: &OwnedFd) -> io::Result<Vec<String>> {
    let mut stale = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        let Some(file) = entry
            .file_name()
            .to_str()
            .ok()
            .filter(|name| name.ends_with(SUFFIX))
        else {
            continue;
        };
        // A connect that succeeds does not disturb a living host: it takes only connections that speak.
        let refused = std::os::unix::net::UnixStream::connect(through(directory, file))
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        if refused {
            stale.push(file.to_owned());
        }
    }
    Ok(stale)
}
