//! Lines, in bounded memory.

use std::io;

use bytes::BytesMut;
use rmcp::model::RequestId;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::skim::Skim;

const CHUNK: usize = 64 << 10;

/// What was read.
pub(super) enum Line {
    Whole(BytesMut),
    /// It was longer than it may be, and is dropped. It was so many bytes, and an answer to this request.
    TooLong {
        bytes: usize,
        answered: Option<RequestId>,
    },
    End,
}

/// Splits what is read into lines.
pub(super) struct LineReader<R> {
    reader: R,
    buffer: BytesMut,
    /// How much of the buffer has no line end in it.
    searched: usize,
    /// What is known of a line that is being dropped for its length.
    dropping: Option<(Skim, usize)>,
    max_line: usize,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    pub(super) fn new(reader: R, max_line: usize) -> Self {
        Self {
            reader,
            buffer: BytesMut::new(),
            searched: 0,
            dropping: None,
            max_line,
        }
    }

    /// The next line; what stands behind the last line end is one too. Cancel-safe: what was read stays here.
    pub(super) async fn line(&mut self) -> io::Result<Line> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.searched..]) {
                let line = self.buffer.split_to(self.searched + at + 1);
                self.searched = 0;
                self.shrink();
                return Ok(self.ended(line));
            }
            self.searched = self.buffer.len();
            if self.searched > self.max_line || self.dropping.is_some() {
                self.drop_buffer();
            }
            self.buffer.reserve(CHUNK);
            if self.reader.read_buf(&mut self.buffer).await? == 0 {
                let rest = self.buffer.split();
                self.searched = 0;
                return Ok(if rest.is_empty() && self.dropping.is_none() {
                    Line::End
                } else {
                    self.ended(rest)
                });
            }
        }
    }

    fn ended(&mut self, line: BytesMut) -> Line {
        if let Some((mut skim, bytes)) = self.dropping.take() {
            skim.feed(&line);
            return Line::TooLong {
                bytes: bytes + line.len(),
                answered: skim.answered(),
            };
        }
        if line.len() > self.max_line {
            let mut skim = Skim::default();
            skim.feed(&line);
            return Line::TooLong {
                bytes: line.len(),
                answered: skim.answered(),
            };
        }
        Line::Whole(line)
    }

    fn drop_buffer(&mut self) {
        let (skim, bytes) = self.dropping.get_or_insert_default();
        skim.feed(&self.buffer);
        *bytes = bytes.saturating_add(self.buffer.len());
        // A new one: the old one may be as large as a line may be long.
        self.buffer = BytesMut::new();
        self.searched = 0;
    }

    /// A long message must not hold its memory for the rest of the connection.
    fn shrink(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() > 4 * CHUNK {
            self.buffer = BytesMut::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    async fn lines(bytes: &[u8], max: usize) -> Vec<Result<Vec<u8>, usize>> {
        let mut reader = LineReader::new(bytes, max);
        let mut lines = Vec::new();
        loop {
            match reader.line().await.unwrap() {
                Line::Whole(line) => lines.push(Ok(line.to_vec())),
                Line::TooLong { bytes, .. } => lines.push(Err(bytes)),
                Line::End => return lines,
            }
            assert!(reader.buffer.capacity() <= max + 4 * CHUNK);
        }
    }

    #[tokio::test]
    async fn a_line_without_an_end_takes_no_memory_and_is_still_known() {
        let mut text = br#"{"jsonrpc":"2.0","id":"abc","result":""#.to_vec();
        text.resize(3 << 20, b'x');
        text.extend_from_slice(b"\"}\n{}\n");
        let mut reader = LineReader::new(text.as_slice(), 1000);
        let Line::TooLong { bytes, answered } = reader.line().await.unwrap() else {
            panic!("it is too long")
        };
        assert_eq!(
            (bytes, answered),
            ((3 << 20) + 3, Some(RequestId::String("abc".into())))
        );
        assert!(matches!(reader.line().await.unwrap(), Line::Whole(line) if &line[..] == b"{}\n"));
        assert!(matches!(reader.line().await.unwrap(), Line::End));
    }

    proptest! {
        /// Every line comes whole or is too long, none is lost, and none leaks into the next.
        #[test]
        fn lines_are_lines(parts in prop::collection::vec(prop::collection::vec(b'a'..=b'c', 0..30), 0..20), max in 1_usize..20) {
            let text = parts.iter().flat_map(|part| part.iter().copied().chain([b'\n'])).collect::<Vec<u8>>();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let got = runtime.block_on(lines(&text, max));
            let expected: Vec<_> = parts
                .iter()
                .map(|part| [part.as_slice(), b"\n"].concat())
                .map(|line| if line.len() > max { Err(line.len()) } else { Ok(line) })
                .collect();
            prop_assert_eq!(got, expected);
        }
    }
}
