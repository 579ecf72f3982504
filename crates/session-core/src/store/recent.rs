//! The newest events of a session that is followed, so that all who follow it share one reading of each.
//!
//! Only a copy: what is not here, or not yet, is in the store. The events in it have no gap, and are committed.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::event::Event;

/// The most events that are kept of one session.
const MAX_EVENTS: usize = 256;
/// The most bytes that are kept of one session, as the events are stored.
const MAX_BYTES: usize = 256 << 10;

/// An event as it was stored, and how long it was there.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) event: Arc<Event>,
    pub(super) bytes: usize,
}

/// The newest events of one session.
#[derive(Debug, Default)]
pub(super) struct Recent {
    events: VecDeque<Stored>,
    bytes: usize,
}

impl Recent {
    /// Adds what was committed; what does not follow on from what is there takes its place.
    pub(super) fn add(&mut self, stored: Stored) {
        let next = self.events.back().map(|last| last.event.seq + 1);
        if next.is_some_and(|next| next != stored.event.seq) {
            *self = Self::default();
        }
        self.bytes += stored.bytes;
        self.events.push_back(stored);
        while self.events.len() > MAX_EVENTS || self.bytes > MAX_BYTES {
            match self.events.pop_front() {
                Some(oldest) => self.bytes -= oldest.bytes,
                None => return,
            }
        }
    }

    /// The events after the number `after`; none when the next one is not here.
    pub(super) fn after(&self, after: u64) -> impl Iterator<Item = &Arc<Event>> {
        let first = self.events.front().map_or(u64::MAX, |first| first.event.seq);
        let seen = after
            .saturating_add(1)
            .checked_sub(first)
            .and_then(|seen| usize::try_from(seen).ok());
        let skipped = seen.unwrap_or(self.events.len());
        self.events.iter().skip(skipped).map(|stored| &stored.event)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::event::EventKind;
    use crate::id::SessionId;

    fn stored(seq: u64, bytes: usize) -> Stored {
        let event = Event {
            session: SessionId::new(),
            seq,
            at: Timestamp::UNIX_EPOCH,
            turn: None,
            kind: EventKind::TurnStarted,
        };
        Stored {
            event: Arc::new(event),
            bytes,
        }
    }

    proptest! {
        #[test]
        fn what_is_given_follows_on_and_what_is_kept_is_bounded(
            steps in proptest::collection::vec((0..3u64, 0..MAX_BYTES * 2), 0..600), after in 0..1500u64
        ) {
            let (mut recent, mut seq) = (Recent::default(), 0);
            for (skipped, bytes) in steps {
                // Mostly the next number, sometimes one that follows a gap.
                seq += 1 + skipped / 2 * 7;
                recent.add(stored(seq, bytes % (MAX_BYTES / 16)));
                prop_assert!(recent.events.len() <= MAX_EVENTS && recent.bytes <= MAX_BYTES);
            }
            let given: Vec<u64> = recent.after(after).map(|event| event.seq).collect();
            prop_assert_eq!(&given, &(after + 1..after + 1 + given.len() as u64).collect::<Vec<_>>());
            prop_assert!(given.is_empty() || given.last() == Some(&seq));
        }
    }

    #[test]
    fn an_event_that_is_too_large_is_not_kept() {
        let mut recent = Recent::default();
        recent.add(stored(1, 10));
        recent.add(stored(2, MAX_BYTES + 1));
        assert_eq!(recent.after(0).count() + recent.after(1).count(), 0);
        recent.add(stored(3, 10));
        assert_eq!(recent.after(2).count(), 1);
        assert_eq!(recent.after(3).count(), 0);
        assert_eq!(recent.after(u64::MAX - 1).count(), 0);
    }
}
