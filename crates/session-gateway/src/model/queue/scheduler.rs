//! Who goes next: sessions take turns, and a session's own requests go in order. Pure: no clock, no lock, no I/O.
//!
//! ```text
//!            ┌────────────── ring ──────────────┐
//!  next ◀──  │ session A │ session C │ session B │  ◀── a session with more requests goes to the end,
//!            │ a1 a2 a3  │ c1        │ b1 b2     │      and so does one that comes back
//!            └───────────┴───────────┴───────────┘
//! ```
//!
//! So between two turns of one session every other session that waited all the time has had one.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use super::rate::Bucket;

/// One request that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket<S> {
    pub(super) session: S,
    pub(super) number: u64,
}

/// The next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next<S> {
    /// This request goes; its place is taken.
    Go(Ticket<S>),
    /// There is a place, and none may go before then.
    NotBefore(Duration),
    /// Nobody waits, or there is no place.
    Nobody,
}

/// The session has as many requests waiting as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// The places at one provider, and who waits for one.
#[derive(Debug)]
pub(super) struct Scheduler<S> {
    places: usize,
    taken: usize,
    max_waiting: usize,
    bucket: Option<Bucket>,
    /// Sessions with a request that waits, the next one first.
    ring: VecDeque<S>,
    waiting: HashMap<S, VecDeque<u64>>,
    last_number: u64,
}

impl<S: Copy + Eq + Hash> Scheduler<S> {
    /// At least one place, or nobody would ever go.
    pub(super) fn new(places: usize, max_waiting: usize, bucket: Option<Bucket>) -> Self {
        Self {
            places: places.max(1),
            taken: 0,
            max_waiting: max_waiting.max(1),
            bucket,
            ring: VecDeque::new(),
            waiting: HashMap::new(),
            last_number: 0,
        }
    }

    /// A request gets in line.
    pub(super) fn ask(&mut self, session: S) -> Result<Ticket<S>, Full> {
        let line = self.waiting.entry(session).or_default();
        if line.len() >= self.max_waiting {
            return Err(Full);
        }
        if line.is_empty() {
            self.ring.push_back(session);
        }
        self.last_number += 1;
        line.push_back(self.last_number);
        Ok(Ticket {
            session,
            number: self.last_number,
        })
    }

    /// A request leaves its line. Nothing happens when it is in none any more.
    pub(super) fn leave(&mut self, ticket: &Ticket<S>) {
        let Some(line) = self.waiting.get_mut(&ticket.session) else {
            return;
        };
        line.retain(|number| *number != ticket.number);
        if line.is_empty() {
            self.waiting.remove(&ticket.session);
            self.ring.retain(|session| *session != ticket.session);
        }
    }

    /// Takes a place for whoever is next.
    pub(super) fn next(&mut self, now: Duration) -> Next<S> {
        if self.taken >= self.places || self.ring.is_empty() {
            return Next::Nobody;
        }
        if let Some(Err(at)) = self.bucket.as_mut().map(|bucket| bucket.take(now)) {
            return Next::NotBefore(at);
        }
        let Some(session) = self.ring.pop_front() else {
            return Next::Nobody;
        };
        let Some(line) = self.waiting.get_mut(&session) else {
            return Next::Nobody;
        };
        let number = line.pop_front().unwrap_or_default();
        if line.is_empty() {
            self.waiting.remove(&session);
        } else {
            self.ring.push_back(session);
        }
        self.taken += 1;
        Next::Go(Ticket { session, number })
    }

    /// A place is free again.
    pub(super) fn release(&mut self) {
        self.taken = self.taken.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Ask(u8),
        /// The n-th of those that wait.
        Leave(usize),
        Release,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        vec(
            prop_oneof![
                4 => (0..6u8).prop_map(Step::Ask),
                1 => (0..40usize).prop_map(Step::Leave),
                3 => Just(Step::Release),
            ],
            0..200,
        )
    }

    /// Runs the steps; `check` sees each turn with the sessions that wait after it.
    struct World {
        scheduler: Scheduler<u8>,
        waiting: Vec<Ticket<u8>>,
        taken: usize,
        places: usize,
    }

    impl World {
        fn new(places: usize) -> Self {
            Self {
                scheduler: Scheduler::new(places, 8, None),
                waiting: Vec::new(),
                taken: 0,
                places,
            }
        }

        /// Returns the tickets that went.
        fn step(&mut self, step: &Step) -> Vec<Ticket<u8>> {
            match step {
                Step::Ask(session) => match self.scheduler.ask(*session) {
                    Ok(ticket) => self.waiting.push(ticket),
                    Err(Full) => assert_eq!(self.count(*session), 8),
                },
                Step::Leave(at) if !self.waiting.is_empty() => {
                    let gone = self.waiting.remove(at % self.waiting.len());
                    self.scheduler.leave(&gone);
                    self.scheduler.leave(&gone);
                }
                Step::Release if self.taken > 0 => {
                    self.scheduler.release();
                    self.taken -= 1;
                }
                Step::Leave(_) | Step::Release => {}
            }
            let mut went = Vec::new();
            while let Next::Go(ticket) = self.scheduler.next(Duration::ZERO) {
                let at = self.waiting.iter().position(|waiting| *waiting == ticket);
                self.waiting.remove(at.expect("only who waits goes"));
                self.taken += 1;
                went.push(ticket);
            }
            went
        }

        fn count(&self, session: u8) -> usize {
            self.waiting
                .iter()
                .filter(|ticket| ticket.session == session)
                .count()
        }
    }

    proptest! {
        #[test]
        fn between_two_turns_of_a_session_every_other_that_waits_has_one(places in 1..4usize, steps in steps()) {
            let mut world = World::new(places);
            // For each session that had a turn: who has waited ever since without one.
            let mut since: HashMap<u8, Vec<u8>> = HashMap::new();
            for step in steps {
                let went = world.step(&step);
                for (at, ticket) in went.iter().enumerate() {
                    let session = ticket.session;
                    let passed_over = since.remove(&session).unwrap_or_default();
                    prop_assert!(passed_over.is_empty(), "{session} went twice before {passed_over:?}");
                    since.values_mut().for_each(|others| others.retain(|other| *other != session));
                    // Who goes later in the same step waits as well.
                    let others = world.waiting.iter().chain(&went[at + 1..]).map(|ticket| ticket.session);
                    since.insert(session, others.filter(|other| *other != session).collect());
                }
                // Who left waits no more.
                for others in since.values_mut() {
                    others.retain(|other| world.count(*other) > 0);
                }
            }
        }

        #[test]
        fn no_place_is_idle_while_somebody_waits_and_none_is_taken_twice(places in 1..4usize, steps in steps()) {
            let mut world = World::new(places);
            for step in steps {
                world.step(&step);
                prop_assert!(world.taken <= world.places);
                prop_assert!(world.taken == world.places || world.waiting.is_empty());
            }
        }

        #[test]
        fn a_session_s_own_requests_go_in_order(places in 1..4usize, steps in steps()) {
            let mut world = World::new(places);
            let mut last: HashMap<u8, u64> = HashMap::new();
            for step in steps {
                for ticket in world.step(&step) {
                    let before = last.insert(ticket.session, ticket.number);
                    prop_assert!(before.is_none_or(|before| before < ticket.number));
                }
            }
        }

        #[test]
        fn nothing_is_kept_of_who_is_gone(steps in steps()) {
            let mut world = World::new(2);
            for step in steps {
                world.step(&step);
            }
            while !world.waiting.is_empty() || world.taken > 0 {
                world.step(&Step::Release);
                world.step(&Step::Leave(0));
            }
            prop_assert!(world.scheduler.ring.is_empty() && world.scheduler.waiting.is_empty());
            prop_assert_eq!(world.scheduler.taken, 0);
        }
    }

    #[test]
    fn a_rate_holds_places_back() {
        let bucket = Bucket::new(1, Duration::from_secs(10));
        let mut scheduler = Scheduler::new(4, 8, Some(bucket));
        let (first, second) = (scheduler.ask(1).unwrap(), scheduler.ask(2).unwrap());
        assert_eq!(scheduler.next(Duration::ZERO), Next::Go(first));
        let at = Duration::from_secs(10);
        assert_eq!(scheduler.next(Duration::from_secs(3)), Next::NotBefore(at));
        assert_eq!(scheduler.next(at), Next::Go(second));
        assert_eq!(scheduler.next(at), Next::Nobody);
    }
}
