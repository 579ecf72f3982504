//! The socket carrier: dials every socket that appears in the link directory, as the real init does.

use std::collections::HashSet;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use inotify::{Inotify, WatchMask};
use tokio::net::UnixStream;

use super::Container;

/// What names of link sockets end with.
const SUFFIX: &str = ".sock";

/// Dials what is in `dir` and what appears there, for as long as the container lives.
pub(in crate::memory) async fn dial(container: Arc<Container>, dir: PathBuf) {
    let Ok(watcher) = Inotify::init() else { return };
    if watcher
        .watches()
        .add(&dir, WatchMask::CREATE | WatchMask::MOVED_TO)
        .is_err()
    {
        return;
    }
    let Ok(mut changes) = watcher.into_event_stream([0; 4096]) else {
        return;
    };
    let mut allowed = container.dials();
    let dialled = Arc::new(Mutex::new(HashSet::new()));
    loop {
        if *allowed.borrow_and_update() {
            for name in sockets(&dir) {
                if dialled
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(name.clone())
                {
                    container.spawn(one(container.clone(), dir.clone(), name, dialled.clone()));
                }
            }
        }
        tokio::select! {
            // Cancel-safe: an event that is not taken is there at the next call, and each look lists everything.
            change = changes.next() => if change.is_none() { return },
            // Cancel-safe, as documented for `changed`.
            changed = allowed.changed() => if changed.is_err() { return },
        }
    }
}

fn sockets(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.ends_with(SUFFIX)).collect()
}

/// One link over one socket. A host that closes it and goes on listening is dialled again at the next change.
async fn one(container: Arc<Container>, dir: PathBuf, name: String, dialled: Arc<Mutex<HashSet<String>>>) {
    if let Some(io) = connect(&dir, &name).await {
        let ended = container.link(io);
        let _ = ended.await;
    }
    dialled
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(&name);
}

/// Connects through a handle of the directory: its own path may be longer than a socket address.
async fn connect(dir: &Path, name: &str) -> Option<UnixStream> {
    let handle = std::fs::File::open(dir).ok()?;
    UnixStream::connect(format!("/proc/self/fd/{}/{name}", handle.as_raw_fd()))
        .await
        .ok()
}
