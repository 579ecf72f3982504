//! The newest bytes: chunks as they were read, each already a frame.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use session_link::{
    OutputStream,
    wire::frame::{HEADER, Kind},
};

use super::{framed_buffer, kind_of, seal};

/// What a chunk costs besides its bytes. Counted, so that a process that writes single bytes gains nothing by it.
const OVERHEAD: usize = 96;

/// Bytes of one stream, as one read gave them.
#[derive(Debug)]
pub(crate) struct Chunk {
    offset: u64,
    kind: Kind,
    frame: Bytes,
}

impl Chunk {
    /// Makes a chunk of a buffer from [`framed_buffer`] that was filled.
    pub(crate) fn new(mut buffer: BytesMut, stream: OutputStream, offset: u64) -> Self {
        let kind = kind_of(stream);
        seal(&mut buffer, kind, offset);
        Self {
            offset,
            kind,
            frame: buffer.freeze(),
        }
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn end(&self) -> u64 {
        self.offset + self.payload().len() as u64
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn payload(&self) -> &[u8] {
        &self.frame[HEADER..]
    }

    /// The frame of its bytes from `offset` on.
    pub(super) fn from(&self, offset: u64) -> Bytes {
        if offset == self.offset {
            return self.frame.clone();
        }
        let skip = usize::try_from(offset - self.offset).unwrap_or(usize::MAX);
        let rest = &self.payload()[skip..];
        let mut buffer = framed_buffer(rest.len());
        buffer.extend_from_slice(rest);
        seal(&mut buffer, self.kind, offset);
        buffer.freeze()
    }
}

/// The chunks in memory, oldest first.
#[derive(Debug, Default)]
pub(super) struct Hot {
    chunks: VecDeque<Chunk>,
    cost: usize,
}

impl Hot {
    pub(super) fn cost(&self) -> usize {
        self.cost
    }

    pub(super) fn start(&self) -> Option<u64> {
        self.chunks.front().map(|chunk| chunk.offset)
    }

    pub(super) fn push(&mut self, chunk: Chunk) {
        self.cost += chunk.frame.len() + OVERHEAD;
        self.chunks.push_back(chunk);
    }

    pub(super) fn pop(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.pop_front()?;
        self.cost -= chunk.frame.len() + OVERHEAD;
        Some(chunk)
    }

    /// Drops the chunks that lie wholly before `upto`.
    pub(super) fn release(&mut self, upto: u64) {
        while self.chunks.front().is_some_and(|chunk| chunk.end() <= upto) {
            self.pop();
        }
    }

    pub(super) fn count_from(&self, offset: u64) -> usize {
        self.chunks.len() - self.chunks.partition_point(|chunk| chunk.end() <= offset)
    }

    pub(super) fn find(&self, offset: u64) -> Option<&Chunk> {
        let index = self.chunks.partition_point(|chunk| chunk.end() <= offset);
        self.chunks.get(index).filter(|chunk| chunk.offset <= offset)
    }
}
