//! Directories of programs that have none: made for the first, and taken away after the last if nothing was left in them.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::make_directory;

/// Which are in use, by how many programs.
#[derive(Debug, Default)]
pub(in crate::mcp::upstream) struct Scratches(Mutex<HashMap<PathBuf, usize>>);

/// A program's directory. Dropping it gives it up.
#[derive(Debug)]
pub(in crate::mcp::upstream) struct Scratch {
    all: Arc<Scratches>,
    path: PathBuf,
}

impl Scratches {
    /// Blocks.
    pub(super) fn take(self: &Arc<Self>, path: &Path) -> io::Result<Scratch> {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        make_directory(path)?;
        *used.entry(path.to_owned()).or_default() += 1;
        Ok(Scratch {
            all: Arc::clone(self),
            path: path.to_owned(),
        })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Held until it is gone: the next program must not begin in one that is about to go.
        let mut used = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = used.get_mut(&self.path) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            used.remove(&self.path);
            // Only when it is empty.
            let _ = std::fs::remove_dir(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_there_while_anybody_uses_it_and_stays_when_it_holds_something() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("git/session");
        let all = Arc::new(Scratches::default());
        let (one, two) = (all.take(&path).unwrap(), all.take(&path).unwrap());
        drop(one);
        assert!(path.is_dir());
        drop(two);
        assert!(!path.exists());
        let three = all.take(&path).unwrap();
        std::fs::write(path.join("left"), "").unwrap();
        drop(three);
        assert!(path.is_dir());
    }
}
