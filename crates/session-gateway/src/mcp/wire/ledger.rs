//! What is open between us and one server, and how much of what fits to nothing is borne.

use std::collections::{HashSet, VecDeque};

use rmcp::model::{NumberOrString, RequestId};

/// Requests of the server that are under way at once. More are refused.
const MAX_THEIRS: usize = 64;
/// Ids of requests that were taken back and may still be answered.
const MAX_TAKEN_BACK: usize = 256;
/// How much junk a server may say: a banner, not a flood. What it says properly earns it back.
const CREDIT: u32 = 1000;
const EARNED: u32 = 4;

/// What to do with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Somebody waits for it.
    Asked,
    /// It was asked for and taken back: nobody's fault.
    Late,
    /// Nobody asked, or it was answered before.
    Stray,
}

/// What to do with a request of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Granted,
    /// One with this id is under way.
    Duplicate,
    TooMany,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    ours: HashSet<RequestId>,
    taken_back: VecDeque<RequestId>,
    theirs: HashSet<RequestId>,
}

impl Ledger {
    /// We ask.
    pub(super) fn ask(&mut self, id: RequestId) {
        self.ours.insert(id);
    }

    /// We do not want the answer any more.
    pub(super) fn take_back(&mut self, id: &RequestId) {
        if let Some(id) = self.find(id) {
            self.ours.remove(&id);
            self.late(id);
        }
    }

    /// We want none of the answers any more.
    pub(super) fn take_all_back(&mut self) {
        let ours: Vec<_> = self.ours.drain().collect();
        ours.into_iter().for_each(|id| self.late(id));
    }

    fn late(&mut self, id: RequestId) {
        self.taken_back.push_back(id);
        if self.taken_back.len() > MAX_TAKEN_BACK {
            self.taken_back.pop_front();
        }
    }

    /// The server answers.
    pub(super) fn answer(&mut self, id: &RequestId) -> Answer {
        if let Some(id) = self.find(id) {
            self.ours.remove(&id);
            return Answer::Asked;
        }
        match self.taken_back.iter().position(|late| is_same(late, id)) {
            Some(at) => {
                self.taken_back.remove(at);
                Answer::Late
            }
            None => Answer::Stray,
        }
    }

    /// Our own id: some servers give numbers back as text.
    fn find(&self, id: &RequestId) -> Option<RequestId> {
        if self.ours.contains(id) {
            return Some(id.clone());
        }
        number(id).filter(|id| self.ours.contains(id))
    }

    /// The server asks.
    pub(super) fn admit(&mut self, id: &RequestId) -> Admission {
        if self.theirs.contains(id) {
            return Admission::Duplicate;
        }
        if self.theirs.len() >= MAX_THEIRS {
            return Admission::TooMany;
        }
        self.theirs.insert(id.clone());
        Admission::Granted
    }

    /// The server has its answer, or does not want it any more.
    pub(super) fn close(&mut self, id: &RequestId) {
        self.theirs.remove(id);
    }
}

fn number(id: &RequestId) -> Option<RequestId> {
    match id {
        NumberOrString::String(text) => text.parse().ok().map(NumberOrString::Number),
        NumberOrString::Number(_) => None,
    }
}

fn is_same(ours: &RequestId, theirs: &RequestId) -> bool {
    ours == theirs || number(theirs).as_ref() == Some(ours)
}

/// How much junk is still borne.
#[derive(Debug)]
pub(crate) struct Patience(u32);

/// There is none left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

impl Patience {
    pub(crate) fn new() -> Self {
        Self(CREDIT)
    }

    /// Something proper was said.
    pub(crate) fn restore(&mut self) {
        self.0 = (self.0 + EARNED).min(CREDIT);
    }

    /// Junk of so many bytes.
    pub(crate) fn strain(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let cost = u32::try_from(1 + bytes / (256 << 10)).unwrap_or(u32::MAX);
        self.0 = self.0.checked_sub(cost).ok_or(Exhausted)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_answer_is_taken_once() {
        let mut ledger = Ledger::default();
        ledger.ask(NumberOrString::Number(1));
        ledger.ask(NumberOrString::Number(2));
        assert_eq!(ledger.answer(&NumberOrString::String("1".into())), Answer::Asked);
        assert_eq!(ledger.answer(&NumberOrString::Number(1)), Answer::Stray);
        ledger.take_back(&NumberOrString::Number(2));
        assert_eq!(ledger.answer(&NumberOrString::Number(2)), Answer::Late);
        assert_eq!(ledger.answer(&NumberOrString::Number(2)), Answer::Stray);
        assert_eq!(ledger.answer(&NumberOrString::String("x".into())), Answer::Stray);
    }

    #[test]
    fn a_banner_is_borne_and_a_flood_is_not() {
        let mut patience = Patience::new();
        for _ in 0..CREDIT {
            patience.strain(80).unwrap();
        }
        assert_eq!(patience.strain(80), Err(Exhausted));
        let mut patience = Patience::new();
        assert_eq!(patience.strain(usize::MAX), Err(Exhausted));
        let mut patience = Patience::new();
        for _ in 0..100_000 {
            patience.restore();
            patience.strain(100).unwrap();
        }
    }

    proptest! {
        /// Whatever a server says, what is kept of it is bounded.
        #[test]
        fn nothing_grows(steps in prop::collection::vec((0_u8..5, 0_i64..2000), 0..3000)) {
            let mut ledger = Ledger::default();
            let mut open = 0_usize;
            for (step, id) in steps {
                let id = NumberOrString::Number(id);
                match step {
                    0 => {
                        open += usize::from(!ledger.ours.contains(&id));
                        ledger.ask(id);
                    }
                    1 => ledger.take_back(&id),
                    2 => drop(ledger.answer(&id)),
                    3 => drop(ledger.admit(&id)),
                    _ => ledger.close(&id),
                }
                prop_assert!(ledger.ours.len() <= open);
                prop_assert!(ledger.theirs.len() <= MAX_THEIRS && ledger.taken_back.len() <= MAX_TAKEN_BACK);
            }
        }
    }
}
