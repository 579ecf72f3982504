//! The blocking side's view of the channel: bytes to read, bytes to write.

use std::{cell::Cell, fs::File, io, rc::Rc};

use bytes::{Buf, Bytes, BytesMut};
use session_link::wire::frame::{HEADER, Kind};
use tokio::sync::mpsc;

use crate::spool::{framed_buffer, seal};

/// Bytes of archive in one frame, so that a frame is one piece on the link.
const PIECE: usize = (128 << 10) - HEADER;

/// Reads what the link brings. The end is an end only if it was announced.
#[derive(Debug)]
pub(super) struct ChunkReader {
    chunks: mpsc::Receiver<Option<Bytes>>,
    chunk: Bytes,
    ended: bool,
}

impl ChunkReader {
    pub(super) fn new(chunks: mpsc::Receiver<Option<Bytes>>) -> Self {
        Self {
            chunks,
            chunk: Bytes::new(),
            ended: false,
        }
    }
}

impl io::Read for ChunkReader {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() && !self.ended {
            match self.chunks.blocking_recv() {
                Some(Some(chunk)) => self.chunk = chunk,
                Some(None) => self.ended = true,
                None => {
                    return Err(io::Error::new(
                        io::ErrorKind::ConnectionAborted,
                        "the transfer was given up",
                    ));
                }
            }
        }
        let length = self.chunk.len().min(target.len());
        self.chunk.copy_to_slice(&mut target[..length]);
        Ok(length)
    }
}

/// A reader that gives up when more is read than was granted. What describes an entry is kept in memory by whoever reads
/// the archive, and has no bound of its own.
#[derive(Debug)]
pub(super) struct Metered<R> {
    inner: R,
    granted: Rc<Cell<u64>>,
}

impl<R> Metered<R> {
    /// Also gives the meter, to grant more by.
    pub(super) fn new(inner: R) -> (Self, Rc<Cell<u64>>) {
        let granted = Rc::new(Cell::new(0));
        (
            Self {
                inner,
                granted: granted.clone(),
            },
            granted,
        )
    }
}

impl<R: io::Read> io::Read for Metered<R> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(target)?;
        match self.granted.get().checked_sub(read as u64) {
            Some(left) => self.granted.set(left),
            None => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "an entry's description is too long",
                ));
            }
        }
        Ok(read)
    }
}

/// Gathers what is written into frames for the link.
#[derive(Debug)]
pub(super) struct ChunkWriter {
    chunks: mpsc::Sender<Bytes>,
    buffer: BytesMut,
}

impl ChunkWriter {
    pub(super) fn new(chunks: mpsc::Sender<Bytes>) -> Self {
        Self {
            chunks,
            buffer: framed_buffer(PIECE),
        }
    }

    /// Appends `bytes`.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let taken = bytes.len().min(self.room()?);
            self.buffer.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// Appends `length` zeros.
    pub(super) fn zeros(&mut self, mut length: u64) -> io::Result<()> {
        const ZEROS: [u8; 4096] = [0; 4096];
        while length > 0 {
            let taken = usize::try_from(length).unwrap_or(usize::MAX).min(ZEROS.len());
            self.write(&ZEROS[..taken])?;
            length -= taken as u64;
        }
        Ok(())
    }

    /// Appends up to `length` bytes of `file`, read straight into the frame; says how many there were.
    pub(super) fn file(&mut self, file: &File, length: u64) -> Result<u64, Broken> {
        let mut copied = 0;
        while copied < length {
            let room = self.room().map_err(Broken::Link)?;
            let most = usize::try_from(length - copied).unwrap_or(usize::MAX).min(room);
            let start = self.buffer.len();
            self.buffer.resize(start + most, 0);
            let read = io::Read::read(&mut &*file, &mut self.buffer[start..]);
            self.buffer.truncate(start + read.as_ref().copied().unwrap_or(0));
            match read {
                Ok(0) => break,
                Ok(read) => copied += read as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Broken::File(error)),
            }
        }
        Ok(copied)
    }

    /// Sends what is left.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if self.buffer.len() > HEADER {
            self.send()
        } else {
            Ok(())
        }
    }

    fn room(&mut self) -> io::Result<usize> {
        if self.buffer.len() == HEADER + PIECE {
            self.send()?;
        }
        Ok(HEADER + PIECE - self.buffer.len())
    }

    fn send(&mut self) -> io::Result<()> {
        seal(&mut self.buffer, Kind::Data, 0);
        let frame = std::mem::replace(&mut self.buffer, framed_buffer(PIECE)).freeze();
        self.chunks
            .blocking_send(frame)
            .map_err(|_gone| io::Error::new(io::ErrorKind::ConnectionAborted, "the transfer was given up"))
    }
}

/// Which side of a copy failed.
#[derive(Debug)]
pub(super) enum Broken {
    Link(io::Error),
    File(io::Error),
}
