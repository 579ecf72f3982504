//! Requests that wait for the agent to come back with what a server asked for.
//!
//! The `requestState` that the agent brings is a random key of this table and nothing else: it says nothing, cannot be
//! guessed, and opens nothing in another session, whose table is another. A key is used once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rmcp::model::{ErrorData, InputRequiredResult, InputResponses};
use tokio::time::Instant;

use super::asks::{self, Ask};
use super::flight::{Flight, Subject};

/// Requests of one session that wait for its agent.
const MAX_HELD: usize = 32;
/// Questions that wait at once for one request.
const MAX_OPEN: usize = 32;

/// The longest name of a question that a server may give, in bytes.
const MAX_KEY: usize = 128;

/// A request and the questions that are open, by the keys under which the agent knows them.
#[derive(Debug)]
pub(super) struct Waiting {
    flight: Flight,
    open: BTreeMap<String, Ask>,
    asked: u32,
}

impl Waiting {
    pub(super) fn new(flight: Flight) -> Self {
        Self {
            flight,
            open: BTreeMap::new(),
            asked: 0,
        }
    }

    /// Takes a question in. One too many is answered here.
    pub(super) fn add(&mut self, ask: Ask) {
        if self.open.len() >= MAX_OPEN {
            let refused = ErrorData::internal_error("too many questions wait for the client", None);
            let _ = ask.answer.send(Err(refused));
            return;
        }
        self.asked += 1;
        let own = ask.key.clone();
        let own = own.filter(|key| key.len() <= MAX_KEY && !self.open.contains_key(key));
        let key = own.unwrap_or_else(|| format!("ask-{}", self.asked));
        self.open.insert(key, ask);
    }

    pub(super) fn flight(&mut self) -> &mut Flight {
        &mut self.flight
    }

    /// Whether nothing is open.
    pub(super) fn is_answered(&self) -> bool {
        self.open.is_empty()
    }

    /// Gives answers to those who asked. What was not asked is ignored, and what is left out stays open.
    ///
    /// # Errors
    /// The key of an answer of the wrong shape; nothing was given to anybody then.
    fn answer(&mut self, responses: &InputResponses) -> Result<(), String> {
        let mut answers = Vec::new();
        for (key, response) in responses {
            let Some(ask) = self.open.get(key) else { continue };
            let answer = asks::read_answer(&ask.request, response).ok_or_else(|| key.clone())?;
            answers.push((key.clone(), answer));
        }
        for (key, answer) in answers {
            if let Some(ask) = self.open.remove(&key) {
                // The server may have given up meanwhile; then the end of the request says so.
                let _ = ask.answer.send(Ok(answer));
            }
        }
        Ok(())
    }

    /// What the agent is asked. Questions whose server does not wait any more are left out.
    fn wanted(&mut self, state: String) -> InputRequiredResult {
        self.open.retain(|_, ask| !ask.answer.is_closed());
        let asked = self.open.iter();
        let inputs = asked
            .filter_map(|(key, ask)| Some((key.clone(), asks::to_input(&ask.request)?)))
            .collect();
        InputRequiredResult::new(Some(inputs), Some(state))
    }
}

/// Why an agent that comes back finds nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// There is no such request, or not any more.
    Unknown,
    /// It waits on, but this answer has the wrong shape.
    Misshapen(String),
}

/// See the module.
#[derive(Debug)]
pub(super) struct HeldCalls {
    patience: Duration,
    waiting: Mutex<HashMap<String, (Waiting, Instant)>>,
}

impl HeldCalls {
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            patience,
            waiting: Mutex::default(),
        }
    }

    /// Holds a request until the agent comes back, and says what it is to be told. Nothing when too many wait already:
    /// the request is taken back then.
    pub(super) fn hold(&self, mut waiting: Waiting) -> Option<InputRequiredResult> {
        let state = key();
        let wanted = waiting.wanted(state.clone());
        let mut table = self.table();
        if table.len() >= MAX_HELD {
            return None;
        }
        table.insert(state, (waiting, Instant::now() + self.patience));
        Some(wanted)
    }

    /// The request to which an agent comes back with answers.
    pub(super) fn resume(
        &self,
        state: &str,
        subject: &Subject,
        responses: Option<&InputResponses>,
    ) -> Result<Waiting, Lost> {
        let mut table = self.table();
        let ours = table
            .get_mut(state)
            .filter(|(waiting, until)| waiting.flight.subject == *subject && Instant::now() < *until);
        let (waiting, _) = ours.ok_or(Lost::Unknown)?;
        if let Some(responses) = responses {
            waiting.answer(responses).map_err(Lost::Misshapen)?;
        }
        let (waiting, _) = table.remove(state).ok_or(Lost::Unknown)?;
        Ok(waiting)
    }

    /// Takes back what waited too long. Says whether anything waits on.
    pub(super) fn sweep(&self) -> bool {
        let now = Instant::now();
        let mut table = self.table();
        table.retain(|_, (_, until)| now < *until);
        !table.is_empty()
    }

    /// Takes back all that waits.
    pub(super) fn clear(&self) {
        self.table().clear();
    }

    /// How often [`Self::sweep`] is due.
    pub(super) fn pace(&self) -> Duration {
        (self.patience / 8).max(Duration::from_millis(50))
    }

    fn table(&self) -> MutexGuard<'_, HashMap<String, (Waiting, Instant)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 128 random bits.
fn key() -> String {
    format!("{:032x}", rand::random::<u128>())
}
