//! Unpacking an archive that may have been made to do harm.
//!
//! Every entry is placed by the name of its parent's components beneath an opened directory, no link is followed on the
//! way or at the end, nothing is written through an existing file, and no entry is a device or keeps a set-user-id bit.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT},
    io::Errno,
};
use session_link::{CopyInOptions, CopyReport, ErrorKind, LinkError, Result};
use tar::{Archive, Entry, EntryType};

use super::{beneath::Beneath, chunks::Metered, failed};

const OPERATION: &str = "copy_in";

/// The most components of a name.
const MAX_DEPTH: usize = 512;

/// The most bytes of headers, long names and extensions before an entry's contents.
const MAX_DESCRIPTION: u64 = 1 << 20;

/// The most directories whose modes and times are set at the end; those of more are set when they are made, or not.
const MAX_LATE: usize = 100_000;

/// Bytes of a file moved at once.
const COPY: usize = 256 << 10;

/// Opens the directory an archive goes to, made if absent.
pub(super) fn open(dest: &str) -> Result<OwnedFd> {
    if dest.is_empty() || dest.contains('\0') {
        return Err(LinkError::invalid(
            OPERATION,
            "a destination is not empty and has no NUL",
        ));
    }
    let failed = |error: io::Error| failed(OPERATION, dest.as_bytes(), error);
    std::fs::create_dir_all(dest).map_err(failed)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(dest, flags, Mode::empty()).map_err(|error| failed(error.into()))
}

/// Unpacks `archive` beneath `root`.
pub(super) fn unpack(root: &OwnedFd, archive: impl Read, options: &CopyInOptions) -> Result<CopyReport> {
    let root = root.try_clone().map_err(|error| failed(OPERATION, b".", error))?;
    let mut unpacker = Unpacker {
        tree: Beneath::new(root),
        options,
        report: CopyReport::default(),
        entries: 0,
        late: Vec::new(),
        mask: umask(),
        buffer: vec![0; COPY],
    };
    let (reader, granted) = Metered::new(archive);
    let mut archive = Archive::new(reader);
    granted.set(MAX_DESCRIPTION);
    for entry in archive.entries().map_err(damaged)? {
        let entry = entry.map_err(damaged)?;
        granted.set(u64::MAX);
        unpacker.entry(entry)?;
        granted.set(MAX_DESCRIPTION);
    }
    // What follows the end mark is padding; the announcement of the end must still come.
    granted.set(u64::MAX);
    let mut rest = archive.into_inner();
    while rest.read(&mut unpacker.buffer).map_err(damaged)? > 0 {}
    unpacker.finish_directories()?;
    Ok(unpacker.report)
}

fn damaged(error: io::Error) -> LinkError {
    match error.kind() {
        io::ErrorKind::ConnectionAborted => LinkError::closed(OPERATION).with_source(error),
        _ => {
            LinkError::new(ErrorKind::InvalidArchive, OPERATION, "the archive is damaged").with_source(error)
        }
    }
}

fn unsafe_entry(message: &'static str, path: &[u8]) -> LinkError {
    LinkError::new(ErrorKind::UnsafeArchive, OPERATION, message)
        .with_context("path", String::from_utf8_lossy(path))
}

/// The bits that new files do not get. Read without setting it: other threads make files meanwhile.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok())
        .unwrap_or(0o777)
}

struct Unpacker<'a> {
    tree: Beneath,
    options: &'a CopyInOptions,
    report: CopyReport,
    entries: u64,
    late: Vec<Late>,
    mask: u32,
    buffer: Vec<u8>,
}

/// A directory whose mode and time are set when nothing more is put into it.
struct Late {
    path: Vec<u8>,
    mode: u32,
    time: Option<u64>,
}

impl Unpacker<'_> {
    fn entry(&mut self, mut entry: Entry<'_, impl Read>) -> Result<()> {
        self.entries += 1;
        if self.entries > self.options.max_entries {
            return Err(limit("entries", self.options.max_entries));
        }
        let path = entry.path_bytes().into_owned();
        let names = components(&path)?;
        let kind = match entry.header().entry_type() {
            EntryType::Regular if path.ends_with(b"/") => EntryType::Directory,
            kind => kind,
        };
        let Some((name, parent)) = names.split_last() else {
            return if kind.is_dir() || kind.is_pax_global_extensions() {
                Ok(())
            } else {
                Err(unsafe_entry(
                    "an entry takes the place of the destination itself",
                    &path,
                ))
            };
        };
        let mode = entry.header().mode().map_err(damaged)? & 0o777;
        let time = self
            .options
            .preserve_times
            .then(|| entry.header().mtime().ok())
            .flatten();
        match kind {
            EntryType::Directory => self.directory(&names, &path, mode, time),
            EntryType::Regular | EntryType::Continuous => {
                self.file(&mut entry, parent, name, &path, mode, time)
            }
            EntryType::Symlink => {
                let target = link_target(&entry, &path)?;
                self.symlink(parent, name, &path, &target, time)
            }
            EntryType::Link => {
                let target = link_target(&entry, &path)?;
                self.hard_link(parent, name, &path, &target)
            }
            EntryType::XGlobalHeader => Ok(()),
            EntryType::GNUSparse => Err(unsafe_entry("sparse entries are not taken", &path)),
            _ => Err(unsafe_entry(
                "devices, pipes and entries of unknown kinds are not taken",
                &path,
            )),
        }
    }

    fn parent(&mut self, parent: &[&[u8]], path: &[u8]) -> Result<BorrowedFd<'_>> {
        self.tree
            .directory(parent, true)
            .map_err(|error| in_the_way(error, path))
    }

    fn directory(&mut self, names: &[&[u8]], path: &[u8], mode: u32, time: Option<u64>) -> Result<()> {
        self.parent(names, path)?;
        self.report.directories += 1;
        if self.late.len() < MAX_LATE {
            self.late.push(Late {
                path: path.to_vec(),
                mode,
                time,
            });
        }
        Ok(())
    }

    fn file(
        &mut self,
        entry: &mut Entry<'_, impl Read>,
        parent: &[&[u8]],
        name: &[u8],
        path: &[u8],
        mode: u32,
        time: Option<u64>,
    ) -> Result<()> {
        let mask = self.mask;
        let file = File::from(create(self.parent(parent, path)?, name, path, mode)?);
        loop {
            let read = match entry.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(damaged(error)),
            };
            self.report.bytes += read as u64;
            if self.report.bytes > self.options.max_bytes {
                return Err(limit("bytes", self.options.max_bytes));
            }
            (&file)
                .write_all(&self.buffer[..read])
                .map_err(|error| failed(OPERATION, path, error))?;
        }
        if mode & mask != 0 {
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))
                .map_err(|error| failed(OPERATION, path, error))?;
        }
        if let Some(time) = time {
            rustix::fs::futimens(&file, &times(time)).map_err(|error| failed(OPERATION, path, error))?;
        }
        self.report.files += 1;
        Ok(())
    }

    fn symlink(
        &mut self,
        parent: &[&[u8]],
        name: &[u8],
        path: &[u8],
        target: &[u8],
        time: Option<u64>,
    ) -> Result<()> {
        let directory = self.parent(parent, path)?;
        replacing(directory, name, path, || {
            rustix::fs::symlinkat(target, directory, name)
        })?;
        if let Some(time) = time {
            // Not all file systems keep times of links; nothing depends on them.
            let _ = rustix::fs::utimensat(directory, name, &times(time), AtFlags::SYMLINK_NOFOLLOW);
        }
        self.report.symlinks += 1;
        Ok(())
    }

    fn hard_link(&mut self, parent: &[&[u8]], name: &[u8], path: &[u8], target: &[u8]) -> Result<()> {
        let target_names = components(target)?;
        let Some((target_name, target_parent)) = target_names.split_last() else {
            return Err(unsafe_entry("a hard link to the destination itself", path));
        };
        let source = self
            .tree
            .directory(target_parent, false)
            .map_err(|error| in_the_way(error, target))?;
        let source = source
            .try_clone_to_owned()
            .map_err(|error| failed(OPERATION, target, error))?;
        let directory = self.parent(parent, path)?;
        // Without FOLLOW a link is what gets the second name, not what it points to.
        replacing(directory, name, path, || {
            rustix::fs::linkat(source.as_fd(), *target_name, directory, name, AtFlags::empty())
        })?;
        self.report.files += 1;
        Ok(())
    }

    /// Sets modes and times of directories, deepest first, now that nothing is put into them any more.
    fn finish_directories(&mut self) -> Result<()> {
        for Late { path, mode, time } in std::mem::take(&mut self.late).into_iter().rev() {
            let names = components(&path)?;
            let Ok(directory) = self.tree.directory(&names, false) else {
                continue;
            };
            rustix::fs::fchmod(directory, Mode::from_raw_mode(mode))
                .map_err(|error| failed(OPERATION, &path, error))?;
            if let Some(time) = time {
                rustix::fs::futimens(directory, &times(time))
                    .map_err(|error| failed(OPERATION, &path, error))?;
            }
        }
        Ok(())
    }
}

/// The components of a name, which must stay beneath its destination by itself.
fn components(path: &[u8]) -> Result<Vec<&[u8]>> {
    if path.starts_with(b"/") {
        return Err(unsafe_entry("an absolute name", path));
    }
    if path.contains(&0) {
        return Err(unsafe_entry("a name with NUL", path));
    }
    let names: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .filter(|name| !matches!(*name, b"" | b"."))
        .collect();
    if names.contains(&b"..".as_slice()) {
        return Err(unsafe_entry("a name with `..`", path));
    }
    if names.len() > MAX_DEPTH {
        return Err(unsafe_entry("a name that is too deep", path));
    }
    Ok(names)
}

fn link_target(entry: &Entry<'_, impl Read>, path: &[u8]) -> Result<Vec<u8>> {
    match entry.link_name_bytes() {
        Some(target) if !target.is_empty() && !target.contains(&0) => Ok(target.into_owned()),
        _ => Err(unsafe_entry("a link without a proper target", path)),
    }
}

fn create(parent: BorrowedFd<'_>, name: &[u8], path: &[u8], mode: u32) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    replacing(parent, name, path, || {
        rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(mode))
    })
}

/// Makes a new entry; what has its name goes first, so that nothing is ever written through it.
fn replacing<T>(
    parent: BorrowedFd<'_>,
    name: &[u8],
    path: &[u8],
    make: impl Fn() -> std::result::Result<T, Errno>,
) -> Result<T> {
    let made = match make() {
        Err(Errno::EXIST) => rustix::fs::unlinkat(parent, name, AtFlags::empty()).and_then(|()| make()),
        made => made,
    };
    made.map_err(|error| in_the_way(error, path))
}

fn in_the_way(error: Errno, path: &[u8]) -> LinkError {
    match error {
        Errno::LOOP | Errno::NOTDIR => {
            unsafe_entry("a link or file is where the archive wants a directory", path)
        }
        Errno::ISDIR => LinkError::new(
            ErrorKind::Conflict,
            OPERATION,
            "a directory is where the archive wants a file",
        )
        .with_context("path", String::from_utf8_lossy(path)),
        error => failed(OPERATION, path, error),
    }
}

fn times(seconds: u64) -> Timestamps {
    let modified = Timespec {
        tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX),
        tv_nsec: 0,
    };
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: modified,
    }
}

fn limit(what: &'static str, most: u64) -> LinkError {
    LinkError::new(
        ErrorKind::LimitReached,
        OPERATION,
        "the archive has more than is allowed",
    )
    .with_context(what, most.to_string())
}

#[cfg(test)]
mod tests {
    use std::{io::Cursor, path::Path};

    use proptest::prelude::*;
    use tar::{Builder, EntryType, Header};

    use super::{CopyInOptions, ErrorKind, components, open, unpack};

    fn small() -> CopyInOptions {
        CopyInOptions {
            max_bytes: 1 << 20,
            max_entries: 100,
            preserve_times: true,
        }
    }

    /// An archive with one of each kind of entry.
    fn sample() -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        let long = "long/".repeat(40);
        let entries = [
            ("d", EntryType::Directory, ""),
            ("d/file", EntryType::Regular, ""),
            ("d/link", EntryType::Symlink, "../x"),
            ("hard", EntryType::Link, "d/file"),
            (long.as_str(), EntryType::Regular, ""),
        ];
        for (path, kind, target) in entries {
            let mut header = Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(0o755);
            let path = Path::new(path).join("f");
            if target.is_empty() {
                header.set_size(if kind.is_file() { 3 } else { 0 });
                let contents: &[u8] = if kind.is_file() { b"abc" } else { b"" };
                builder
                    .append_data(&mut header, path, contents)
                    .expect("appended");
            } else {
                header.set_size(0);
                builder.append_link(&mut header, path, target).expect("appended");
            }
        }
        builder.into_inner().expect("an archive")
    }

    /// Changes a byte, and makes its header's checksum right again, so that what is changed is looked at.
    fn change(archive: &mut [u8], at: usize, byte: u8) {
        archive[at] = byte;
        let start = at / 512 * 512;
        let Some(block) = archive[start..].first_chunk_mut::<512>() else {
            return;
        };
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(block);
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn damaged_archives_stay_where_they_belong(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
            cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
        ) {
            let mut archive = sample();
            for (at, byte) in changes {
                let at = at.index(archive.len());
                change(&mut archive, at, byte);
            }
            if let Some(cut) = cut {
                archive.truncate(cut.index(archive.len()));
            }
            let place = tempfile::tempdir().expect("a directory");
            let dest = place.path().join("dest");
            let root = open(dest.to_str().expect("text")).expect("opened");
            let _ = unpack(&root, Cursor::new(archive), &small());
            prop_assert_eq!(std::fs::read_dir(place.path()).expect("there").count(), 1);
        }

        #[test]
        fn names_stay_beneath(path in prop::collection::vec(prop::sample::select(b"ab./\0".to_vec()), 0..24)) {
            if let Ok(names) = components(&path) {
                for name in names {
                    prop_assert!(!name.is_empty() && name != b"." && name != b"..");
                    prop_assert!(!name.contains(&b'/') && !name.contains(&0));
                }
            }
        }
    }

    #[test]
    fn descriptions_are_bounded() {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(1 << 40);
        header.set_cksum();
        let endless = Cursor::new(header.as_bytes().to_vec());
        let archive = std::io::Read::chain(endless, std::io::repeat(b'n'));
        let place = tempfile::tempdir().expect("a directory");
        let root = open(place.path().to_str().expect("text")).expect("opened");
        let error = unpack(&root, archive, &small()).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidArchive);
    }
}
