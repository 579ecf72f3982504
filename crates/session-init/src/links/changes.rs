//! What happens in the link directory. The kernel tells it; a user's processes may only have so many of its watches (128 by
//! default, over all containers), and whoever gets none looks for himself.

use std::{
    collections::HashMap,
    ffi::OsString,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::StreamExt;
use inotify::{EventMask, EventStream, Inotify, WatchMask};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::diagnose;

/// Bytes for events: some hundred at once.
const EVENTS: usize = 8 << 10;
/// Between two looks: a host waits no longer for the link, and an idle container does not heat the machine.
const LOOK: Duration = Duration::from_millis(100);

/// What there is to dial now and then.
pub(super) enum Changes {
    Told(EventStream<Vec<u8>>),
    Looked(Look),
}

/// What is told of the directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// These appeared or were touched.
    Names(Vec<OsString>),
    /// More than could be told: anything may have.
    Anything,
}

pub(super) struct Look {
    directory: PathBuf,
    every: Interval,
    seen: HashMap<OsString, Mark>,
}

/// Is another one when a file was replaced or touched: its inode, and when that changed last.
type Mark = (u64, i64, i64);

impl Changes {
    /// By `watch` if it can be had. The first look at the directory is the caller's.
    pub(super) fn of(directory: &Path, watch: impl FnOnce() -> io::Result<Inotify>) -> io::Result<Self> {
        match watch().and_then(|watch| told(watch, directory)) {
            Ok(events) => Ok(Self::Told(events)),
            Err(error) => {
                diagnose(&format!(
                    "the link directory is looked at ten times a second, for it cannot be watched: {error}"
                ));
                Look::new(directory).map(Self::Looked)
            }
        }
    }

    /// The next one; none when nothing will be told any more. Cancel-safe: what was not taken is told again.
    pub(super) async fn next(&mut self) -> io::Result<Option<Change>> {
        match self {
            Self::Told(events) => loop {
                match events.next().await.transpose()? {
                    None => return Ok(None),
                    Some(event) if event.mask.contains(EventMask::Q_OVERFLOW) => {
                        return Ok(Some(Change::Anything));
                    }
                    Some(event) => {
                        if let Some(name) = event.name {
                            return Ok(Some(Change::Names(vec![name])));
                        }
                    }
                }
            },
            Self::Looked(look) => loop {
                look.every.tick().await;
                let names = look.changed()?;
                if !names.is_empty() {
                    return Ok(Some(Change::Names(names)));
                }
            },
        }
    }
}

fn told(watch: Inotify, directory: &Path) -> io::Result<EventStream<Vec<u8>>> {
    let what = WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::ATTRIB;
    watch.watches().add(directory, what)?;
    watch.into_event_stream(vec![0; EVENTS])
}

impl Look {
    fn new(directory: &Path) -> io::Result<Self> {
        let mut every = interval(LOOK);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = Self {
            directory: directory.to_owned(),
            every,
            seen: HashMap::new(),
        };
        look.changed()?;
        Ok(look)
    }

    /// What appeared or was touched since the last look.
    fn changed(&mut self) -> io::Result<Vec<OsString>> {
        let mut now = HashMap::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let entry = entry?;
            // One that went away in the meantime is not there.
            if let Ok(meta) = entry.metadata() {
                now.insert(entry.file_name(), (meta.ino(), meta.ctime(), meta.ctime_nsec()));
            }
        }
        let before = std::mem::replace(&mut self.seen, now);
        let new = self
            .seen
            .iter()
            .filter(|(name, mark)| before.get(*name) != Some(*mark));
        Ok(new.map(|(name, _)| name.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    async fn names(changes: &mut Changes) -> Vec<OsString> {
        let next = tokio::time::timeout(Duration::from_secs(5), changes.next());
        match next.await.expect("it is told").expect("it can be looked at") {
            Some(Change::Names(names)) => names,
            other => panic!("{other:?}"),
        }
    }

    /// A new file, one that is touched and one that is put in another's place; nothing of what was there.
    async fn tells(watch: impl FnOnce() -> io::Result<Inotify>) -> Changes {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("a.sock");
        std::fs::write(dir.path().join("old.sock"), "").expect("a file");
        let mut changes = Changes::of(dir.path(), watch).expect("changes");
        std::fs::write(&file, "").expect("a file");
        assert_eq!(names(&mut changes).await, ["a.sock"]);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("touched");
        assert_eq!(names(&mut changes).await, ["a.sock"]);
        std::fs::write(dir.path().join("b"), "").expect("a file");
        assert_eq!(names(&mut changes).await, ["b"]);
        std::fs::rename(dir.path().join("b"), &file).expect("replaced");
        assert_eq!(names(&mut changes).await, ["a.sock"]);
        changes
    }

    #[tokio::test]
    async fn changes_are_told_by_the_kernel() {
        assert!(matches!(tells(Inotify::init).await, Changes::Told(_)));
    }

    #[tokio::test]
    async fn without_a_watch_they_are_looked_for() {
        let none_left = || {
            Err(io::Error::from_raw_os_error(
                rustix::io::Errno::MFILE.raw_os_error(),
            ))
        };
        assert!(matches!(tells(none_left).await, Changes::Looked(_)));
    }
}
