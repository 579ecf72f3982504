//! Members into files, directories and links beneath the staging directory.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, fchmod, futimens, linkat, openat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use tar::Archive;

use super::feed::FeedReader;
use super::frames::{Finish, Frames, IMPLICIT_DIR_MODE, times};
use super::member::{Content, Kind, Member, Members, broken, cut_short};
use super::place::{Destination, Shape};
use super::withhold::{Withheld, is_git_dir, stays_beneath, withheld_prefix};
use super::{host_io, over_limit, refused};
use crate::error::Result;
use crate::session::CopyReport;
use crate::transfer::{MAX_PATH_BYTES, UnpackOptions, Unpacked};

const BUFFER_BYTES: usize = 256 << 10;
/// The longest name that file systems take, in bytes.
const MAX_NAME_BYTES: usize = 255;
/// The most padding after an archive's end.
const MAX_PADDING: usize = 1 << 20;

/// Does all of it. Runs in a thread of its own; ends early when the reader's stream breaks off.
pub(super) fn run(reader: FeedReader, dest: &Path, options: &UnpackOptions) -> Result<Unpacked> {
    let staging = Destination::open(dest)?.stage()?;
    let root = staging
        .root()
        .try_clone()
        .map_err(|error| host_io("a handle could not be copied", b"", error))?;
    let mut extractor = Extractor::new(root, *options);
    let mut archive = Archive::new(reader);
    let mut members = Members::of(&mut archive, options.limits)?;
    while let Some(member) = members.next()? {
        extractor.take(member)?;
    }
    end_of(archive.into_inner())?;
    let (unpacked, shape) = extractor.finish()?;
    staging.commit(shape, extractor.frames.late, options.overwrite)?;
    Ok(unpacked)
}

/// After the end of the archive comes nothing but padding, and then the end of the stream.
fn end_of(mut reader: FeedReader) -> Result<()> {
    if reader.ended() {
        return Err(cut_short());
    }
    let mut rest = [0; 4096];
    let mut padding = 0;
    loop {
        let count = reader.read(&mut rest).map_err(broken)?;
        padding += count;
        if count == 0 {
            return Ok(());
        }
        if padding > MAX_PADDING || rest[..count].iter().any(|byte| *byte != 0) {
            return Err(refused("something follows the end of the archive", b""));
        }
    }
}

struct Extractor {
    frames: Frames,
    options: UnpackOptions,
    report: CopyReport,
    withheld: Withheld,
    top: Top,
    root: Option<Finish>,
    umask: u32,
    buffer: Vec<u8>,
}

/// What is directly below the root, as far as it was seen.
enum Top {
    Nothing,
    /// Everything so far is this, which came first.
    One {
        name: Vec<u8>,
        is_symlink: bool,
    },
    Many,
}

impl Extractor {
    fn new(root: OwnedFd, options: UnpackOptions) -> Self {
        Self {
            frames: Frames::new(root, !options.allow_executable_config),
            options,
            report: CopyReport::default(),
            withheld: Withheld::default(),
            top: if options.contents { Top::Many } else { Top::Nothing },
            root: None,
            umask: umask(),
            buffer: vec![0; BUFFER_BYTES],
        }
    }

    fn take(&mut self, mut member: Member<'_>) -> Result<()> {
        let path = std::mem::take(&mut member.path);
        let parts = split(&path)?;
        let Some((name, above)) = parts.split_last() else {
            return self.describe_root(&member);
        };
        if parts.len() > self.options.limits.depth {
            return Err(over_limit(
                "the archive's directories are nested too deeply",
                self.options.limits.depth as u64,
            ));
        }
        self.see_top(&parts, &member.kind);
        if self.withhold(&parts, &member.kind) {
            return Ok(());
        }
        self.report.entries += 1;
        if matches!(member.kind, Kind::Dir) {
            self.frames.enter(&parts)?;
            self.frames.describe(Finish {
                mode: member.mode,
                mtime: member.mtime,
            });
            return Ok(());
        }
        self.frames.enter(above)?;
        self.frames.made(name);
        match &member.kind {
            Kind::Symlink(target) => self.symlink(&path, name, target, member.mtime),
            Kind::HardLink(target) => self.hard_link(&path, name, target),
            Kind::File | Kind::Dir => self.file(&path, name, &mut member),
        }
    }

    fn describe_root(&mut self, member: &Member<'_>) -> Result<()> {
        if !matches!(member.kind, Kind::Dir) {
            return Err(refused("the root of an archive is a directory", b"."));
        }
        self.root = Some(Finish {
            mode: member.mode,
            mtime: member.mtime,
        });
        self.top = Top::Many;
        Ok(())
    }

    fn see_top(&mut self, parts: &[&[u8]], kind: &Kind) {
        match &self.top {
            Top::Nothing if parts.len() == 1 => {
                let is_symlink = matches!(kind, Kind::Symlink(_));
                self.top = Top::One {
                    name: parts[0].to_vec(),
                    is_symlink,
                };
            }
            Top::One { name, .. } if name == parts[0] => {}
            _ => self.top = Top::Many,
        }
    }

    /// Notes what is not applied.
    fn withhold(&mut self, parts: &[&[u8]], kind: &Kind) -> bool {
        let top = match kind {
            // Beneath what is copied: below its own directory when it has one.
            Kind::Symlink(target) if !stays_beneath(target, self.depth_of(parts)) => parts.len(),
            _ if self.options.allow_executable_config => return false,
            Kind::HardLink(target)
                if split(target).is_ok_and(|target| withheld_prefix(&target).is_some()) =>
            {
                parts.len()
            }
            Kind::File | Kind::Symlink(_) | Kind::HardLink(_) if is_git_dir(parts) => parts.len(),
            _ => match withheld_prefix(parts) {
                Some(count) => count,
                None => return false,
            },
        };
        self.withheld.note(&parts[..top].join(&b'/'));
        true
    }

    fn depth_of(&self, parts: &[&[u8]]) -> usize {
        let root = usize::from(matches!(self.top, Top::One { .. }));
        parts.len().saturating_sub(1 + root)
    }

    fn file(&mut self, path: &[u8], name: &[u8], member: &mut Member<'_>) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(member.mode);
        let handle = openat(self.frames.here(), name, flags, mode).map_err(|errno| made(path, errno))?;
        self.copy(path, &handle, &mut member.content, member.size)?;
        let finished = futimens(&handle, &times(member.mtime)).and_then(|()| {
            // One call less for nearly every file.
            if member.mode & self.umask == 0 {
                Ok(())
            } else {
                fchmod(&handle, mode)
            }
        });
        finished.map_err(|errno| host_io("a file could not be finished", path, errno))?;
        self.report.bytes += member.size;
        Ok(())
    }

    fn copy(&mut self, path: &[u8], handle: &OwnedFd, content: &mut Content<'_>, size: u64) -> Result<()> {
        let mut left = size;
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(BUFFER_BYTES);
            let mut filled = 0;
            while filled < room {
                match content.read(&mut self.buffer[filled..room]).map_err(broken)? {
                    0 => return Err(cut_short()),
                    count => filled += count,
                }
            }
            write_all(handle, &self.buffer[..room])
                .map_err(|errno| host_io("a file could not be written", path, errno))?;
            left -= room as u64;
        }
        Ok(())
    }

    fn symlink(&mut self, path: &[u8], name: &[u8], target: &[u8], mtime: Option<i64>) -> Result<()> {
        let here = self.frames.here();
        symlinkat(target, here, name).map_err(|errno| made(path, errno))?;
        utimensat(here, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| host_io("a link could not be finished", path, errno))
    }

    /// Another name for a file that this archive brought.
    fn hard_link(&mut self, path: &[u8], name: &[u8], target: &[u8]) -> Result<()> {
        let parts = split(target)?;
        let astray = || refused("a hard link leads to no file of this archive", path);
        let (target, above) = parts.split_last().ok_or_else(astray)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut dir = self
            .frames
            .root()
            .try_clone_to_owned()
            .map_err(|error| host_io("a handle could not be copied", path, error))?;
        for part in above {
            dir = openat(&dir, *part, flags, Mode::empty()).map_err(|_| astray())?;
        }
        let stat = statat(&dir, *target, AtFlags::SYMLINK_NOFOLLOW).map_err(|_| astray())?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(astray());
        }
        linkat(&dir, *target, self.frames.here(), name, AtFlags::empty()).map_err(|errno| made(path, errno))
    }

    fn finish(&mut self) -> Result<(Unpacked, Shape)> {
        self.frames.leave_all()?;
        for config in std::mem::take(&mut self.frames.removed) {
            self.report.entries -= 1;
            self.withheld.note(&config);
        }
        let shape = match std::mem::replace(&mut self.top, Top::Many) {
            Top::One { name, is_symlink } => {
                self.drop_lone_symlink(&name, is_symlink)?;
                Shape::Single(name)
            }
            Top::Nothing | Top::Many => Shape::Contents(self.root.unwrap_or(Finish {
                mode: IMPLICIT_DIR_MODE,
                mtime: None,
            })),
        };
        if self.report.entries == 0 && self.withheld.count > 0 {
            return Err(refused(
                "all of it could run on this host or leads out of it, so all of it is withheld",
                b"",
            )
            .with_context("withheld", self.withheld.listed.join(", "))
            .with_hint("look at it inside the session; ask for it by allowing executable configuration"));
        }
        let Withheld { listed, count, .. } = std::mem::take(&mut self.withheld);
        Ok((
            Unpacked {
                report: self.report,
                withheld: listed,
                withheld_count: count,
            },
            shape,
        ))
    }

    /// A link that is all there is can only lead to something that was not copied.
    fn drop_lone_symlink(&mut self, name: &[u8], is_symlink: bool) -> Result<()> {
        if !is_symlink || self.report.entries == 0 {
            return Ok(());
        }
        unlinkat(self.frames.root(), name, AtFlags::empty())
            .map_err(|errno| host_io("a link could not be withheld", name, errno))?;
        self.report.entries -= 1;
        self.withheld.note(name);
        Ok(())
    }
}

/// The parts of a path from an archive.
fn split(path: &[u8]) -> Result<Vec<&[u8]>> {
    if path.is_empty() || path.len() > MAX_PATH_BYTES {
        return Err(refused("a path is empty or too long", path));
    }
    if path[0] == b'/' || path.contains(&0) {
        return Err(refused("a path is absolute or contains a NUL", path));
    }
    let parts: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    if parts.contains(&&b".."[..]) {
        return Err(refused("a path steps up", path));
    }
    if parts.iter().any(|part| part.len() > MAX_NAME_BYTES) {
        return Err(refused("a name is too long", path));
    }
    Ok(parts)
}

fn made(path: &[u8], errno: Errno) -> crate::error::Error {
    match errno {
        Errno::EXIST => refused("two entries have the same path", path),
        Errno::NAMETOOLONG => refused("a name is too long for this file system", path),
        Errno::INVAL | Errno::ILSEQ => refused("this file system does not take the name", path),
        other => host_io("an entry could not be made", path, other),
    }
}

fn write_all(handle: &OwnedFd, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(handle, bytes) {
            Ok(0) => return Err(Errno::NOSPC),
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The process's umask, which can only be asked for by setting it, or here. Unknown means all of it.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok())
        .unwrap_or(0o777)
}
