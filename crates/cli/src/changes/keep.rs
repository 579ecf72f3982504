//! Patches kept in the state directory, so that what an agent did is not lost with its session.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use session_core::error::{Error, ErrorKind, Result};
use session_core::id::SessionId;

use crate::durable::sync_entry;

/// How many patches are kept; the oldest go.
const KEPT: usize = 100;

/// Writes a session's patch to `patches/` in the state directory.
///
/// # Errors
/// `HostIo` when it cannot be written.
pub fn keep(state_dir: &Path, session: &SessionId, patch: &str) -> Result<PathBuf> {
    let dir = state_dir.join("patches");
    let path = dir.join(format!("{session}.patch"));
    write(&dir, &path, patch.as_bytes()).map_err(|source| {
        Error::new(ErrorKind::HostIo, "keep the patch", "it cannot be written")
            .with_context("path", path.display())
            .with_source(source)
    })?;
    // An old patch too many harms nobody; a failure here must not hide that the new one was written.
    if let Err(error) = forget_oldest(&dir) {
        tracing::debug!(%error, "old patches could not be removed");
    }
    Ok(path)
}

fn write(dir: &Path, path: &Path, patch: &[u8]) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(patch)?;
    file.sync_all()?;
    sync_entry(dir)?;
    sync_entry(path)
}

fn forget_oldest(dir: &Path) -> io::Result<()> {
    let mut patches: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "patch")
        {
            patches.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    patches.sort_unstable();
    let surplus = patches.len().saturating_sub(KEPT);
    patches
        .iter()
        .take(surplus)
        .try_for_each(|(_, path)| fs::remove_file(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn patches_are_private_and_the_oldest_go() {
        let state = tempfile::tempdir().unwrap();
        let first = keep(state.path(), &SessionId::new(), "first").unwrap();
        assert_eq!(fs::metadata(&first).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&first).unwrap(), "first");
        let old = fs::File::options().write(true).open(&first).unwrap();
        old.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        for _ in 0..KEPT {
            keep(state.path(), &SessionId::new(), "more").unwrap();
        }
        assert!(!first.exists());
        assert_eq!(fs::read_dir(state.path().join("patches")).unwrap().count(), KEPT);
    }
}
