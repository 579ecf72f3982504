//! Live streams of events: what is stored, then what is committed, by whichever process, without a gap or a duplicate.
//!
//! A stream always reads from the store, by number. Being woken only tells it that there may be more, so a lost, late
//! or repeated wake-up costs time and never an event. The writer of this process wakes after each transaction; for other
//! processes a watcher looks at the store's version while somebody follows.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::listing::data_version;
use super::{Inner, Store, closed, events};
use crate::api::EventStream;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::id::SessionId;

/// How often the store is looked at for what other processes committed.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);

const FOLLOWING: &str = "follow the session's events";

/// Knows who follows which session.
#[derive(Default)]
pub(super) struct Hub {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// For each session that is followed, the latest event that is known to be stored.
    latest: HashMap<SessionId, watch::Sender<u64>>,
    watcher: Option<JoinHandle<()>>,
    closed: bool,
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under the lock leaves it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes those who follow sessions that have new events.
    pub(super) fn publish(&self, appended: &[(SessionId, u64)]) {
        let state = self.lock();
        for (session, last) in appended {
            if let Some(latest) = state.latest.get(session) {
                latest.send_if_modified(|known| {
                    let newer = *last > *known;
                    *known = (*known).max(*last);
                    newer
                });
            }
        }
    }

    /// Ends every stream and the watcher.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.latest.clear();
        if let Some(watcher) = state.watcher.take() {
            watcher.abort();
        }
    }

    fn subscribe(&self, store: &Arc<Inner>, session: SessionId) -> Result<watch::Receiver<u64>> {
        let mut state = self.lock();
        if state.closed {
            return Err(closed(FOLLOWING));
        }
        if state.watcher.as_ref().is_none_or(JoinHandle::is_finished) {
            state.watcher = Some(tokio::spawn(watch_others(Arc::downgrade(store))));
        }
        let latest = state
            .latest
            .entry(session)
            .or_insert_with(|| watch::Sender::new(0));
        Ok(latest.subscribe())
    }

    /// The sessions that are still followed; `None`, and the watcher is forgotten, when there are none.
    fn followed(&self) -> Option<Vec<SessionId>> {
        let mut state = self.lock();
        state.latest.retain(|_, latest| latest.receiver_count() > 0);
        if state.latest.is_empty() {
            state.watcher = None;
            return None;
        }
        Some(state.latest.keys().copied().collect())
    }
}

/// Looks for what other processes committed, while somebody follows and the store is open.
async fn watch_others(store: Weak<Inner>) {
    let mut seen = None;
    loop {
        tokio::time::sleep(WATCH_INTERVAL).await;
        let Some(inner) = store.upgrade() else { return };
        let Some(followed) = inner.hub.followed() else {
            return;
        };
        match look(&inner, followed, seen).await {
            Ok(version) => seen = Some(version),
            Err(error) => tracing::debug!(%error, "the store could not be looked at; it is tried again"),
        }
    }
}

async fn look(inner: &Arc<Inner>, followed: Vec<SessionId>, seen: Option<i64>) -> Result<i64> {
    let (version, latest) = inner
        .read(FOLLOWING, move |connection| {
            let version = data_version(connection)?;
            let mut latest = Vec::new();
            if seen != Some(version) {
                for session in followed {
                    if let Some(last) = events::last(connection, &session)? {
                        latest.push((session, last));
                    }
                }
            }
            Ok((version, latest))
        })
        .await?;
    inner.hub.publish(&latest);
    Ok(version)
}

/// One stream: where it is, and what was read ahead.
struct Follower {
    store: Store,
    session: SessionId,
    after: u64,
    ready: VecDeque<Event>,
    latest: Option<watch::Receiver<u64>>,
}

/// A stream of the events of `session` after `after`.
pub(super) fn stream(store: Store, session: SessionId, after: u64) -> EventStream {
    let follower = Follower {
        store,
        session,
        after,
        ready: VecDeque::new(),
        latest: None,
    };
    // After an error, as after the end, there is no follower any more and so nothing more to give.
    futures::stream::unfold(Some(follower), |follower| async move {
        let mut follower = follower?;
        match follower.next().await {
            Ok(Some(event)) => Some((Ok(event), Some(follower))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}

impl Follower {
    async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.after = event.seq;
                return Ok(Some(event));
            }
            // Before the first look: what is committed after the look wakes us.
            if self.latest.is_none() {
                self.latest = Some(self.store.inner.hub.subscribe(&self.store.inner, self.session)?);
            }
            let (session, after) = (self.session, self.after);
            let page = self
                .store
                .inner
                .read(FOLLOWING, move |connection| {
                    events::stream_page(connection, &session, after)
                })
                .await?;
            if page.ended {
                return Ok(None);
            }
            if page.events.is_empty() {
                self.wait().await?;
            }
            self.ready = page.events.into();
        }
    }

    async fn wait(&mut self) -> Result<()> {
        let after = self.after;
        let Some(latest) = &mut self.latest else {
            return Ok(());
        };
        latest
            .wait_for(|last| *last > after)
            .await
            .map(drop)
            .map_err(|_| closed(FOLLOWING))
    }
}

#[cfg(test)]
impl Hub {
    pub(super) fn is_watching(&self) -> bool {
        self.lock().watcher.is_some()
    }
}
