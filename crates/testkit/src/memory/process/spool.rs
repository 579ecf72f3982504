//! What a process wrote and nobody acknowledged, in one space of offsets over both its streams.

use std::collections::VecDeque;

use bytes::Bytes;
use session_link::OutputStream;

/// What is there to be read at an offset.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Nothing yet.
    End,
    /// Bytes are gone, up to this offset.
    Gap { to: u64 },
    /// Bytes of one stream.
    Bytes { stream: OutputStream, bytes: Bytes },
}

#[derive(Debug)]
struct Chunk {
    offset: u64,
    stream: OutputStream,
    bytes: Bytes,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Spool {
    chunks: VecDeque<Chunk>,
    start: u64,
    end: u64,
    limit: u64,
}

impl Spool {
    /// A spool that keeps at most `limit` bytes.
    pub(super) fn new(limit: u64) -> Self {
        Self {
            chunks: VecDeque::new(),
            start: 0,
            end: 0,
            limit,
        }
    }

    pub(super) fn start(&self) -> u64 {
        self.start
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn append(&mut self, stream: OutputStream, bytes: Bytes) {
        let chunk = Chunk {
            offset: self.end,
            stream,
            bytes,
        };
        self.end = chunk.end();
        self.chunks.push_back(chunk);
        while self.end - self.start > self.limit {
            let Some(oldest) = self.chunks.pop_front() else {
                break;
            };
            self.start = self.start.max(oldest.end());
        }
    }

    /// Forgets what is before `upto`.
    pub(super) fn release(&mut self, upto: u64) {
        while self.chunks.front().is_some_and(|chunk| chunk.end() <= upto) {
            self.chunks.pop_front();
        }
        self.start = self.start.max(upto.min(self.end));
    }

    pub(super) fn piece(&self, from: u64) -> Piece {
        if from >= self.end {
            return Piece::End;
        }
        if from < self.start {
            return Piece::Gap { to: self.start };
        }
        let index = self.chunks.partition_point(|chunk| chunk.end() <= from);
        match self.chunks.get(index) {
            Some(chunk) => {
                let skip = usize::try_from(from - chunk.offset).unwrap_or(usize::MAX);
                Piece::Bytes {
                    stream: chunk.stream,
                    bytes: chunk.bytes.slice(skip..),
                }
            }
            None => Piece::End,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_past_the_bound_and_the_gap_is_told() {
        let mut spool = Spool::new(4);
        spool.append(OutputStream::Stdout, Bytes::from_static(b"abc"));
        spool.append(OutputStream::Stderr, Bytes::from_static(b"de"));
        assert_eq!(spool.piece(0), Piece::Gap { to: 3 });
        assert_eq!(
            spool.piece(4),
            Piece::Bytes {
                stream: OutputStream::Stderr,
                bytes: Bytes::from_static(b"e")
            }
        );
        assert_eq!(spool.piece(5), Piece::End);
        spool.release(5);
        assert_eq!((spool.start(), spool.end()), (5, 5));
    }
}
