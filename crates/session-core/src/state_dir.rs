//! The state directory: the one place on the host where Cofferdam keeps what it must not lose.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::id::SessionId;

/// The state directory.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
}

/// The right to talk to a session's agent; released when dropped.
#[derive(Debug)]
pub struct AgentLock {}

impl StateDir {
    /// Opens it.
    pub fn open(_path: &Path) -> Result<Self> {
        unimplemented!()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The store's file.
    pub fn store_path(&self) -> PathBuf {
        self.path.join("store.db")
    }

    /// The key.
    pub fn signing_key(&self) -> Result<[u8; 32]> {
        unimplemented!()
    }

    /// A session's directory.
    pub fn session_dir(&self, session: &SessionId) -> PathBuf {
        self.path.join("sessions").join(session.to_string())
    }

    /// The directory of a session's link.
    pub fn create_link_dir(&self, _session: &SessionId) -> Result<PathBuf> {
        unimplemented!()
    }

    /// Removes it.
    pub fn remove_session_dir(&self, _session: &SessionId) -> Result<()> {
        unimplemented!()
    }

    /// Sessions with a directory.
    pub fn session_dirs(&self) -> Result<Vec<SessionId>> {
        unimplemented!()
    }

    /// Takes the lock.
    pub fn try_lock_agent(&self, _session: &SessionId) -> Result<Option<AgentLock>> {
        unimplemented!()
    }
}
