//! The configuration file of an MCP client, changed without putting anything of it at risk.
//!
//! Such files are edited by hand, hold other servers and sometimes secrets, and are often links into a repository of
//! dotfiles. So: what is not understood is not touched, a backup is made before anything is written, the file is replaced
//! whole or not at all, and keeps its mode, its owner and its place.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::OFlags;
use session_core::error::{Error, ErrorKind, Result};
use tempfile::NamedTempFile;

use crate::durable::sync_entry;

const OPERATION: &str = "change the client's file";
/// No client's file is larger.
const MAX_BYTES: u64 = 32 << 20;
/// As many links as the system itself follows.
const MAX_LINKS: usize = 40;
/// Other files may be as secret as the client's own.
const PRIVATE: u32 = 0o600;

/// What became of the file.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// It is as it shall be already.
    None,
    /// There was none, or an empty one.
    Created,
    /// It was replaced; what it was is in this backup.
    Replaced(PathBuf),
}

/// Changes the file at `path` as `change` says: from its text to the one that it shall have. Answers also where the file
/// really is.
///
/// # Errors
/// Those of `change`; `InvalidArgument` for what is no file of text; `Busy` when the client itself wrote it meanwhile;
/// `HostIo`. The file is as it was then.
pub fn change(path: &Path, change: impl FnOnce(&str) -> Result<String>) -> Result<(PathBuf, Change)> {
    let place = behind_links(path)?;
    let failed = |source: io::Error| failed(&place, source);
    let existing = match open(&place) {
        Ok(file) => Some(Existing::read(file, &place)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    let text = existing.as_ref().map_or("", |existing| existing.text.as_str());
    let changed = change(text).map_err(|error| error.with_context("file", place.display()))?;
    if existing.is_some() && changed == text {
        return Ok((place, Change::None));
    }
    let folder = place.parent().unwrap_or(Path::new("/"));
    if existing.is_none() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let written = write_beside(folder, &changed, existing.as_ref()).map_err(failed)?;
    let Some(existing) = existing else {
        // Not over a file that has come into being meanwhile.
        written
            .persist_noclobber(&place)
            .map_err(|error| failed(error.error))?;
        sync_entry(&place).map_err(failed)?;
        return Ok((place, Change::Created));
    };
    let backup = keep(&place, &existing.text).map_err(failed)?;
    if !existing.is_still_at(&place) {
        let _ = std::fs::remove_file(&backup);
        return Err(
            Error::new(ErrorKind::Busy, OPERATION, "somebody else wrote it meanwhile")
                .with_context("file", place.display())
                .with_hint("close the client and try again"),
        );
    }
    written.persist(&place).map_err(|error| failed(error.error))?;
    sync_entry(&place).map_err(failed)?;
    Ok((place, Change::Replaced(backup)))
}

/// A file as it was found.
struct Existing {
    text: String,
    metadata: Metadata,
}

impl Existing {
    fn read(file: File, place: &Path) -> Result<Self> {
        let refused = |message| {
            Error::new(ErrorKind::InvalidArgument, OPERATION, message)
                .with_context("file", place.display())
                .with_hint("name another file with --file, or add the snippet by hand")
        };
        let metadata = file.metadata().map_err(|source| failed(place, source))?;
        if !metadata.is_file() {
            return Err(refused("it is not a regular file"));
        }
        if metadata.len() > MAX_BYTES {
            return Err(refused("it is larger than any client's file"));
        }
        let mut bytes = Vec::new();
        file.take(MAX_BYTES)
            .read_to_end(&mut bytes)
            .map_err(|source| failed(place, source))?;
        let text = String::from_utf8(bytes).map_err(|_| refused("it is not UTF-8 text"))?;
        Ok(Self { text, metadata })
    }

    fn is_still_at(&self, place: &Path) -> bool {
        let identity = |metadata: &Metadata| {
            let (seconds, nanos) = (metadata.mtime(), metadata.mtime_nsec());
            (metadata.dev(), metadata.ino(), metadata.len(), seconds, nanos)
        };
        std::fs::symlink_metadata(place).is_ok_and(|now| identity(&now) == identity(&self.metadata))
    }
}

/// Where a file is whose path may be a link, which is what shall stay one. It need not exist.
fn behind_links(path: &Path) -> Result<PathBuf> {
    let mut place = std::path::absolute(path).map_err(|source| failed(path, source))?;
    for _ in 0..MAX_LINKS {
        match std::fs::read_link(&place) {
            Ok(target) => place = place.parent().unwrap_or(Path::new("/")).join(target),
            // It is no link, or is not there.
            Err(_) => return Ok(place),
        }
    }
    Err(failed(
        path,
        io::Error::other("it is a link that leads to no file"),
    ))
}

/// Never waits, as the other end of a pipe would make it.
fn open(place: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed())
        .open(place)
}

/// The whole new file on the disk, with the mode and the owner of the one that it will replace.
fn write_beside(folder: &Path, text: &str, existing: Option<&Existing>) -> io::Result<NamedTempFile> {
    let mut written = tempfile::Builder::new()
        .prefix(".cofferdam-")
        .permissions(std::fs::Permissions::from_mode(PRIVATE))
        .tempfile_in(folder)?;
    written.write_all(text.as_bytes())?;
    let file = written.as_file();
    if let Some(Existing { metadata, .. }) = existing {
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (metadata.uid(), metadata.gid()) {
            fchown(file, Some(metadata.uid()), Some(metadata.gid()))?;
        }
        file.set_permissions(metadata.permissions())?;
    }
    file.sync_all()?;
    Ok(written)
}

/// Keeps what the file was, beside it, for its owner alone.
fn keep(place: &Path, text: &str) -> io::Result<PathBuf> {
    let mut name = place.file_name().unwrap_or_default().to_owned();
    name.push(format!(
        ".cofferdam-backup-{}",
        Timestamp::now().strftime("%Y%m%dT%H%M%S%.6fZ")
    ));
    let backup = place.with_file_name(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(PRIVATE)
        .open(&backup)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(backup)
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::new(ErrorKind::HostIo, OPERATION, "it cannot be read or written")
        .with_context("file", path.display())
        .with_source(source)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn to_new(_: &str) -> Result<String> {
        Ok("new".to_owned())
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_file_is_replaced_with_its_mode_and_a_private_backup() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.json");
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let (place, Change::Replaced(backup)) = change(&file, to_new).unwrap() else {
            panic!("it is replaced")
        };
        assert_eq!(place, file);
        assert_eq!(
            (fs::read_to_string(&file).unwrap().as_str(), mode(&file)),
            ("new", 0o640)
        );
        assert_eq!(
            (fs::read_to_string(&backup).unwrap().as_str(), mode(&backup)),
            ("old", 0o600)
        );
        assert_eq!(names(dir.path()).len(), 2);

        assert_eq!(change(&file, to_new).unwrap(), (file, Change::None));
        assert_eq!(names(dir.path()).len(), 2, "no second backup");
    }

    #[test]
    fn a_link_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let dotfiles = dir.path().join("dotfiles");
        fs::create_dir(&dotfiles).unwrap();
        fs::write(dotfiles.join("real.json"), "old").unwrap();
        symlink("dotfiles/real.json", dir.path().join("second")).unwrap();
        symlink("second", dir.path().join("first")).unwrap();
        let (place, _) = change(&dir.path().join("first"), to_new).unwrap();
        assert_eq!(place, dotfiles.join("real.json"));
        assert_eq!(fs::read_to_string(&place).unwrap(), "new");
        assert!(dir.path().join("first").is_symlink() && dir.path().join("second").is_symlink());
        assert_eq!(names(&dotfiles).len(), 2, "the backup is where the file is");

        symlink("missing/new.json", dir.path().join("dangling")).unwrap();
        let (place, changed) = change(&dir.path().join("dangling"), to_new).unwrap();
        assert_eq!(
            (place, changed),
            (dir.path().join("missing/new.json"), Change::Created)
        );
        symlink("loop", dir.path().join("loop")).unwrap();
        assert_eq!(
            change(&dir.path().join("loop"), to_new).unwrap_err().kind(),
            ErrorKind::HostIo
        );
    }

    #[test]
    fn what_cannot_be_changed_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.json");
        fs::write(&file, b"\xff\xfe").unwrap();
        assert_eq!(
            change(&file, to_new).unwrap_err().kind(),
            ErrorKind::InvalidArgument
        );
        fs::write(&file, "{").unwrap();
        let refuse = |_: &str| Err(Error::new(ErrorKind::InvalidArgument, "merge", "no"));
        assert_eq!(
            change(&file, refuse).unwrap_err().kind(),
            ErrorKind::InvalidArgument
        );
        assert_eq!(fs::read_to_string(&file).unwrap(), "{");
        assert_eq!(names(dir.path()), ["a.json"]);
        assert_eq!(
            change(dir.path(), to_new).unwrap_err().kind(),
            ErrorKind::InvalidArgument
        );
    }

    #[test]
    fn what_the_client_writes_meanwhile_is_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.json");
        fs::write(&file, "old").unwrap();
        let meanwhile = |_: &str| {
            fs::write(&file, "theirs").unwrap();
            to_new("")
        };
        assert_eq!(change(&file, meanwhile).unwrap_err().kind(), ErrorKind::Busy);
        assert_eq!(fs::read_to_string(&file).unwrap(), "theirs");
        assert_eq!(names(dir.path()), ["a.json"]);

        fs::remove_file(&file).unwrap();
        let meanwhile = |_: &str| {
            fs::write(&file, "theirs").unwrap();
            to_new("")
        };
        assert!(change(&file, meanwhile).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "theirs");
    }
}
