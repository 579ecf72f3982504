//! The state directory: the one place on the host where Cofferdam keeps what it must not lose.
//!
//! ```text
//! <state>/                     0700, ours, never a symlink
//!   store.db                   0600, what is known about sessions
//!   audit.head                 0600, where the audit log ended last
//!   restore.ready/             a backup that takes its place; before-restore-…/ has what was there
//!   restore.lock               shared by those who open the store, alone for those who replace it
//!   serve.lock                 held by the process that serves the directory
//!   cofferdam.sock             where that process listens
//!   keys/                      0700, what is secret
//!     label.key                0600, signs what we make on an engine
//!   checkpoints/               0700, work of sessions that survives their containers
//!   storage/                   0700, what front ends must not lose
//!   compat-tasks/              0700, what the older interface has taken on
//!   sessions/<id>/             0700, a session's own
//!     agent.lock               held by the process that talks to the agent
//!     egress.lock              held by the process that serves the way out of programs that are not the agent's
//!     sidecar.lock             held by the process that wants it, when it is a sidecar
//!     work.lock                shared by whoever works in it, when it ends by itself after idleness
//!     link/                    0755, shown inside the container, whose init watches it; its parents are 0700
//! ```
//!
//! Whoever can write here can make us do anything, so a directory that others can enter, that belongs to somebody else
//! or that is a symlink is refused (CVE-2026-46406). It is opened once; what is below it is reached through that handle.

mod abandoned;
mod contents;
pub mod drafts;
mod files;
mod head;
mod private;
mod room;
mod serving;
mod swap;
#[cfg(test)]
mod tests;
mod work;

use std::fmt;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

pub(crate) use self::contents::{Content, ContentsLock};
pub use self::private::{FileLock, FileStamp, PrivateDir};
pub(crate) use self::room::Room;
pub use self::serving::ServingLock;
pub use self::work::{WorkLock, WorkStamp};
use crate::error::{Error, ErrorKind, Result};
use crate::id::SessionId;
use files::{OPEN_DIR, PRIVATE_DIR, PRIVATE_FILE, Refusal};

const KEY_LEN: usize = 32;
const LINK_DIR_MODE: Mode = Mode::from_raw_mode(0o755);
/// How often those who lock and those who remove may get in each other's way before one gives up.
const LOCK_ATTEMPTS: usize = 16;
const EXCLUSIVE: FlockOperation = FlockOperation::NonBlockingLockExclusive;

/// An opened state directory. Cheap to clone.
#[derive(Clone)]
pub struct StateDir {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    dir: OwnedFd,
    promised: room::Promised,
}

impl fmt::Debug for StateDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StateDir").field(&self.inner.path).finish()
    }
}

/// The right to talk to a session's agent. Released when it is dropped, or when the process ends in whatever way.
#[derive(Debug)]
pub struct AgentLock {
    _file: OwnedFd,
}

/// The right to serve the way out of a session's programs while nobody owns its agent. Released like [`AgentLock`].
#[derive(Debug)]
pub struct EgressLock {
    _file: OwnedFd,
}

/// Keeps a sidecar for as long as it is held. Released like [`AgentLock`].
#[derive(Debug)]
pub struct SidecarLock {
    _file: OwnedFd,
}

impl StateDir {
    /// Opens the directory, and makes it first when it does not exist.
    ///
    /// # Errors
    /// `StateDirRefused` when it is a symlink, no directory, somebody else's, or open to others; `HostIo` when it can
    /// be neither made nor opened.
    pub fn open(path: &Path) -> Result<Self> {
        const OPERATION: &str = "open the state directory";
        let failed = |source: io::Error| io_error(OPERATION, path, source);
        // Without a trailing slash: `O_NOFOLLOW` would follow a symlink that has one.
        let path: PathBuf = std::path::absolute(path).map_err(failed)?.components().collect();
        // A symlink is there, wherever it leads: it is looked at below.
        if path.symlink_metadata().is_err() {
            create_with_parents(&path).map_err(failed)?;
        }
        let dir = rustix::fs::open(&path, OPEN_DIR, Mode::empty()).map_err(|errno| match errno {
            Errno::LOOP | Errno::NOTDIR => refused(OPERATION, &path, Refusal::NotADirectory),
            errno => failed(errno.into()),
        })?;
        files::check_dir(&dir, PRIVATE_DIR)
            .map_err(failed)?
            .map_err(|refusal| refused(OPERATION, &path, refusal))?;
        Ok(Self {
            inner: Arc::new(Inner {
                path,
                dir,
                promised: room::Promised::default(),
            }),
        })
    }

    /// Where it is, absolute.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The store's file.
    pub fn store_path(&self) -> PathBuf {
        self.inner.path.join(Self::STORE)
    }

    /// The key that signs what we make on an engine: 32 random bytes, made at the first call and the same ever after,
    /// also when several processes ask first at the same time.
    ///
    /// # Errors
    /// `StateDirRefused` when the key's file is damaged or open to others: it is never replaced, because what it signed
    /// would no longer be ours.
    pub fn signing_key(&self) -> Result<[u8; KEY_LEN]> {
        const OPERATION: &str = "read the signing key";
        const NAME: &str = "label.key";
        // A restore that was broken off has another one.
        let _unswapped = self.lock_unswapped()?;
        let keys = self.inner.path.join("keys");
        let dir = subdir(OPERATION, &self.inner.dir, &keys, PRIVATE_DIR)?;
        let path = keys.join(NAME);
        if !self.has_file(OPERATION, &dir, NAME, &path)? {
            files::create_once(&dir, NAME, &rand::random::<[u8; KEY_LEN]>())
                .map_err(|source| io_error("create the signing key", &path, source))?;
        }
        let bytes =
            files::read(&dir, NAME, KEY_LEN + 1).map_err(|source| io_error(OPERATION, &path, source))?;
        bytes.try_into().map_err(|_| {
            Error::new(
                ErrorKind::StateDirRefused,
                OPERATION,
                "the key is not 32 bytes long",
            )
            .with_context("path", path.display())
            .with_hint("restore it from a copy; without it, what Cofferdam made is not recognised any more")
        })
    }

    /// The directory of a session; it need not exist.
    pub fn session_dir(&self, session: &SessionId) -> PathBuf {
        self.inner.path.join(Self::SESSIONS).join(session.to_string())
    }

    /// Makes the directory of a session's link, if need be. Its parents are closed to everybody else; a bind mount of it
    /// lets the user inside a container pass through to names that it knows.
    ///
    /// # Errors
    /// `StateDirRefused`, `HostIo`.
    pub fn create_link_dir(&self, session: &SessionId) -> Result<PathBuf> {
        const OPERATION: &str = "create the link's directory";
        let dir = self.open_session_dir(OPERATION, session)?;
        let path = self.session_dir(session).join("link");
        subdir(OPERATION, &dir, &path, LINK_DIR_MODE)?;
        Ok(path)
    }

    /// Removes the directory of a session with everything in it. Succeeds when there is none.
    ///
    /// # Errors
    /// `HostIo`.
    pub fn remove_session_dir(&self, session: &SessionId) -> Result<()> {
        fail::fail_point!("state.session_dir.remove", |_| crate::fault::host(
            "remove the session's directory"
        ));
        let path = self.session_dir(session);
        let mut attempt = 1;
        loop {
            match std::fs::remove_dir_all(&path) {
                Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
                // Another process put its lock file into it in between.
                Err(source)
                    if source.kind() == io::ErrorKind::DirectoryNotEmpty && attempt < LOCK_ATTEMPTS =>
                {
                    attempt += 1;
                }
                outcome => {
                    return outcome
                        .map_err(|source| io_error("remove the session's directory", &path, source));
                }
            }
        }
    }

    /// The sessions that have a directory, in no order.
    ///
    /// # Errors
    /// `HostIo`.
    pub fn session_dirs(&self) -> Result<Vec<SessionId>> {
        const OPERATION: &str = "list the sessions' directories";
        let path = self.inner.path.join(Self::SESSIONS);
        let failed = |source: io::Error| io_error(OPERATION, &path, source);
        let dir = subdir(OPERATION, &self.inner.dir, &path, PRIVATE_DIR)?;
        let mut sessions = Vec::new();
        for entry in rustix::fs::Dir::read_from(&dir).map_err(|errno| failed(errno.into()))? {
            let entry = entry.map_err(|errno| failed(errno.into()))?;
            // Whatever else somebody put there is not ours.
            if let Ok(session) = entry.file_name().to_string_lossy().parse() {
                sessions.push(session);
            }
        }
        Ok(sessions)
    }

    /// Takes the right to talk to a session's agent, without waiting; `None` when another holder, in this process or in
    /// another, has it.
    ///
    /// # Errors
    /// `StateDirRefused`, `HostIo`.
    pub fn try_lock_agent(&self, session: &SessionId) -> Result<Option<AgentLock>> {
        let file = self.try_lock("lock the session's agent", session, "agent.lock", EXCLUSIVE)?;
        Ok(file.map(|file| AgentLock { _file: file }))
    }

    /// Takes the right to serve the way out of programs that are not the agent's, like [`Self::try_lock_agent`].
    ///
    /// # Errors
    /// `StateDirRefused`, `HostIo`.
    pub fn try_lock_egress(&self, session: &SessionId) -> Result<Option<EgressLock>> {
        let file = self.try_lock("lock the session's way out", session, "egress.lock", EXCLUSIVE)?;
        Ok(file.map(|file| EgressLock { _file: file }))
    }

    /// Takes the right to keep or end a sidecar, like [`Self::try_lock_agent`].
    ///
    /// # Errors
    /// `StateDirRefused`, `HostIo`.
    pub fn try_lock_sidecar(&self, session: &SessionId) -> Result<Option<SidecarLock>> {
        let file = self.try_lock("lock the sidecar", session, "sidecar.lock", EXCLUSIVE)?;
        Ok(file.map(|file| SidecarLock { _file: file }))
    }

    fn try_lock(
        &self,
        operation: &'static str,
        session: &SessionId,
        name: &'static str,
        how: FlockOperation,
    ) -> Result<Option<OwnedFd>> {
        fail::fail_point!("state.lock.before", |_| crate::fault::host(operation));
        let path = self.session_dir(session).join(name);
        let failed = |errno: Errno| io_error(operation, &path, errno.into());
        for _ in 0..LOCK_ATTEMPTS {
            let dir = self.open_session_dir(operation, session)?;
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file = match rustix::fs::openat(&dir, name, flags, PRIVATE_FILE) {
                // The directory was removed since it was opened.
                Err(Errno::NOENT) => continue,
                file => file.map_err(failed)?,
            };
            match rustix::fs::flock(&file, how) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(errno) => return Err(failed(errno)),
            }
            // A lock on a file that was removed meanwhile keeps nobody out.
            if files::is_named(&dir, name.as_ref(), &file).map_err(failed)? {
                return Ok(Some(file));
            }
        }
        Err(
            Error::new(ErrorKind::Busy, operation, "its directory is being removed")
                .with_context("session", session),
        )
    }

    const SESSIONS: &'static str = "sessions";
    const STORE: &'static str = "store.db";

    /// Whether the store's file exists. Looks at its entry only: to open and close a database's file in a process that
    /// has it open elsewhere would release the locks on it.
    pub(crate) fn has_store(&self) -> Result<bool> {
        self.has_file("open the store", &self.inner.dir, Self::STORE, &self.store_path())
    }

    /// Has `build` write a store under another name and puts it in place, whole or not at all. When another process was
    /// faster, its store stays and ours is dropped.
    pub(crate) fn create_store(&self, build: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let path = self.store_path();
        let failed = |source: io::Error| io_error("create the store", &path, source);
        drafts::sweep(&self.inner.dir, |_| true).map_err(failed)?;
        let draft = files::Draft::create(&self.inner.dir, Self::STORE, &[]).map_err(failed)?;
        build(&self.inner.path.join(draft.name()))?;
        draft.publish().map_err(failed)
    }

    fn open_session_dir(&self, operation: &'static str, session: &SessionId) -> Result<OwnedFd> {
        let parent = self.inner.path.join(Self::SESSIONS);
        let parent = subdir(operation, &self.inner.dir, &parent, PRIVATE_DIR)?;
        subdir(operation, &parent, &self.session_dir(session), PRIVATE_DIR)
    }

    fn has_file(&self, operation: &'static str, dir: &OwnedFd, name: &str, path: &Path) -> Result<bool> {
        match files::check_file(dir, name) {
            Ok(Ok(())) => Ok(true),
            Ok(Err(refusal)) => Err(refused(operation, path, refusal)),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(io_error(operation, path, source)),
        }
    }
}

/// Makes the directory and what is missing above it, for us alone and durably.
fn create_with_parents(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|above| !above.exists()).collect();
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_DIR.as_raw_mode())
        .create(path)?;
    for above in missing.into_iter().filter_map(Path::parent) {
        std::fs::File::open(above)?.sync_all()?;
    }
    Ok(())
}

/// Opens the directory at `path`, which is in `parent`, and makes it first when it does not exist.
fn subdir(operation: &'static str, parent: &OwnedFd, path: &Path, mode: Mode) -> Result<OwnedFd> {
    files::open_dir(parent, path.file_name().unwrap_or_default(), mode)
        .map_err(|source| io_error(operation, path, source))?
        .map_err(|refusal| refused(operation, path, refusal))
}

fn refused(operation: &'static str, path: &Path, refusal: Refusal) -> Error {
    let shown = path.display();
    let hint = match refusal {
        Refusal::NotADirectory => "name the directory itself as the state directory".to_owned(),
        Refusal::NotAFile => format!("move {shown} away; Cofferdam makes a new one"),
        Refusal::Foreign => "use a state directory that belongs to the user who runs Cofferdam".to_owned(),
        Refusal::DirOpenToOthers => format!("see what others may have put there, then: chmod 700 {shown}"),
        Refusal::FileOpenToOthers => format!("chmod 600 {shown}"),
    };
    Error::new(ErrorKind::StateDirRefused, operation, refusal.as_str())
        .with_context("path", shown)
        .with_hint(hint)
}

fn io_error(operation: &'static str, path: &Path, source: io::Error) -> Error {
    let full = source.kind() == io::ErrorKind::StorageFull;
    let error = Error::new(ErrorKind::HostIo, operation, "the host's file system refused")
        .with_context("path", path.display())
        .with_context("cause", &source)
        .with_retryable(full)
        .with_source(source);
    if full {
        error.with_hint("free space on the file system of the state directory, then try again")
    } else {
        error
    }
}
