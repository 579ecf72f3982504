//! The terminals that this process shows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::{CancellationToken, DropGuard};

use super::hub::Hub;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{SessionId, TerminalId};
use crate::terminal::MAX_TERMINALS;

/// See the module.
#[derive(Debug)]
pub(in crate::manager) struct Terminals {
    known: Mutex<HashMap<(SessionId, TerminalId), Known>>,
    stop: CancellationToken,
    /// A manager that goes without a word takes its tasks with it.
    _guard: DropGuard,
}

#[derive(Debug)]
struct Known {
    hub: Arc<Hub>,
    /// Its program was started.
    open: bool,
}

impl Terminals {
    /// Their tasks end with `stop`.
    pub(in crate::manager) fn new(stop: &CancellationToken) -> Self {
        let stop = stop.child_token();
        Self {
            known: Mutex::default(),
            _guard: stop.clone().drop_guard(),
            stop,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(SessionId, TerminalId), Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Takes a place for a terminal that is being opened; dropped without [`Opening::done`], it is free again.
    pub(super) fn open(self: &Terminals, hub: Arc<Hub>) -> Result<Opening<'_>> {
        let mut known = self.lock();
        if known.contains_key(&(hub.session, hub.id)) {
            let message = "the terminal is being opened, or has just ended";
            return Err(Error::new(ErrorKind::Busy, "open a terminal", message)
                .with_context("session", hub.session)
                .with_context("terminal", hub.id)
                .with_hint("ask again in a moment"));
        }
        let taken = known
            .values()
            .filter(|other| other.hub.session == hub.session && !other.hub.is_over())
            .count();
        if taken >= MAX_TERMINALS {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                "open a terminal",
                "the session has too many terminals",
            )
            .with_context("session", hub.session)
            .with_context("limit", MAX_TERMINALS)
            .with_hint("close one first"));
        }
        known.insert(
            (hub.session, hub.id),
            Known {
                hub: hub.clone(),
                open: false,
            },
        );
        Ok(Opening {
            terminals: self,
            hub: Some(hub),
        })
    }

    /// Adds a terminal that was found; `false` when it is known.
    pub(super) fn adopt(&self, hub: &Arc<Hub>) -> bool {
        let mut known = self.lock();
        let key = (hub.session, hub.id);
        let new = !known.contains_key(&key);
        if new {
            let hub = hub.clone();
            known.insert(key, Known { hub, open: true });
        }
        new
    }

    pub(super) fn knows(&self, session: SessionId, id: TerminalId) -> bool {
        self.lock().contains_key(&(session, id))
    }

    /// One that runs. What its task has still to put away is as little there as in [`Terminals::of`].
    pub(super) fn get(&self, session: SessionId, id: TerminalId) -> Option<Arc<Hub>> {
        let known = self.lock();
        let known = known.get(&(session, id))?;
        (known.open && !known.hub.is_over()).then(|| known.hub.clone())
    }

    /// Those of a session that run, oldest first.
    pub(super) fn of(&self, session: SessionId) -> Vec<Arc<Hub>> {
        let mut hubs: Vec<_> = self
            .lock()
            .values()
            .filter(|known| known.open && known.hub.session == session && !known.hub.is_over())
            .map(|known| known.hub.clone())
            .collect();
        hubs.sort_by_key(|hub| (hub.opened_at, hub.id));
        hubs
    }

    pub(super) fn remove(&self, hub: &Arc<Hub>) {
        self.lock().remove(&(hub.session, hub.id));
    }
}

/// A terminal that is being opened.
pub(super) struct Opening<'a> {
    terminals: &'a Terminals,
    hub: Option<Arc<Hub>>,
}

impl Opening<'_> {
    /// It runs.
    pub(super) fn done(mut self) {
        if let Some(hub) = self.hub.take()
            && let Some(known) = self.terminals.lock().get_mut(&(hub.session, hub.id))
        {
            known.open = true;
        }
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if let Some(hub) = self.hub.take() {
            self.terminals.remove(&hub);
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::screen::Screen;
    use super::*;
    use crate::terminal::{TerminalProgram, TerminalSize};

    #[test]
    fn one_that_is_over_is_not_there_although_it_is_still_put_away() {
        let terminals = Terminals::new(&CancellationToken::new());
        let (session, id) = (SessionId::new(), TerminalId::new());
        let screen = Screen::new(TerminalSize::default(), 0);
        let hub = Hub::new(session, id, TerminalProgram::Shell, Timestamp::now(), screen);
        terminals.open(hub.clone()).unwrap().done();
        assert!(terminals.get(session, id).is_some());
        hub.lose(&Error::new(ErrorKind::ContainerLost, "look", "it is gone"));
        assert!(terminals.get(session, id).is_none() && terminals.of(session).is_empty());
        assert!(terminals.knows(session, id), "nobody adopts it anew");
    }
}
