//! What was taken on and is not put away yet: a small file for each task and each analysis.
//!
//! It is written before a client is told that its task was accepted, says which session is the task's as soon as there is
//! one, and is removed when that session is gone. So the next process knows what still has to be done, and which sessions
//! are this interface's own: labels say nothing of that, anybody can give a session any.

mod entry;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use session_core::agent::MAX_PROMPT_BYTES;
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::SessionId;
use session_core::state_dir::PrivateDir;

pub(super) use self::entry::{By, Entry, TaskWork, Work};

const SUFFIX: &str = ".json";
const ASIDE: &str = ".unreadable";
/// JSON makes at most six bytes of one; the rest are names and times.
const MAX_BYTES: usize = 6 * MAX_PROMPT_BYTES + (64 << 10);
/// All files together.
const MAX_TOTAL: usize = 128 << 20;
/// More than may ever wait and run.
const MAX_FILES: usize = 4_096;

/// See the module. Cheap to clone. Everything it does is durable when it returns.
#[derive(Debug, Clone)]
pub(super) struct Journal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: Arc<PrivateDir>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    next: u64,
    /// Bytes of each file.
    sizes: HashMap<SessionId, usize>,
}

impl Journal {
    pub(super) fn new(dir: Arc<PrivateDir>) -> Self {
        Self(Arc::new(Inner {
            dir,
            known: Mutex::default(),
        }))
    }

    /// Takes something on.
    pub(super) async fn add(&self, entry: Entry) -> Result<()> {
        self.blocking(move |inner| inner.add(entry)).await
    }

    /// Says which session is its own, at which attempt.
    pub(super) async fn set_session(
        &self,
        id: SessionId,
        session: Option<SessionId>,
        attempt: u32,
    ) -> Result<()> {
        self.blocking(move |inner| inner.set_session(id, session, attempt))
            .await
    }

    /// Forgets it. What cannot be forgotten is looked at again by the next process.
    pub(super) async fn remove(&self, id: SessionId) {
        let removed = self.blocking(move |inner| inner.remove(id)).await;
        if let Err(error) = removed {
            tracing::warn!(task = %id, %error, "the file of a task could not be removed");
        }
    }

    /// Everything that is there, in its order. What cannot be read is kept aside.
    pub(super) async fn load(&self) -> Result<Vec<Entry>> {
        self.blocking(Inner::load).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = self.0.clone();
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .map_err(|_| failed(ErrorKind::Internal, "the work on its file ended early"))?
    }
}

impl Inner {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, mut entry: Entry) -> Result<()> {
        entry.number = {
            let mut known = self.known();
            known.next += 1;
            known.next
        };
        self.write(&entry)
    }

    fn set_session(&self, id: SessionId, session: Option<SessionId>, attempt: u32) -> Result<()> {
        let bytes = self.dir.read(&name(id), MAX_BYTES)?;
        let bytes = bytes.ok_or_else(|| failed(ErrorKind::NotFound, "its file is gone"))?;
        let mut entry = Entry::read(id, &bytes).map_err(|why| {
            failed(ErrorKind::StoreFailed, "its file cannot be read any more").with_context("why", why)
        })?;
        (entry.session, entry.attempt) = (session, attempt);
        self.write(&entry)
    }

    fn write(&self, entry: &Entry) -> Result<()> {
        let bytes = serde_json::to_vec(entry).map_err(|source| {
            failed(ErrorKind::Internal, "what was taken on cannot be written").with_source(source)
        })?;
        // Its room first, so that others who write meanwhile see it taken.
        let before = self.reserve(entry.id, bytes.len())?;
        self.dir.replace(&name(entry.id), &bytes).inspect_err(|_| {
            let mut known = self.known();
            match before {
                Some(before) => known.sizes.insert(entry.id, before),
                None => known.sizes.remove(&entry.id),
            };
        })
    }

    /// Counts a file's bytes; answers how many it had.
    fn reserve(&self, id: SessionId, bytes: usize) -> Result<Option<usize>> {
        let mut known = self.known();
        let before = known.sizes.get(&id).copied();
        // What has a file already is never refused: it grows by an id at most.
        if before.is_none() {
            let total: usize = known.sizes.values().sum();
            if known.sizes.len() >= MAX_FILES || total + bytes > MAX_TOTAL {
                return Err(
                    failed(ErrorKind::LimitExceeded, "too much waits already").with_hint("try again later")
                );
            }
        }
        known.sizes.insert(id, bytes);
        Ok(before)
    }

    fn remove(&self, id: SessionId) -> Result<()> {
        let path = self.dir.path().join(name(id));
        match fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => return Err(self.io(source)),
            _ => {}
        }
        self.known().sizes.remove(&id);
        // Otherwise a file could come back with the power.
        let synced = fs::File::open(self.dir.path()).and_then(|dir| dir.sync_all());
        synced.map_err(|source| self.io(source))
    }

    fn load(&self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for file in fs::read_dir(self.dir.path()).map_err(|source| self.io(source))? {
            let file = file.map_err(|source| self.io(source))?.file_name();
            let Some(id) = id(&file) else {
                continue;
            };
            if entries.len() >= MAX_FILES {
                tracing::error!(dir = ?self.dir, "there are more files of tasks than were ever written");
                break;
            }
            entries.extend(self.read(id));
        }
        entries.sort_by_key(|entry| entry.number);
        let mut known = self.known();
        known.next = known
            .next
            .max(entries.last().map_or(0, |last: &Entry| last.number));
        Ok(entries)
    }

    fn read(&self, id: SessionId) -> Option<Entry> {
        let why = match self.dir.read(&name(id), MAX_BYTES) {
            Ok(Some(bytes)) => match Entry::read(id, &bytes) {
                Ok(entry) => {
                    self.known().sizes.insert(id, bytes.len());
                    return Some(entry);
                }
                Err(why) => why,
            },
            Ok(None) => return None,
            // It may be there again the next time.
            Err(error) if error.kind() == ErrorKind::HostIo => {
                tracing::error!(task = %id, %error, "the file of a task cannot be read");
                return None;
            }
            Err(error) => error.to_string(),
        };
        let (from, to) = (name(id), format!("{}{ASIDE}", name(id)));
        tracing::error!(dir = ?self.dir, file = to, why, "the file of a task cannot be used, and is kept aside");
        if let Err(error) = fs::rename(self.dir.path().join(from), self.dir.path().join(to)) {
            tracing::error!(task = %id, %error, "and it cannot be moved");
        }
        None
    }

    fn io(&self, source: std::io::Error) -> Error {
        failed(ErrorKind::HostIo, "its file cannot be reached")
            .with_context("dir", self.dir.path().display())
            .with_source(source)
    }
}

fn name(id: SessionId) -> String {
    format!("{id}{SUFFIX}")
}

/// The id in a file's name, when it is one of ours and written in no other way.
fn id(file: &OsString) -> Option<SessionId> {
    let id = file.to_str()?.strip_suffix(SUFFIX)?.parse().ok()?;
    (name(id).as_str() == file).then_some(id)
}

fn failed(kind: ErrorKind, message: &'static str) -> Error {
    Error::new(kind, "keep what was taken on", message)
}
