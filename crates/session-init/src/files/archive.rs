//! Packing a file or a directory, as it is: links are packed, not followed; what has no contents to copy is counted.
//!
//! Names are bytes. Entries come in the order of their names, so that the same tree gives the same archive.

use std::{
    collections::HashMap,
    fs::File,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat},
    io::Errno,
};
use session_link::{CopyOutOptions, CopyReport, ErrorKind, LinkError, Result};
use tar::{EntryType, Header};

use super::{
    beneath::DIRECTORY,
    chunks::{Broken, ChunkWriter},
    failed,
};

const OPERATION: &str = "copy_out";

/// How deep directories may lie; each level costs a file descriptor.
const MAX_DEPTH: usize = 512;

/// What is kept to find hard links again: more files than this with a second name are packed as files of their own.
const MAX_LINKED: usize = 100_000;

/// The longest name that fits a header.
const SHORT_NAME: usize = 100;

const BLOCK: u64 = 512;

/// What is packed.
#[derive(Debug)]
pub(super) enum Root {
    Directory(OwnedFd),
    /// Anything else: its parent and its name.
    Other(OwnedFd, Vec<u8>),
}

/// Opens what is to be packed, without following it.
pub(super) fn open(path: &str) -> Result<Root> {
    if path.is_empty() || path.contains('\0') {
        return Err(LinkError::invalid(
            OPERATION,
            "a path is not empty and has no NUL",
        ));
    }
    let failed = |error: Errno| failed(OPERATION, path.as_bytes(), error);
    match rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty()) {
        Ok(directory) => return Ok(Root::Directory(directory)),
        Err(Errno::NOTDIR | Errno::LOOP) => {}
        Err(error) => return Err(failed(error)),
    }
    let path = Path::new(path);
    let Some(name) = path.file_name() else {
        return Err(failed(Errno::NOTDIR));
    };
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let parent = rustix::fs::open(
        parent,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    Ok(Root::Other(parent.map_err(failed)?, name.as_bytes().to_vec()))
}

/// Packs `root` into `out`.
pub(super) fn pack(root: Root, out: ChunkWriter, options: &CopyOutOptions) -> Result<CopyReport> {
    let mut packer = Packer {
        out,
        options,
        report: CopyReport::default(),
        entries: 0,
        linked: HashMap::new(),
    };
    match root {
        Root::Directory(directory) => packer.directory(directory, &mut Vec::new(), 0)?,
        Root::Other(parent, name) => packer.entry(parent.as_fd(), &name, &mut Vec::new(), 0)?,
    }
    packer.out.zeros(2 * BLOCK).map_err(gone)?;
    packer.out.finish().map_err(gone)?;
    Ok(packer.report)
}

fn gone(error: std::io::Error) -> LinkError {
    LinkError::closed(OPERATION).with_source(error)
}

struct Packer<'a> {
    out: ChunkWriter,
    options: &'a CopyOutOptions,
    report: CopyReport,
    entries: u64,
    linked: HashMap<(u64, u64), Vec<u8>>,
}

impl Packer<'_> {
    /// Packs what is in a directory; `path` is its own name and left as it was.
    fn directory(&mut self, directory: OwnedFd, path: &mut Vec<u8>, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(limit("depth", MAX_DEPTH as u64));
        }
        let mut names = Vec::new();
        for entry in Dir::read_from(&directory).map_err(|error| failed(OPERATION, path, error))? {
            let name = entry
                .map_err(|error| failed(OPERATION, path, error))?
                .file_name()
                .to_bytes()
                .to_vec();
            let excluded = self
                .options
                .exclude
                .iter()
                .any(|exclude| exclude.as_bytes() == name);
            if !excluded && name != b"." && name != b".." {
                names.push(name);
            }
            if names.len() as u64 + self.entries > self.options.max_entries {
                return Err(limit("entries", self.options.max_entries));
            }
        }
        names.sort_unstable();
        names
            .iter()
            .try_for_each(|name| self.entry(directory.as_fd(), name, path, depth))
    }

    fn entry(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: &mut Vec<u8>, depth: usize) -> Result<()> {
        self.entries += 1;
        if self.entries > self.options.max_entries {
            return Err(limit("entries", self.options.max_entries));
        }
        let length = path.len();
        if length > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        let done = match self.known(parent, name, path, depth) {
            // It went away between being listed and being looked at: it is not there.
            Err(Failed::Call(Errno::NOENT)) => Ok(()),
            Err(Failed::Call(error)) => Err(failed(OPERATION, path, error)),
            Err(Failed::Error(error)) => Err(error),
            Ok(()) => Ok(()),
        };
        path.truncate(length);
        done
    }

    fn known(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: &mut Vec<u8>, depth: usize) -> Done {
        let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let directory = rustix::fs::openat(parent, name, DIRECTORY, Mode::empty())?;
                self.report.directories += 1;
                self.header(&stat, EntryType::Directory, path, &[], 0)?;
                Ok(self.directory(directory, path, depth + 1)?)
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(parent, name, Vec::new())?;
                self.report.symlinks += 1;
                Ok(self.header(&stat, EntryType::Symlink, path, target.as_bytes(), 0)?)
            }
            FileType::RegularFile => self.file(parent, name, path),
            _ => {
                self.report.skipped += 1;
                Ok(())
            }
        }
    }

    fn file(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Done {
        // Not blocking, in case a pipe took its place; what counts is what was opened.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(parent, name, flags, Mode::empty())?);
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            self.report.skipped += 1;
            return Ok(());
        }
        self.report.files += 1;
        if stat.st_nlink > 1 {
            if let Some(first) = self.linked.get(&(stat.st_dev, stat.st_ino)).cloned() {
                return Ok(self.header(&stat, EntryType::Link, path, &first, 0)?);
            }
            if self.linked.len() < MAX_LINKED {
                self.linked.insert((stat.st_dev, stat.st_ino), path.to_vec());
            }
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.report.bytes += size;
        if self.report.bytes > self.options.max_bytes {
            return Err(limit("bytes", self.options.max_bytes).into());
        }
        self.header(&stat, EntryType::Regular, path, &[], size)?;
        Ok(self.contents(&file, path, size)?)
    }

    /// Exactly `size` bytes, whatever became of the file since.
    fn contents(&mut self, file: &File, path: &[u8], size: u64) -> Result<()> {
        let copied = self.out.file(file, size).map_err(|broken| match broken {
            Broken::Link(error) => gone(error),
            Broken::File(error) => failed(OPERATION, path, error),
        })?;
        let now = rustix::fs::fstat(file).map_or(size, |stat| u64::try_from(stat.st_size).unwrap_or(0));
        if copied < size || now != size {
            self.report.changed += 1;
        }
        let padding = size.next_multiple_of(BLOCK) - copied;
        self.out.zeros(padding).map_err(gone)
    }

    fn header(&mut self, stat: &Stat, kind: EntryType, path: &[u8], target: &[u8], size: u64) -> Result<()> {
        self.long(EntryType::GNULongName, path)?;
        self.long(EntryType::GNULongLink, target)?;
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(stat.st_mode & 0o7777);
        header.set_uid(stat.st_uid.into());
        header.set_gid(stat.st_gid.into());
        header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
        header.set_size(size);
        let old = header.as_old_mut();
        put(&mut old.name, path);
        put(&mut old.linkname, target);
        self.block(&mut header)
    }

    /// A name that does not fit its header travels before it, as GNU tar does it.
    fn long(&mut self, kind: EntryType, name: &[u8]) -> Result<()> {
        if name.len() <= SHORT_NAME {
            return Ok(());
        }
        let size = name.len() as u64 + 1;
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(size);
        put(&mut header.as_old_mut().name, b"././@LongLink");
        self.block(&mut header)?;
        self.out.write(name).map_err(gone)?;
        self.out
            .zeros(size.next_multiple_of(BLOCK) - name.len() as u64)
            .map_err(gone)
    }

    fn block(&mut self, header: &mut Header) -> Result<()> {
        header.set_cksum();
        self.out.write(header.as_bytes()).map_err(gone)
    }
}

fn put(field: &mut [u8; SHORT_NAME], bytes: &[u8]) {
    let length = bytes.len().min(SHORT_NAME);
    field[..length].copy_from_slice(&bytes[..length]);
}

/// A system call that failed, which may mean nothing, or an error that does.
enum Failed {
    Call(Errno),
    Error(LinkError),
}

type Done = std::result::Result<(), Failed>;

impl From<Errno> for Failed {
    fn from(error: Errno) -> Self {
        Self::Call(error)
    }
}

impl From<LinkError> for Failed {
    fn from(error: LinkError) -> Self {
        Self::Error(error)
    }
}

fn limit(what: &'static str, most: u64) -> LinkError {
    LinkError::new(
        ErrorKind::LimitReached,
        OPERATION,
        "there is more than is allowed",
    )
    .with_context(what, most.to_string())
}
