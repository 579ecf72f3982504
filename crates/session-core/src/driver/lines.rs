//! Cuts an agent's output into lines and says up to which offset it has been dealt with.
//!
//! Standard output carries the protocol, standard error carries remarks; both share one offset space. After a restart
//! the output is read again from [`Lines::settled`], so that offset never lies behind anything that was already turned
//! into an event: remarks that arrive in the middle of a line wait for the line's end.

use bytes::{Bytes, BytesMut};

use crate::agent::MAX_LINE_BYTES;

/// How many bytes of standard error wait for the end of a line before the oldest go.
const MAX_HELD_STDERR: usize = 64 << 10;

/// One piece of complete output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// A line of standard output without its end.
    Line(Bytes),
    /// A line that was longer than may be parsed; its start.
    LongLine(Bytes),
    /// Remarks.
    Stderr(Bytes),
}

/// The cutter.
#[derive(Debug, Default)]
pub(super) struct Lines {
    partial: BytesMut,
    /// Where the partial line began.
    partial_from: Option<u64>,
    overlong: bool,
    held: BytesMut,
    end: u64,
}

impl Lines {
    /// Starts at an offset that lies at the start of a line.
    pub(super) fn from(offset: u64) -> Self {
        Self {
            end: offset,
            ..Self::default()
        }
    }

    /// Everything before this offset has been handed out.
    pub(super) fn settled(&self) -> u64 {
        self.partial_from.unwrap_or(self.end)
    }

    /// Output was lost up to `to`: the partial line cannot be completed.
    pub(super) fn gap(&mut self, to: u64) -> Vec<Piece> {
        self.partial.clear();
        self.partial_from = None;
        self.overlong = false;
        self.end = to;
        self.release_held()
    }

    /// Takes standard error at `offset`.
    pub(super) fn stderr(&mut self, offset: u64, bytes: Bytes) -> Vec<Piece> {
        self.end = offset + bytes.len() as u64;
        if self.partial_from.is_none() {
            return vec![Piece::Stderr(bytes)];
        }
        self.held.extend_from_slice(&bytes);
        if self.held.len() > MAX_HELD_STDERR {
            let excess = self.held.len() - MAX_HELD_STDERR;
            let _ = self.held.split_to(excess);
        }
        Vec::new()
    }

    /// Takes standard output at `offset`.
    pub(super) fn stdout(&mut self, offset: u64, mut bytes: Bytes) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut at = offset;
        self.end = offset + bytes.len() as u64;
        while let Some(newline) = bytes.iter().position(|byte| *byte == b'\n') {
            let line = bytes.split_to(newline + 1);
            at += line.len() as u64;
            pieces.push(self.complete(line.slice(..newline)));
            pieces.append(&mut self.release_held());
        }
        if !bytes.is_empty() {
            self.partial_from.get_or_insert(at);
            let room = MAX_LINE_BYTES.saturating_sub(self.partial.len());
            self.overlong |= bytes.len() > room;
            self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        pieces
    }

    /// The agent ended: what is left is all there will be.
    pub(super) fn finish(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        if self.partial_from.is_some() {
            pieces.push(self.complete(Bytes::new()));
        }
        pieces.append(&mut self.release_held());
        pieces
    }

    fn complete(&mut self, end: Bytes) -> Piece {
        self.partial_from = None;
        let overlong = std::mem::take(&mut self.overlong) || self.partial.len() + end.len() > MAX_LINE_BYTES;
        if self.partial.is_empty() {
            return if overlong {
                Piece::LongLine(end)
            } else {
                Piece::Line(end)
            };
        }
        let room = MAX_LINE_BYTES.saturating_sub(self.partial.len());
        self.partial.extend_from_slice(&end[..end.len().min(room)]);
        let line = std::mem::take(&mut self.partial).freeze();
        if overlong {
            Piece::LongLine(line)
        } else {
            Piece::Line(line)
        }
    }

    fn release_held(&mut self) -> Vec<Piece> {
        if self.held.is_empty() {
            Vec::new()
        } else {
            vec![Piece::Stderr(std::mem::take(&mut self.held).freeze())]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stdout_of(pieces: &[Piece]) -> Vec<Bytes> {
        pieces
            .iter()
            .filter_map(|piece| match piece {
                Piece::Line(line) => Some(line.clone()),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn remarks_in_the_middle_of_a_line_wait_for_its_end() {
        let mut lines = Lines::from(0);
        assert_eq!(lines.stdout(0, Bytes::from_static(b"ab")), vec![]);
        assert_eq!(lines.stderr(2, Bytes::from_static(b"oh")), vec![]);
        assert_eq!(lines.settled(), 0);
        let pieces = lines.stdout(4, Bytes::from_static(b"c\nd"));
        assert_eq!(
            pieces,
            vec![
                Piece::Line(Bytes::from_static(b"abc")),
                Piece::Stderr(Bytes::from_static(b"oh"))
            ]
        );
        assert_eq!(lines.settled(), 6);
    }

    #[test]
    fn a_line_past_the_bound_is_cut_and_the_next_is_whole() {
        let mut lines = Lines::from(0);
        let long = Bytes::from(vec![b'x'; MAX_LINE_BYTES + 10]);
        assert_eq!(lines.stdout(0, long.clone()), vec![]);
        let pieces = lines.stdout(long.len() as u64, Bytes::from_static(b"y\nok\n"));
        assert!(matches!(&pieces[0], Piece::LongLine(line) if line.len() == MAX_LINE_BYTES));
        assert_eq!(pieces[1], Piece::Line(Bytes::from_static(b"ok")));
    }

    proptest! {
        /// Whatever the chunks, and wherever a reader restarts from a settled offset, every line comes exactly once.
        #[test]
        fn lines_come_once_across_any_chunks_and_a_restart(
            texts in prop::collection::vec("[a-z]{0,9}", 1..20),
            cuts in prop::collection::vec(1_usize..12, 1..40),
            restart in 0_usize..40,
        ) {
            let all = Bytes::from(texts.iter().map(|text| format!("{text}\n")).collect::<String>());
            let mut lines = Lines::from(0);
            let (mut got, mut at) = (Vec::new(), 0_usize);
            for (index, cut) in cuts.iter().chain(std::iter::repeat(&usize::MAX)).enumerate() {
                if at == all.len() { break; }
                if index == restart {
                    at = usize::try_from(lines.settled()).unwrap();
                    lines = Lines::from(at as u64);
                }
                let end = at.saturating_add(*cut).min(all.len());
                got.extend(stdout_of(&lines.stdout(at as u64, all.slice(at..end))));
                at = end;
            }
            prop_assert_eq!(got, texts.iter().map(|text| Bytes::from(text.clone())).collect::<Vec<_>>());
            prop_assert_eq!(lines.settled(), all.len() as u64);
        }
    }
}
