//! Drafts: files under temporary names until they are whole.
//!
//! Whoever writes one holds its lock, which is the kernel's: it ends with its holder, however that ends. So a draft that can be
//! locked is nobody's any more, however young it is, and one that cannot has a writer, however long that is silent.
//! What is beside a draft, under its name and more, is part of it: it comes after the draft and goes before it.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::LOCK_ATTEMPTS;
use super::files::{PRIVATE_FILE, is_named};

const SUFFIX: &str = ".draft";

/// Makes a draft for us alone, under a name that begins with `prefix`, and locks it. It has a writer for as long as the file
/// is open, also once it has another name.
///
/// # Errors
/// When the file system refuses.
pub fn create(dir: &OwnedFd, prefix: &str) -> io::Result<(String, File)> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for _ in 0..LOCK_ATTEMPTS {
        let name = format!("{prefix}{:016x}{SUFFIX}", rand::random::<u64>());
        let file = rustix::fs::openat(dir, &name, flags, PRIVATE_FILE)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if is_named(dir, name.as_ref(), &file)? => return Ok((name, File::from(file))),
            // Whoever sweeps was between the two steps, and removes it.
            Ok(()) | Err(Errno::WOULDBLOCK) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

/// Removes the drafts whose writers are gone, as far as their names fit. Needed only before something is made: what was
/// made leaves no draft.
///
/// # Errors
/// When the file system refuses.
pub fn sweep(dir: &OwnedFd, fits: impl Fn(&OsStr) -> bool) -> io::Result<()> {
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if fits(name) {
            remove_abandoned(dir, name)?;
        }
    }
    Ok(())
}

/// Whether it is a draft, or part of one, whose writer is gone.
pub(super) fn is_abandoned(dir: &OwnedFd, name: &OsStr) -> bool {
    if_abandoned(dir, name, || ()).is_some()
}

/// Removes it if it is [abandoned](is_abandoned). Succeeds when it is gone.
pub(super) fn remove_abandoned(dir: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let removed = if_abandoned(dir, name, || rustix::fs::unlinkat(dir, name, AtFlags::empty()));
    match removed {
        None | Some(Ok(()) | Err(Errno::NOENT)) => Ok(()),
        Some(Err(errno)) => Err(errno.into()),
    }
}

/// Has `work` done while nobody can begin to write the draft. What cannot be opened or locked is left alone.
fn if_abandoned<T>(dir: &OwnedFd, name: &OsStr, work: impl FnOnce() -> T) -> Option<T> {
    let draft = draft_of(name)?;
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let held = match rustix::fs::openat(dir, draft, flags, Mode::empty()) {
        Ok(file) => Some(file),
        // Removed before what is beside it, by somebody who died in between.
        Err(Errno::NOENT) => None,
        Err(_) => return None,
    };
    if let Some(file) = &held {
        rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).ok()?;
        // One that got its name meanwhile was no draft any more when it was locked.
        is_named(dir, draft, file).ok().filter(|named| *named)?;
    }
    let done = work();
    drop(held);
    Some(done)
}

/// The draft of which this is a part; `None` when it is of none.
fn draft_of(name: &OsStr) -> Option<&OsStr> {
    let (bytes, suffix) = (name.as_bytes(), SUFFIX.as_bytes());
    let at = bytes.windows(suffix.len()).rposition(|part| part == suffix)?;
    Some(OsStr::from_bytes(&bytes[..at + suffix.len()]))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn open(dir: &Path) -> OwnedFd {
        File::open(dir).unwrap().into()
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_is_locked_stays_with_what_is_beside_it_and_what_is_not_goes() {
        let temp = tempfile::tempdir().unwrap();
        let dir = open(temp.path());
        let (name, held) = create(&dir, "x.").unwrap();
        let beside = format!("{name}-new-wal");
        let stay = [name.as_str(), beside.as_str(), "notes", "drafty"];
        let go = ["y.1.draft", "y.1.draft-new", "y.2.draft-new-wal"];
        for file in stay[1..].iter().chain(&go) {
            std::fs::write(temp.path().join(file), "").unwrap();
        }
        for file in stay.iter().chain(&go) {
            let abandoned = is_abandoned(&dir, file.as_ref());
            assert_eq!(abandoned, go.contains(file), "{file}");
        }
        let mut expected = stay.map(str::to_owned).to_vec();
        expected.sort_unstable();
        sweep(&dir, |_| true).unwrap();
        assert_eq!(names(temp.path()), expected);
        drop(held);
        sweep(&dir, |name| name != "notes").unwrap();
        assert_eq!(names(temp.path()), ["drafty", "notes"]);
    }

    #[test]
    fn a_draft_is_never_swept_however_often_somebody_sweeps() {
        let temp = tempfile::tempdir().unwrap();
        let dir = open(temp.path());
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    sweep(&open(temp.path()), |_| true).unwrap();
                }
            });
            for _ in 0..500 {
                let (name, _held) = create(&dir, "").unwrap();
                std::thread::yield_now();
                assert!(temp.path().join(&name).exists());
                std::fs::remove_file(temp.path().join(&name)).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(names(temp.path()), Vec::<String>::new());
    }
}
