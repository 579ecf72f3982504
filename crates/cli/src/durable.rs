//! Files that are still there after the power was cut: what a file has is synced by whoever writes it, its name here.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Makes the name of a file, or of a directory, durable.
///
/// # Errors
/// When the directory that has it cannot be opened or synced.
pub fn sync_entry(path: &Path) -> io::Result<()> {
    let above = match path.parent() {
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        None => return Ok(()),
    };
    match File::open(above)?.sync_all() {
        // Not every file system knows how to sync a directory; one that does not has nothing more to give.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        synced => synced,
    }
}

/// Makes a directory with what is missing above it, durably.
///
/// # Errors
/// When it can be neither made nor synced.
pub fn make_folder(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|above| !above.as_os_str().is_empty() && !above.exists())
        .collect();
    fs::create_dir_all(path)?;
    missing.into_iter().try_for_each(sync_entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_made_and_synced_wherever_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        make_folder(&deep).unwrap();
        make_folder(&deep).unwrap();
        fs::write(deep.join("file"), "").unwrap();
        sync_entry(&deep.join("file")).unwrap();
        sync_entry(Path::new("a-bare-name")).unwrap();
        sync_entry(Path::new("/")).unwrap();
        make_folder(Path::new("")).unwrap();
        let nowhere = sync_entry(&dir.path().join("missing/file")).unwrap_err();
        assert_eq!(nowhere.kind(), io::ErrorKind::NotFound);
    }
}
