//! What a server tells of itself, on its way to the sessions that use it.
//!
//! A shared server talks to all of its sessions at once, so each piece goes to those alone whom it concerns: a change of a
//! resource to who subscribed to it, a line of log to the session whose calls alone are under way, or to nobody.

#![expect(deprecated, reason = "servers of older revisions log")]

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rmcp::model::{LoggingLevel, LoggingMessageNotificationParam};
use session_core::id::SessionId;
use tokio::sync::{Notify, broadcast};

use super::clean::{Text, clean_cut, clean_value};
use super::result::size;

/// Changes that a session may be behind. One that is further behind looks at everything anew.
const BEHIND: usize = 64;
/// Resources that one session may subscribe to at one server.
const SUBSCRIPTIONS: usize = 256;
/// The longest address of a resource.
pub(crate) const MAX_URI: usize = 2048;
/// The longest line of log.
const MAX_LOG: usize = 16 << 10;

/// What changed at a server.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// Its tools, or which of them are held.
    ToolsChanged,
    /// Its prompts.
    PromptsChanged,
    /// Its resources or their templates.
    ResourcesChanged,
    /// A resource to which the session subscribed.
    ResourceUpdated(String),
    /// It logs something.
    Log(Arc<LoggingMessageNotificationParam>),
}

/// Lists of a server, as bits.
pub(crate) struct Lists;

impl Lists {
    pub(crate) const TOOLS: u8 = 1;
    pub(crate) const PROMPTS: u8 = 2;
    pub(crate) const RESOURCES: u8 = 4;
}

/// See the module.
#[derive(Default)]
pub(crate) struct Hub {
    sessions: Mutex<HashMap<SessionId, Attached>>,
    changed: AtomicU8,
    /// Rung when a list changed.
    pub(crate) stale: Notify,
}

struct Attached {
    changes: broadcast::Sender<Change>,
    subscriptions: BTreeSet<String>,
    level: Option<LoggingLevel>,
}

impl Hub {
    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionId, Attached>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn attach(&self, session: SessionId) {
        self.sessions().entry(session).or_insert_with(|| Attached {
            changes: broadcast::channel(BEHIND).0,
            subscriptions: BTreeSet::new(),
            level: None,
        });
    }

    pub(crate) fn detach(&self, session: &SessionId) {
        self.sessions().remove(session);
    }

    pub(crate) fn changes(&self, session: &SessionId) -> broadcast::Receiver<Change> {
        match self.sessions().get(session) {
            Some(attached) => attached.changes.subscribe(),
            // The session is dismissed: nothing more comes.
            None => broadcast::channel(1).1,
        }
    }

    /// Tells all sessions.
    pub(crate) fn tell(&self, change: &Change) {
        for attached in self.sessions().values() {
            // Nobody listens: who comes looks at everything anyway.
            drop(attached.changes.send(change.clone()));
        }
    }

    pub(crate) fn lists_changed(&self, lists: u8) {
        self.changed.fetch_or(lists, Ordering::SeqCst);
        self.stale.notify_one();
    }

    pub(crate) fn has_changed(&self) -> bool {
        self.changed.load(Ordering::SeqCst) != 0
    }

    /// Which lists changed since this was asked last.
    pub(crate) fn take_changed(&self) -> u8 {
        self.changed.swap(0, Ordering::SeqCst)
    }

    pub(crate) fn updated(&self, uri: &str) {
        for attached in self.sessions().values() {
            if attached.subscriptions.contains(uri) {
                drop(attached.changes.send(Change::ResourceUpdated(uri.to_owned())));
            }
        }
    }

    pub(crate) fn log(&self, message: &LoggingMessageNotificationParam, only: Option<SessionId>) {
        let sessions = self.sessions();
        let of = match only {
            Some(session) => sessions.get(&session),
            None if sessions.len() == 1 => sessions.values().next(),
            None => None,
        };
        let Some(attached) = of else { return };
        if attached.changes.receiver_count() == 0 || size(&message.data) > MAX_LOG {
            return;
        }
        let mut message = message.clone();
        message.meta = None;
        clean_value(&mut message.data, Text::Result);
        message.logger = message.logger.map(|name| clean_cut(&name, Text::Line, 200));
        drop(attached.changes.send(Change::Log(Arc::new(message))));
    }

    /// Keeps that a session subscribed, for when the server is started again; it is forgotten with what is returned, unless
    /// that [holds](Subscribed::hold). `None` when it has too many, or the address is longer than one can be.
    pub(crate) fn subscribe(self: &Arc<Self>, session: &SessionId, uri: &str) -> Option<Subscribed> {
        if uri.len() > MAX_URI {
            return None;
        }
        let mut sessions = self.sessions();
        let attached = sessions.get_mut(session)?;
        let is_new = !attached.subscriptions.contains(uri);
        if is_new && attached.subscriptions.len() >= SUBSCRIPTIONS {
            return None;
        }
        attached.subscriptions.insert(uri.to_owned());
        let undone = is_new.then(|| (Arc::clone(self), *session, uri.to_owned()));
        Some(Subscribed { undone })
    }

    /// Forgets a subscription. Whether nobody else has it, so that the server can forget it too.
    pub(crate) fn unsubscribe(&self, session: &SessionId, uri: &str) -> bool {
        let mut sessions = self.sessions();
        if let Some(attached) = sessions.get_mut(session) {
            attached.subscriptions.remove(uri);
        }
        !sessions
            .values()
            .any(|attached| attached.subscriptions.contains(uri))
    }

    /// Whether somebody subscribed to anything.
    pub(crate) fn is_listened_to(&self) -> bool {
        self.sessions()
            .values()
            .any(|attached| !attached.subscriptions.is_empty())
    }

    /// Everything that somebody subscribed to.
    pub(crate) fn subscriptions(&self) -> BTreeSet<String> {
        let sessions = self.sessions();
        sessions
            .values()
            .flat_map(|attached| attached.subscriptions.iter().cloned())
            .collect()
    }

    pub(crate) fn set_level(&self, session: &SessionId, level: LoggingLevel) {
        if let Some(attached) = self.sessions().get_mut(session) {
            attached.level = Some(level);
        }
    }

    /// The level that satisfies all sessions.
    pub(crate) fn level(&self) -> Option<LoggingLevel> {
        let sessions = self.sessions();
        sessions
            .values()
            .filter_map(|attached| attached.level)
            .min_by_key(rank)
    }
}

/// A subscription that is being made: whoever is dropped before it is, has none.
#[must_use = "it is undone when it is dropped"]
pub(crate) struct Subscribed {
    /// What to undo; nothing when it was there before.
    undone: Option<(Arc<Hub>, SessionId, String)>,
}

impl Subscribed {
    /// It is made.
    pub(crate) fn hold(mut self) {
        self.undone = None;
    }
}

impl Drop for Subscribed {
    fn drop(&mut self) {
        if let Some((hub, session, uri)) = self.undone.take() {
            hub.unsubscribe(&session, &uri);
        }
    }
}

fn rank(level: &LoggingLevel) -> u8 {
    match level {
        LoggingLevel::Debug => 0,
        LoggingLevel::Info => 1,
        LoggingLevel::Notice => 2,
        LoggingLevel::Warning => 3,
        LoggingLevel::Error => 4,
        LoggingLevel::Critical => 5,
        LoggingLevel::Alert => 6,
        LoggingLevel::Emergency => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_that_is_given_up_leaves_nothing_and_one_that_was_there_stays() {
        let (hub, session) = (Arc::new(Hub::default()), SessionId::new());
        hub.attach(session);
        drop(hub.subscribe(&session, "file:///a").unwrap());
        assert!(!hub.is_listened_to());
        hub.subscribe(&session, "file:///a").unwrap().hold();
        drop(hub.subscribe(&session, "file:///a").unwrap());
        assert!(hub.is_listened_to());
    }

    #[test]
    fn subscriptions_are_bounded_in_number_and_length() {
        let (hub, session) = (Arc::new(Hub::default()), SessionId::new());
        hub.attach(session);
        assert!(hub.subscribe(&session, &"x".repeat(MAX_URI + 1)).is_none());
        for n in 0..SUBSCRIPTIONS {
            hub.subscribe(&session, &format!("file:///{n}")).unwrap().hold();
        }
        assert!(hub.subscribe(&session, "file:///more").is_none());
        assert!(hub.subscribe(&session, "file:///0").is_some());
    }
}
