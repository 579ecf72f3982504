//! What a process wrote and nobody has acknowledged yet, in one space of offsets over both its streams.
//!
//! ```text
//!  start                        middle                 end
//!    │ extents, in a bounded file  │ chunks, in memory   │
//!    ▼─────────────────────────────▼─────────────────────▼──▶ offsets
//! ```
//!
//! New bytes go to memory. What does not fit there moves, oldest first, to an unlinked file; what does not fit there is
//! lost, oldest first, and readers are told of a gap. A disk that is full loses what should have gone there, no more.
//!
//! Chunks are kept as the frames in which they will travel, so that the common way from pipe to link copies nothing here.

mod file;
mod memory;

use std::{path::PathBuf, rc::Rc};

use bytes::{BufMut, Bytes, BytesMut};
use session_link::{
    OutputStream,
    wire::frame::{self, Kind},
};

use file::Cold;
pub(crate) use memory::Chunk;
use memory::Hot;

/// The most bytes read from the file at once.
const FILE_PIECE: usize = 64 << 10;

/// Where files for spools can be made.
#[derive(Clone, Debug)]
pub(crate) struct SpoolDirectory(pub(crate) Rc<PathBuf>);

/// What is there to be read at an offset.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Nothing yet.
    End,
    /// Bytes are gone, up to this offset.
    Gap {
        /// The first offset that is there again.
        to: u64,
    },
    /// A frame, ready to be sent.
    Frame {
        /// Header and payload.
        frame: Bytes,
        /// How many bytes of the process's output it carries.
        length: u64,
    },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Spool {
    start: u64,
    end: u64,
    hot: Hot,
    cold: Cold,
}

impl Spool {
    pub(crate) fn new(file_limit: u64, directory: SpoolDirectory) -> Self {
        Self {
            start: 0,
            end: 0,
            hot: Hot::default(),
            cold: Cold::new(file_limit, directory),
        }
    }

    /// The oldest offset that may still be there.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// The offset after the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// How many chunks in memory go beyond `offset`.
    pub(crate) fn chunks_from(&self, offset: u64) -> usize {
        self.hot.count_from(offset)
    }

    /// Takes the next bytes. More than `memory` bytes of cost do not stay in memory.
    pub(crate) fn append(&mut self, chunk: Chunk, memory: usize) {
        debug_assert_eq!(chunk.offset(), self.end, "chunks come in order");
        self.end = chunk.end();
        self.hot.push(chunk);
        self.spill(memory);
    }

    /// Forgets what is before `upto`: everybody who wanted it has it.
    pub(crate) fn release(&mut self, upto: u64) {
        let upto = upto.min(self.end);
        self.hot.release(upto);
        self.cold.release(upto);
        self.start = self.start.max(upto);
    }

    /// Moves the oldest bytes from memory to the file until `memory` bytes of cost are left.
    pub(crate) fn spill(&mut self, memory: usize) {
        while self.hot.cost() > memory {
            let Some(chunk) = self.hot.pop() else { break };
            if chunk.end() > self.start {
                self.cold.push(&chunk);
            }
        }
        self.start = self
            .start
            .max(self.cold.start().unwrap_or(self.hot.start().unwrap_or(self.end)));
    }

    /// What is there at `from`, which is not beyond the end.
    pub(crate) fn piece(&self, from: u64) -> Piece {
        if from >= self.end {
            return Piece::End;
        }
        if from < self.start {
            return Piece::Gap { to: self.start };
        }
        if let Some(chunk) = self.hot.find(from) {
            return Piece::of(chunk.from(from), chunk.end() - from);
        }
        self.cold.read(from, FILE_PIECE)
    }
}

impl Piece {
    fn of(frame: Bytes, length: u64) -> Self {
        Self::Frame { frame, length }
    }
}

pub(crate) fn kind_of(stream: OutputStream) -> Kind {
    match stream {
        OutputStream::Stdout => Kind::Stdout,
        OutputStream::Stderr => Kind::Stderr,
    }
}

/// A buffer with room for a header and `payload` bytes, and the header's room used up.
pub(crate) fn framed_buffer(payload: usize) -> BytesMut {
    let mut buffer = BytesMut::with_capacity(frame::HEADER + payload);
    buffer.put_bytes(0, frame::HEADER);
    buffer
}

/// Writes the header into the room left for it.
pub(crate) fn seal(buffer: &mut BytesMut, kind: Kind, offset: u64) {
    let length = u32::try_from(buffer.len() - frame::HEADER).unwrap_or(u32::MAX);
    buffer[..frame::HEADER].copy_from_slice(&frame::Header { kind, offset, length }.encode());
}

#[cfg(test)]
mod tests;
