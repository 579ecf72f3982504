//! Tar blocks into large chunks.
//!
//! Headers and small files are gathered, large files are read straight into the chunk: each byte is copied once, from
//! the kernel, and the queue sees a message per chunk, not one per block.

use std::os::fd::AsFd;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use tar::{EntryType, Header};
use tokio::sync::mpsc;

use crate::transfer::{BLOCK, NAME_BYTES};

const CHUNK_BYTES: usize = 256 << 10;

/// The reader of the stream went away.
#[derive(Debug)]
pub(super) struct Unread;

/// What an entry is.
pub(super) struct Entry<'a> {
    pub(super) path: &'a [u8],
    pub(super) kind: EntryType,
    pub(super) link: &'a [u8],
    pub(super) mode: u32,
    pub(super) mtime: i64,
    pub(super) size: u64,
}

pub(super) struct Writer {
    chunk: Vec<u8>,
    queue: mpsc::Sender<Bytes>,
}

impl Writer {
    pub(super) fn new(queue: mpsc::Sender<Bytes>) -> Self {
        Self {
            chunk: Vec::with_capacity(CHUNK_BYTES),
            queue,
        }
    }

    /// Writes the header; a file's content of exactly `entry.size` bytes must follow.
    pub(super) fn header(&mut self, entry: &Entry<'_>) -> Result<(), Unread> {
        if entry.link.len() > NAME_BYTES {
            self.long_name(EntryType::GNULongLink, entry.link)?;
        }
        if entry.path.len() > NAME_BYTES {
            self.long_name(EntryType::GNULongName, entry.path)?;
        }
        let mut header = Header::new_gnu();
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        header.set_uid(0);
        header.set_gid(0);
        // Times before 1970 have no common form in archives.
        header.set_mtime(u64::try_from(entry.mtime).unwrap_or(0));
        header.set_size(entry.size);
        // Written as they are: the crate's own setters would normalise them.
        if let Some(gnu) = header.as_gnu_mut() {
            fill(&mut gnu.name, entry.path);
            fill(&mut gnu.linkname, entry.link);
        }
        header.set_cksum();
        self.write(header.as_bytes())
    }

    /// A member that holds the name of the next one, as GNU tar does it.
    fn long_name(&mut self, kind: EntryType, name: &[u8]) -> Result<(), Unread> {
        let mut header = Header::new_gnu();
        if let Some(gnu) = header.as_gnu_mut() {
            fill(&mut gnu.name, b"././@LongLink");
        }
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(name.len() as u64 + 1);
        header.set_cksum();
        self.write(header.as_bytes())?;
        self.write(name)?;
        self.write(&[0])?;
        self.pad(name.len() as u64 + 1)
    }

    /// Copies exactly `size` bytes from `file`, and pads. Answers with whether the file was as long as announced.
    pub(super) fn content(&mut self, file: impl AsFd, size: u64) -> Result<rustix::io::Result<()>, Unread> {
        let mut left = size;
        while left > 0 {
            if self.chunk.len() == self.chunk.capacity() {
                self.send()?;
            }
            let before = self.chunk.len();
            match rustix::io::read(&file, spare_capacity(&mut self.chunk)) {
                // It shrank: the announced size is kept with zeros.
                Ok(0) => {
                    self.zeros(left)?;
                    break;
                }
                Ok(count) => {
                    // It grew: what is past the announced size is left out.
                    let kept = usize::try_from(left).unwrap_or(usize::MAX).min(count);
                    self.chunk.truncate(before + kept);
                    left -= kept as u64;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Ok(Err(errno)),
            }
        }
        self.pad(size)?;
        Ok(Ok(()))
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> Result<(), Unread> {
        self.zeros(2 * BLOCK as u64)?;
        if self.chunk.is_empty() {
            Ok(())
        } else {
            self.send()
        }
    }

    fn pad(&mut self, size: u64) -> Result<(), Unread> {
        self.zeros(size.wrapping_neg() % BLOCK as u64)
    }

    fn zeros(&mut self, mut count: u64) -> Result<(), Unread> {
        while count > 0 {
            let step = usize::try_from(count).unwrap_or(usize::MAX).min(BLOCK);
            self.write(&[0; BLOCK][..step])?;
            count -= step as u64;
        }
        Ok(())
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), Unread> {
        while !bytes.is_empty() {
            if self.chunk.len() == self.chunk.capacity() {
                self.send()?;
            }
            let room = (self.chunk.capacity() - self.chunk.len()).min(bytes.len());
            let (now, later) = bytes.split_at(room);
            self.chunk.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), Unread> {
        let full = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK_BYTES));
        self.queue.blocking_send(full.into()).map_err(|_| Unread)
    }
}

/// Copies what fits. A name of the field's whole length has no NUL at its end, as the format wants it.
fn fill(field: &mut [u8], name: &[u8]) {
    let length = field.len().min(name.len());
    field[..length].copy_from_slice(&name[..length]);
}
