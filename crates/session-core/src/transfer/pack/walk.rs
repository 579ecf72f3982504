//! What is packed, in which order: a directory before what it contains.
//!
//! The walk goes by path, the opening of files by handle: beneath the opened root and through no symlink, so a directory
//! that is swapped for a link while we walk leads nowhere.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ignore::{DirEntry, Walk, WalkBuilder};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, open, openat, openat2, readlinkat, statat,
};
use rustix::io::Errno;
use tar::EntryType;

use super::writer::{Entry, Writer};
use super::{Failure, OPERATION, unreadable};
use crate::error::{Error, ErrorKind};
use crate::transfer::PackOptions;

const GIT_DIR: &str = ".git";

/// Packs `source` and all below it; when `expected` names a device and an inode, that one and no other.
pub(super) fn pack_all(
    source: &Path,
    expected: Option<(u64, u64)>,
    options: PackOptions,
    writer: &mut Writer,
) -> Result<(), Failure> {
    let root = open(
        source,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|errno| unreadable(source, errno))?;
    let stat = fstat(&root).map_err(|errno| unreadable(source, errno))?;
    if expected.is_some_and(|expected| expected != (stat.st_dev, stat.st_ino)) {
        return Err(Failure::Told(replaced(source)));
    }
    let name = source.file_name().map(OsStrExt::as_bytes);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let prefix = if options.as_contents { Some(&b""[..]) } else { name };
            let prefix = prefix.ok_or_else(|| nameless(source))?.to_vec();
            Packer {
                source,
                root,
                prefix,
                writer,
            }
            .tree(options)
        }
        FileType::RegularFile => file(writer, name.ok_or_else(|| nameless(source))?, &root, &stat)?
            .map_err(|errno| unreadable(source, errno)),
        _ => Err(Failure::Told(
            Error::new(
                ErrorKind::InvalidArgument,
                OPERATION,
                "this is neither a file nor a directory",
            )
            .with_context("path", source.display()),
        )),
    }
}

fn replaced(source: &Path) -> Error {
    Error::new(
        ErrorKind::WorkspaceRefused,
        OPERATION,
        "the path was replaced while it was in use",
    )
    .with_context("path", source.display())
    .with_hint("somebody moves or relinks this directory; try again once it rests")
}

fn nameless(source: &Path) -> Failure {
    Failure::Told(
        Error::new(
            ErrorKind::InvalidArgument,
            OPERATION,
            "the source has no name of its own",
        )
        .with_context("path", source.display())
        .with_hint("write the directory's whole path"),
    )
}

struct Packer<'a> {
    source: &'a Path,
    root: OwnedFd,
    /// The archive's directory for everything; empty for the archive's root.
    prefix: Vec<u8>,
    writer: &'a mut Writer,
}

impl Packer<'_> {
    fn tree(&mut self, options: PackOptions) -> Result<(), Failure> {
        if !self.prefix.is_empty() {
            let stat = fstat(&self.root).map_err(|errno| unreadable(self.source, errno))?;
            self.member(&self.prefix.clone(), EntryType::Directory, b"", &stat)?;
        }
        if options.respect_gitignore {
            self.git_dir(self.source)?;
        }
        for entry in walk(self.source, options.respect_gitignore) {
            let Some(entry) = self.walked(entry)? else {
                continue;
            };
            self.entry(entry.path(), entry.file_type())?;
            // Rules such as `.*` would leave out the repository itself.
            if options.respect_gitignore && entry.file_type().is_some_and(|kind| kind.is_dir()) {
                self.git_dir(entry.path())?;
            }
        }
        Ok(())
    }

    /// Packs the repository of `dir`, if it has one, and all in it.
    fn git_dir(&mut self, dir: &Path) -> Result<(), Failure> {
        let path = dir.join(GIT_DIR);
        let Ok(meta) = path.symlink_metadata() else {
            return Ok(());
        };
        self.entry(&path, Some(meta.file_type()))?;
        if !meta.is_dir() {
            return Ok(());
        }
        for entry in walk(&path, false) {
            if let Some(entry) = self.walked(entry)? {
                self.entry(entry.path(), entry.file_type())?;
            }
        }
        Ok(())
    }

    /// The next entry of a walk, unless it is where the walk began or is gone already.
    fn walked(&self, entry: Result<DirEntry, ignore::Error>) -> Result<Option<DirEntry>, Failure> {
        match entry {
            Ok(entry) => Ok((entry.depth() > 0).then_some(entry)),
            Err(error)
                if error
                    .io_error()
                    .is_some_and(|error| error.kind() == io::ErrorKind::NotFound) =>
            {
                Ok(None)
            }
            Err(error) => {
                let text = error.to_string();
                Err(unreadable(
                    self.source,
                    error.into_io_error().unwrap_or_else(|| io::Error::other(text)),
                ))
            }
        }
    }

    fn entry(&mut self, path: &Path, kind: Option<std::fs::FileType>) -> Result<(), Failure> {
        let (Ok(below), Some(kind)) = (path.strip_prefix(self.source), kind) else {
            return Ok(());
        };
        let name = self.name_of(below);
        let packed = if kind.is_file() {
            self.regular(&name, below)
        } else if kind.is_dir() {
            self.described(&name, EntryType::Directory, below)
        } else if kind.is_symlink() {
            self.described(&name, EntryType::Symlink, below)
        } else {
            Ok(Ok(()))
        };
        match packed? {
            // It went away since the directory was read.
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(unreadable(path, errno)),
        }
    }

    fn regular(&mut self, name: &[u8], below: &Path) -> Result<rustix::io::Result<()>, Failure> {
        let opened =
            open_beneath(&self.root, below).and_then(|handle| fstat(&handle).map(|stat| (handle, stat)));
        match opened {
            Ok((handle, stat)) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                file(self.writer, name, &handle, &stat)
            }
            Ok(_) => Ok(Ok(())),
            Err(errno) => Ok(Err(errno)),
        }
    }

    /// An entry that its header describes wholly.
    fn described(
        &mut self,
        name: &[u8],
        kind: EntryType,
        below: &Path,
    ) -> Result<rustix::io::Result<()>, Failure> {
        let asked = statat(&self.root, below, AtFlags::SYMLINK_NOFOLLOW).and_then(|stat| {
            let link = match kind {
                EntryType::Symlink => readlinkat(&self.root, below, Vec::new())?.into_bytes(),
                _ => Vec::new(),
            };
            Ok((stat, link))
        });
        match asked {
            Ok((stat, link)) => self.member(name, kind, &link, &stat).map(Ok),
            Err(errno) => Ok(Err(errno)),
        }
    }

    fn member(&mut self, name: &[u8], kind: EntryType, link: &[u8], stat: &Stat) -> Result<(), Failure> {
        let mode = stat.st_mode & 0o7777;
        Ok(self.writer.header(&Entry {
            path: name,
            kind,
            link,
            mode,
            mtime: stat.st_mtime,
            size: 0,
        })?)
    }

    fn name_of(&self, below: &Path) -> Vec<u8> {
        let below = below.as_os_str().as_bytes();
        let mut name = Vec::with_capacity(self.prefix.len() + 1 + below.len());
        name.extend_from_slice(&self.prefix);
        if !name.is_empty() {
            name.push(b'/');
        }
        name.extend_from_slice(below);
        name
    }
}

/// Packs a regular file that is open already.
pub(super) fn file(
    writer: &mut Writer,
    name: &[u8],
    handle: impl AsFd,
    stat: &Stat,
) -> Result<rustix::io::Result<()>, Failure> {
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let (kind, mode) = (EntryType::Regular, stat.st_mode & 0o7777);
    writer.header(&Entry {
        path: name,
        kind,
        link: b"",
        mode,
        mtime: stat.st_mtime,
        size,
    })?;
    Ok(writer.content(handle, size)?)
}

/// One thread walks: directories are read faster than anything else here happens.
fn walk(path: &Path, respect_gitignore: bool) -> Walk {
    let mut builder = WalkBuilder::new(path);
    builder.standard_filters(false).follow_links(false);
    if respect_gitignore {
        builder
            .parents(true)
            .git_ignore(true)
            .git_exclude(true)
            .require_git(false);
        builder.filter_entry(|entry| entry.file_name() != GIT_DIR);
    }
    builder.build()
}

fn open_beneath(root: &OwnedFd, below: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(root, below, flags, Mode::empty(), resolve) {
        // Kernels before 5.6 and some sandboxes lack it; then only the last step is guarded.
        Err(Errno::NOSYS | Errno::PERM) => openat(root, below, flags, Mode::empty()),
        other => other,
    }
}
