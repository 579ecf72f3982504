//! What a terminal shows, and who looks: pure.
//!
//! The bytes that were written last are kept once, whoever looks, and every viewer has a place among them. One who falls
//! so far behind that his place is gone is told so and begins where the bytes begin now; nobody waits for him.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::command::CommandExit;
use crate::error::ErrorKind;
use crate::terminal::{MAX_VIEWERS, REPLAY_BYTES, TerminalSize};

/// The most that a viewer is given at once.
const PIECE: usize = 32 << 10;

/// Why nothing follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Over {
    /// The program ended.
    Exited(CommandExit),
    /// The terminal went away with its session, or in a way that nobody saw.
    Lost {
        kind: ErrorKind,
        message: String,
        hint: Option<String>,
    },
}

/// What a viewer finds at his place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sight {
    Output(Bytes),
    Skipped,
    Resized(TerminalSize),
    Over(Over),
}

/// A viewer's place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    at: u64,
    resized: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Screen {
    kept: VecDeque<u8>,
    /// How many bytes were written in all.
    end: u64,
    size: TerminalSize,
    /// How often it got another size.
    resized: u64,
    viewers: BTreeMap<u64, TerminalSize>,
    next_viewer: u64,
    over: Option<Over>,
}

impl Screen {
    /// A screen of which the first `end` bytes are not known.
    pub(super) fn new(size: TerminalSize, end: u64) -> Self {
        Self {
            kept: VecDeque::new(),
            end,
            size,
            resized: 0,
            viewers: BTreeMap::new(),
            next_viewer: 0,
            over: None,
        }
    }

    /// The offset of the first byte that is kept.
    pub(super) fn start(&self) -> u64 {
        self.end - self.kept.len() as u64
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn size(&self) -> TerminalSize {
        self.size
    }

    pub(super) fn viewers(&self) -> usize {
        self.viewers.len()
    }

    pub(super) fn over(&self) -> Option<&Over> {
        self.over.as_ref()
    }

    /// The program wrote.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.end += bytes.len() as u64;
        let last = &bytes[bytes.len().saturating_sub(REPLAY_BYTES)..];
        let excess = (self.kept.len() + last.len()).saturating_sub(REPLAY_BYTES);
        // Before, so that the memory never grows beyond the bound.
        self.kept.drain(..excess);
        self.kept.extend(last);
    }

    /// What was written up to `to` will never be known.
    pub(super) fn lose(&mut self, to: u64) {
        self.kept.clear();
        self.end = self.end.max(to);
    }

    /// The terminal has another size.
    pub(super) fn resize(&mut self, size: TerminalSize) {
        if self.size != size {
            self.size = size;
            self.resized += 1;
        }
    }

    /// Nothing follows; the first reason counts.
    pub(super) fn end_for(&mut self, over: Over) {
        self.over.get_or_insert(over);
    }

    /// A new viewer, and the place of the replay; none when there are too many.
    pub(super) fn sit(&mut self, size: TerminalSize) -> Option<(u64, Place)> {
        if self.viewers.len() >= MAX_VIEWERS {
            return None;
        }
        let number = self.next_viewer;
        self.next_viewer += 1;
        self.viewers.insert(number, size);
        let place = Place {
            at: self.start(),
            resized: self.resized,
        };
        Some((number, place))
    }

    /// A viewer can show so much from now on.
    pub(super) fn fit(&mut self, viewer: u64, size: TerminalSize) {
        if let Some(known) = self.viewers.get_mut(&viewer) {
            *known = size;
        }
    }

    pub(super) fn leave(&mut self, viewer: u64) {
        self.viewers.remove(&viewer);
    }

    /// What the smallest of all viewers can show; what it is when nobody looks.
    pub(super) fn wanted(&self) -> TerminalSize {
        let rows = self.viewers.values().map(|size| size.rows).min();
        let columns = self.viewers.values().map(|size| size.columns).min();
        TerminalSize {
            rows: rows.unwrap_or(self.size.rows),
            columns: columns.unwrap_or(self.size.columns),
        }
    }

    /// What comes next at a place, which moves on; `None` when there is nothing yet.
    pub(super) fn look(&self, place: &mut Place) -> Option<Sight> {
        if place.at < self.start() {
            place.at = self.start();
            return Some(Sight::Skipped);
        }
        if place.resized != self.resized {
            place.resized = self.resized;
            return Some(Sight::Resized(self.size));
        }
        if place.at < self.end {
            let bytes = self.piece(place.at);
            place.at += bytes.len() as u64;
            return Some(Sight::Output(bytes));
        }
        self.over.clone().map(Sight::Over)
    }

    fn piece(&self, at: u64) -> Bytes {
        let skipped = usize::try_from(at - self.start()).unwrap_or(usize::MAX);
        let (older, newer) = self.kept.as_slices();
        let part = match older.get(skipped..) {
            Some(part) if !part.is_empty() => part,
            _ => &newer[skipped - older.len()..],
        };
        Bytes::copy_from_slice(&part[..part.len().min(PIECE)])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn size(rows: u16, columns: u16) -> TerminalSize {
        TerminalSize { rows, columns }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Write(usize),
        Lose(u64),
        Look(usize),
        Come,
        Leave(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..REPLAY_BYTES * 2).prop_map(Step::Write),
            1 => (0..1000_u64).prop_map(Step::Lose),
            6 => (0..4_usize).prop_map(Step::Look),
            1 => Just(Step::Come),
            1 => (0..4_usize).prop_map(Step::Leave),
        ]
    }

    /// What the program writes at an offset.
    fn byte(offset: u64) -> u8 {
        (offset % 251) as u8
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_viewer_sees_what_was_written_in_order_or_is_told(steps in prop::collection::vec(step(), 0..60)) {
            let mut screen = Screen::new(TerminalSize::default(), 7);
            let mut viewers = Vec::new();
            for step in steps {
                match step {
                    Step::Write(length) => {
                        let from = screen.end();
                        let bytes: Vec<u8> = (from..from + length as u64).map(byte).collect();
                        screen.write(&bytes);
                    }
                    Step::Lose(length) => screen.lose(screen.end() + length),
                    Step::Come => {
                        if let Some((number, place)) = screen.sit(TerminalSize::default()) {
                            viewers.push((number, place));
                        }
                    }
                    Step::Leave(index) if index < viewers.len() => screen.leave(viewers.remove(index).0),
                    Step::Look(index) if index < viewers.len() => {
                        let (_, place) = &mut viewers[index];
                        let at = place.at;
                        match screen.look(place) {
                            Some(Sight::Output(bytes)) => {
                                prop_assert!(!bytes.is_empty() && bytes.len() <= PIECE);
                                prop_assert!((at..).zip(&bytes).all(|(offset, seen)| *seen == byte(offset)));
                            }
                            Some(Sight::Skipped) => {
                                prop_assert!(at < place.at && place.at == screen.start());
                            }
                            None => prop_assert_eq!(place.at, screen.end()),
                            other => prop_assert!(false, "{:?}", other),
                        }
                    }
                    Step::Look(_) | Step::Leave(_) => {}
                }
                prop_assert!(screen.kept.len() <= REPLAY_BYTES);
                prop_assert!(screen.kept.capacity() <= 2 * REPLAY_BYTES);
            }
        }

        #[test]
        fn the_smallest_decides(sizes in prop::collection::vec((1..=1000_u16, 1..=1000_u16), 1..MAX_VIEWERS)) {
            let mut screen = Screen::new(size(24, 80), 0);
            for (rows, columns) in &sizes {
                prop_assert!(screen.sit(size(*rows, *columns)).is_some());
            }
            let least = |of: fn(&(u16, u16)) -> u16| sizes.iter().map(of).min().unwrap_or_default();
            prop_assert_eq!(screen.wanted(), size(least(|size| size.0), least(|size| size.1)));
        }
    }

    #[test]
    fn the_size_stays_when_nobody_looks() {
        let mut screen = Screen::new(size(24, 80), 0);
        let (viewer, mut place) = screen.sit(size(10, 20)).unwrap();
        assert_eq!(screen.wanted(), size(10, 20));
        screen.resize(screen.wanted());
        assert_eq!(screen.look(&mut place), Some(Sight::Resized(size(10, 20))));
        assert_eq!(screen.look(&mut place), None);
        screen.leave(viewer);
        assert_eq!(screen.wanted(), size(10, 20));
    }

    #[test]
    fn the_end_comes_after_the_last_byte_and_the_first_reason_counts() {
        let mut screen = Screen::new(TerminalSize::default(), 0);
        let (_, mut place) = screen.sit(TerminalSize::default()).unwrap();
        let lost = |message: &str| Over::Lost {
            kind: ErrorKind::ContainerLost,
            message: message.to_owned(),
            hint: None,
        };
        screen.write(b"last");
        screen.end_for(lost("first"));
        screen.end_for(lost("second"));
        assert_eq!(
            screen.look(&mut place),
            Some(Sight::Output(Bytes::from_static(b"last")))
        );
        assert_eq!(screen.look(&mut place), Some(Sight::Over(lost("first"))));
    }

    #[test]
    fn there_is_a_most_of_viewers() {
        let mut screen = Screen::new(TerminalSize::default(), 0);
        for _ in 0..MAX_VIEWERS {
            assert!(screen.sit(TerminalSize::default()).is_some());
        }
        assert!(screen.sit(TerminalSize::default()).is_none());
        screen.leave(3);
        assert!(screen.sit(TerminalSize::default()).is_some());
    }
}
