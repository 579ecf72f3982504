//! Unpacks an archive by the rules of `session-init`: nothing leaves the destination, no link is followed, no device.

use std::fs::{self, File, FileTimes, Permissions};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use session_link::{CopyInOptions, CopyReport, ErrorKind, LinkError, Result};
use tar::{Archive, Entry, EntryType};

const OPERATION: &str = "copy_in";

/// Unpacks `archive` beneath `root`.
pub(super) fn unpack(root: &Path, archive: impl Read, options: &CopyInOptions) -> Result<CopyReport> {
    let mut unpacker = Unpacker {
        root,
        options,
        report: CopyReport::default(),
        entries: 0,
        directories: Vec::new(),
    };
    let mut archive = Archive::new(archive);
    for entry in archive.entries().map_err(damaged)? {
        unpacker.entry(entry.map_err(damaged)?)?;
    }
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(damaged)?;
    for (path, mode) in unpacker.directories.iter().rev() {
        fs::set_permissions(path, Permissions::from_mode(*mode)).map_err(failed)?;
    }
    Ok(unpacker.report)
}

fn damaged(error: io::Error) -> LinkError {
    match error.kind() {
        io::ErrorKind::ConnectionAborted => LinkError::closed(OPERATION),
        _ => {
            LinkError::new(ErrorKind::InvalidArchive, OPERATION, "the archive is damaged").with_source(error)
        }
    }
}

fn failed(error: io::Error) -> LinkError {
    LinkError::io(OPERATION, "a file operation failed", error)
}

fn unsafe_entry(message: &'static str, path: &[u8]) -> LinkError {
    LinkError::new(ErrorKind::UnsafeArchive, OPERATION, message)
        .with_context("path", String::from_utf8_lossy(path))
}

struct Unpacker<'a> {
    root: &'a Path,
    options: &'a CopyInOptions,
    report: CopyReport,
    entries: u64,
    directories: Vec<(PathBuf, u32)>,
}

impl Unpacker<'_> {
    fn entry(&mut self, mut entry: Entry<'_, impl Read>) -> Result<()> {
        self.entries += 1;
        if self.entries > self.options.max_entries {
            return Err(LinkError::new(
                ErrorKind::LimitReached,
                OPERATION,
                "the archive has more than is allowed",
            ));
        }
        let name = entry.path_bytes().into_owned();
        let path = self.place(&name)?;
        let mode = entry.header().mode().map_err(damaged)? & 0o777;
        match entry.header().entry_type() {
            EntryType::XGlobalHeader => {}
            EntryType::Directory => {
                fs::create_dir_all(&path).map_err(failed)?;
                self.report.directories += 1;
                self.directories.push((path, mode));
            }
            EntryType::Regular | EntryType::Continuous => self.file(&mut entry, &path, mode)?,
            EntryType::Symlink => {
                let target = link_target(&entry, &name)?;
                remove(&path)?;
                std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(&target), &path).map_err(failed)?;
                self.report.symlinks += 1;
            }
            EntryType::Link => {
                let target = self.place(&link_target(&entry, &name)?)?;
                remove(&path)?;
                fs::hard_link(target, &path).map_err(failed)?;
                self.report.files += 1;
            }
            _ => {
                return Err(unsafe_entry(
                    "devices, pipes and entries of unknown kinds are not taken",
                    &name,
                ));
            }
        }
        Ok(())
    }

    fn file(&mut self, entry: &mut Entry<'_, impl Read>, path: &Path, mode: u32) -> Result<()> {
        remove(path)?;
        let mut file = File::create_new(path).map_err(failed)?;
        let room = self.options.max_bytes.saturating_sub(self.report.bytes);
        let copied = io::copy(&mut entry.take(room.saturating_add(1)), &mut file).map_err(damaged)?;
        if copied > room {
            return Err(LinkError::new(
                ErrorKind::LimitReached,
                OPERATION,
                "the archive has more than is allowed",
            ));
        }
        file.set_permissions(Permissions::from_mode(mode))
            .map_err(failed)?;
        if self.options.preserve_times
            && let Ok(time) = entry.header().mtime()
        {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(time);
            file.set_times(FileTimes::new().set_modified(time))
                .map_err(failed)?;
        }
        self.report.files += 1;
        self.report.bytes += copied;
        Ok(())
    }

    /// Where a name lies, with its parents made; no parent is a link.
    fn place(&self, name: &[u8]) -> Result<PathBuf> {
        if name.starts_with(b"/") || name.contains(&0) {
            return Err(unsafe_entry("an absolute name or one with NUL", name));
        }
        let parts: Vec<&[u8]> = name
            .split(|byte| *byte == b'/')
            .filter(|part| !matches!(*part, b"" | b"."))
            .collect();
        if parts.contains(&b"..".as_slice()) {
            return Err(unsafe_entry("a name with `..`", name));
        }
        let mut path = self.root.to_owned();
        for (index, part) in parts.iter().enumerate() {
            path.push(std::ffi::OsStr::from_bytes(part));
            if index + 1 == parts.len() {
                break;
            }
            match fs::symlink_metadata(&path) {
                Ok(found) if found.is_dir() => {}
                Ok(_) => {
                    return Err(unsafe_entry(
                        "a link or file is where the archive wants a directory",
                        name,
                    ));
                }
                Err(_) => fs::create_dir(&path).map_err(failed)?,
            }
        }
        Ok(path)
    }
}

fn link_target(entry: &Entry<'_, impl Read>, name: &[u8]) -> Result<Vec<u8>> {
    match entry.link_name_bytes() {
        Some(target) if !target.is_empty() => {
            Ok(std::ffi::OsString::from_vec(target.into_owned()).into_encoded_bytes())
        }
        _ => Err(unsafe_entry("a link without a proper target", name)),
    }
}

/// What has the name goes first, so that nothing is ever written through it.
fn remove(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Err(LinkError::new(
            ErrorKind::Conflict,
            OPERATION,
            "a directory is where the archive wants a file",
        )),
        Ok(_) => fs::remove_file(path).map_err(failed),
        Err(_) => Ok(()),
    }
}
