//! The older bytes: extents of an unlinked file that is used as a ring.
//!
//! A byte lies at its offset modulo the file's bound, so nothing is ever moved. The index of extents is bounded as well:
//! a process that changes streams with every byte loses its oldest output sooner.

use std::{collections::VecDeque, fs::File, io, os::unix::fs::FileExt};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use session_link::wire::frame::Kind;

use super::{Chunk, Piece, SpoolDirectory, framed_buffer, seal};

/// The most extents of one spool: 2 MiB of index.
const MAX_EXTENTS: usize = 64 << 10;

/// A run of bytes of one stream, or one that could not be written.
#[derive(Debug)]
struct Extent {
    start: u64,
    end: u64,
    kind: Option<Kind>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Cold {
    limit: u64,
    directory: SpoolDirectory,
    file: Option<File>,
    extents: VecDeque<Extent>,
}

impl Cold {
    pub(super) fn new(limit: u64, directory: SpoolDirectory) -> Self {
        Self {
            limit,
            directory,
            file: None,
            extents: VecDeque::new(),
        }
    }

    pub(super) fn start(&self) -> Option<u64> {
        self.extents.front().map(|extent| extent.start)
    }

    /// Takes the bytes after those it has; of more than the bound only the last.
    pub(super) fn push(&mut self, chunk: &Chunk) {
        let bytes = chunk.payload();
        let kept = bytes.len().min(usize::try_from(self.limit).unwrap_or(usize::MAX));
        let from = chunk.end() - kept as u64;
        self.make_room(chunk.end());
        self.extend(chunk.offset(), from, None);
        let kind = self
            .write(from, &bytes[bytes.len() - kept..])
            .is_ok()
            .then(|| chunk.kind());
        self.extend(from, chunk.end(), kind);
        self.trim();
    }

    fn extend(&mut self, start: u64, end: u64, kind: Option<Kind>) {
        match self.extents.back_mut() {
            _ if start == end => {}
            Some(last) if last.kind == kind && last.end == start => last.end = end,
            _ => self.extents.push_back(Extent { start, end, kind }),
        }
    }

    /// Forgets what lies before `upto`, and gives the disk its space back when nothing is left.
    pub(super) fn release(&mut self, upto: u64) {
        while let Some(first) = self.extents.front_mut() {
            if first.end > upto {
                first.start = first.start.max(upto);
                break;
            }
            self.extents.pop_front();
        }
        self.trim();
    }

    /// A frame of at most `most` bytes at `from`, which is covered.
    pub(super) fn read(&self, from: u64, most: usize) -> Piece {
        let index = self.extents.partition_point(|extent| extent.end <= from);
        let Some(extent) = self.extents.get(index) else {
            return Piece::End;
        };
        let length = usize::try_from(extent.end - from).unwrap_or(usize::MAX).min(most);
        match extent.kind.map(|kind| self.read_frame(kind, from, length)) {
            Some(Ok(frame)) => Piece::Frame {
                frame,
                length: length as u64,
            },
            // What the disk took and does not give back is lost like what it did not take.
            Some(Err(_)) => Piece::Gap {
                to: from + length as u64,
            },
            None => Piece::Gap { to: extent.end },
        }
    }

    /// Drops the oldest bytes until those up to `end` are within the bound.
    fn make_room(&mut self, end: u64) {
        self.release(end.saturating_sub(self.limit));
    }

    /// Keeps the index within its bound and free of what is lost at its front.
    fn trim(&mut self) {
        while self.extents.len() > MAX_EXTENTS
            || self.extents.front().is_some_and(|first| first.kind.is_none())
        {
            self.extents.pop_front();
        }
        if self.extents.is_empty()
            && let Some(file) = &self.file
        {
            // Best effort: the space comes back at the latest when the spool goes.
            let _ = file.set_len(0);
        }
    }

    fn write(&mut self, from: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(create(&self.directory)?),
        };
        let at = from % self.limit;
        let (before, wrapped) = bytes.split_at(until_wrap(at, self.limit, bytes.len()));
        file.write_all_at(before, at)?;
        file.write_all_at(wrapped, 0)
    }

    fn read_frame(&self, kind: Kind, from: u64, length: usize) -> io::Result<bytes::Bytes> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let mut buffer = framed_buffer(length);
        let header = buffer.len();
        buffer.resize(header + length, 0);
        let at = from % self.limit;
        let (before, wrapped) = buffer[header..].split_at_mut(until_wrap(at, self.limit, length));
        file.read_exact_at(before, at)?;
        file.read_exact_at(wrapped, 0)?;
        seal(&mut buffer, kind, from);
        Ok(buffer.freeze())
    }
}

/// How many of `length` bytes at `at` come before the ring starts again.
fn until_wrap(at: u64, limit: u64, length: usize) -> usize {
    usize::try_from(limit - at).unwrap_or(usize::MAX).min(length)
}

/// A file without a name: nobody else can open it, and it is gone with its last user however that one ends.
fn create(directory: &SpoolDirectory) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    match rustix::fs::openat(CWD, directory.0.as_path(), flags | OFlags::TMPFILE, mode) {
        Ok(file) => return Ok(file.into()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    let name = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    let path = directory.0.join(format!(".spool-{}", name.trim()));
    let file = rustix::fs::openat(
        CWD,
        &path,
        flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW,
        mode,
    )?;
    rustix::fs::unlinkat(CWD, &path, AtFlags::empty())?;
    Ok(file.into())
}
