//! Takes a `text/event-stream` apart, as the HTML standard has it: lines end with LF, CR or CRLF, an event's data lines
//! are joined, an empty line ends it.

use memchr::memchr2;

use super::MAX_PIECE;

const DATA: &[u8] = b"data:";

/// The state between two chunks.
#[derive(Debug, Default)]
pub(super) struct SseReader {
    /// The current line as far as it is of use.
    line: Vec<u8>,
    /// The current line is not a data line, or too long.
    skip_line: bool,
    /// The data of the current event.
    data: Vec<u8>,
    /// The current event is too long.
    skip_event: bool,
    /// The last byte was CR: an LF now belongs to it.
    after_cr: bool,
}

impl SseReader {
    /// Reads on; `on_event` gets the data of each complete event.
    pub(super) fn feed(&mut self, chunk: &[u8], mut on_event: impl FnMut(&[u8])) {
        let mut rest = chunk;
        while let Some(first) = rest.first() {
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let Some(end) = memchr2(b'\n', b'\r', rest) else {
                self.extend_line(rest);
                return;
            };
            self.extend_line(&rest[..end]);
            self.after_cr = rest[end] == b'\r';
            rest = &rest[end + 1..];
            self.end_line(&mut on_event);
        }
    }

    /// The stream ended. An event without its empty line counts all the same: a token that was used was used.
    pub(super) fn finish(&mut self, mut on_event: impl FnMut(&[u8])) {
        self.end_line(&mut on_event);
        self.end_event(&mut on_event);
    }

    fn extend_line(&mut self, part: &[u8]) {
        if self.skip_line {
            return;
        }
        self.line
            .extend_from_slice(&part[..part.len().min(MAX_PIECE + 1 - self.line.len().min(MAX_PIECE + 1))]);
        let seen = self.line.len().min(DATA.len());
        if self.line[..seen] != DATA[..seen] {
            self.skip_line = true;
        } else if self.line.len() > MAX_PIECE {
            self.skip_line = true;
            self.skip_event = true;
        }
    }

    fn end_line(&mut self, on_event: &mut impl FnMut(&[u8])) {
        let skipped = std::mem::take(&mut self.skip_line);
        if !skipped && self.line.is_empty() {
            self.end_event(on_event);
        } else if !skipped && self.line.starts_with(DATA) && !self.skip_event {
            let value = &self.line[DATA.len()..];
            if !self.data.is_empty() {
                self.data.push(b'\n');
            }
            self.data
                .extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
            self.skip_event = self.data.len() > MAX_PIECE;
        }
        self.line.clear();
    }

    fn end_event(&mut self, on_event: &mut impl FnMut(&[u8])) {
        if !std::mem::take(&mut self.skip_event) && !self.data.is_empty() {
            on_event(&self.data);
        }
        self.data.clear();
    }

    /// Bytes held, for the test of the bound.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.line.len() + self.data.len()
    }
}
