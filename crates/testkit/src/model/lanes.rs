//! Which script answers which session, when several sessions share a server.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::script::Taken;
use super::{ApiRequest, Script};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Selector {
    /// Requests with this credential.
    Key(String),
    /// Conversations whose first message of the user contains this text.
    Prompt(String),
    /// All others.
    Default,
}

impl Selector {
    fn matches(&self, request: &ApiRequest, first_text: &str) -> bool {
        match self {
            Self::Key(key) => request.credential() == Some(key),
            Self::Prompt(marker) => first_text.contains(marker),
            Self::Default => true,
        }
    }
}

#[derive(Debug)]
struct Lane {
    selector: Selector,
    script: Script,
    taken: u64,
}

/// All scripts of a server. The default one is always the last.
#[derive(Debug)]
pub(super) struct Lanes(Mutex<Vec<Lane>>);

impl Lanes {
    pub(super) fn new(default: Script) -> Self {
        Self(Mutex::new(vec![Lane {
            selector: Selector::Default,
            script: default,
            taken: 0,
        }]))
    }

    /// Adds a script, or replaces the one with the same selector; its answers go on being numbered.
    pub(super) fn set(&self, selector: Selector, script: Script) {
        let mut lanes = self.lock();
        match lanes.iter_mut().find(|lane| lane.selector == selector) {
            Some(lane) => lane.script = script,
            None => lanes.insert(
                0,
                Lane {
                    selector,
                    script,
                    taken: 0,
                },
            ),
        }
    }

    /// Takes the next step for a request, with its number in its script, from 1.
    pub(super) fn take(&self, request: &ApiRequest) -> (Taken, u64) {
        let first_text = request.first_user_text();
        let mut lanes = self.lock();
        let index = lanes
            .iter()
            .position(|lane| lane.selector.matches(request, &first_text))
            .unwrap_or(0);
        let lane = &mut lanes[index];
        lane.taken += 1;
        (lane.script.take(), lane.taken)
    }

    pub(super) fn remaining(&self) -> u64 {
        self.lock().iter().map(|lane| lane.script.remaining()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Lane>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
