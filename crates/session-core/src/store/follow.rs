//! Live streams of events: what is stored, then what is committed, by whichever process, without a gap or a duplicate.
//!
//! A stream begins with what the store has, by number. Once it has seen all of that it takes what comes from the newest
//! events of the session ([`super::recent`]), which all who follow it share, and reads the store again only for what is
//! not there. Being woken only tells it that there may be more, so a lost, late or repeated wake-up costs time and never
//! an event. The writer of this process wakes after each transaction; for other processes a watcher looks at the store's
//! version while somebody follows.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::listing::data_version;
use super::recent::{Recent, Stored};
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
    followed: HashMap<SessionId, Followed>,
    watcher: Option<JoinHandle<()>>,
    closed: bool,
}

/// A session that somebody follows.
#[derive(Default)]
struct Followed {
    /// The latest event that is known to be stored.
    latest: watch::Sender<u64>,
    recent: Recent,
}

/// What was committed to one session.
pub(super) struct News {
    pub(super) session: SessionId,
    /// The number of its latest event.
    pub(super) last: u64,
    /// The new events, as far as somebody followed the session when they were made.
    pub(super) events: Vec<Stored>,
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under the lock leaves it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes those who follow sessions that have new events.
    pub(super) fn publish(&self, news: Vec<News>) {
        let mut state = self.lock();
        for News {
            session,
            last,
            events,
        } in news
        {
            if let Some(followed) = state.followed.get_mut(&session) {
                let known = *followed.latest.borrow();
                let new = events.into_iter().filter(|stored| stored.event.seq > known);
                new.for_each(|stored| followed.recent.add(stored));
                followed.latest.send_if_modified(|known| {
                    let newer = last > *known;
                    *known = (*known).max(last);
                    newer
                });
            }
        }
    }

    /// Whether anybody may want to see what is committed to the session.
    pub(super) fn is_followed(&self, session: &SessionId) -> bool {
        self.lock().followed.contains_key(session)
    }

    fn recent(&self, session: &SessionId, after: u64) -> VecDeque<Arc<Event>> {
        let state = self.lock();
        let recent = state.followed.get(session).map(|followed| &followed.recent);
        recent
            .into_iter()
            .flat_map(|recent| recent.after(after).cloned())
            .collect()
    }

    /// Ends every stream and the watcher.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.followed.clear();
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
        Ok(state.followed.entry(session).or_default().latest.subscribe())
    }

    /// The sessions that are still followed, with the latest event that is known of each; `None`, and the watcher is
    /// forgotten, when there are none.
    fn followed(&self) -> Option<Vec<(SessionId, u64)>> {
        let mut state = self.lock();
        state
            .followed
            .retain(|_, followed| followed.latest.receiver_count() > 0);
        if state.followed.is_empty() {
            state.watcher = None;
            return None;
        }
        let known = |(session, followed): (&SessionId, &Followed)| (*session, *followed.latest.borrow());
        Some(state.followed.iter().map(known).collect())
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

async fn look(inner: &Arc<Inner>, followed: Vec<(SessionId, u64)>, seen: Option<i64>) -> Result<i64> {
    let (version, news) = inner
        .read(FOLLOWING, move |connection| {
            let version = data_version(connection)?;
            let mut news = Vec::new();
            if seen != Some(version) {
                for (session, known) in followed {
                    news.extend(events::news(connection, session, known)?);
                }
            }
            Ok((version, news))
        })
        .await?;
    inner.hub.publish(news);
    Ok(version)
}

/// One stream: where it is, and what was read ahead.
struct Follower {
    store: Store,
    session: SessionId,
    after: u64,
    ready: VecDeque<Arc<Event>>,
    latest: Option<watch::Receiver<u64>>,
    /// The store may have something that the newest events do not tell: older ones, or the end.
    look: bool,
}

/// A stream of the events of `session` after `after`.
pub(super) fn stream(store: Store, session: SessionId, after: u64) -> EventStream {
    let follower = Follower {
        store,
        session,
        after,
        ready: VecDeque::new(),
        latest: None,
        look: true,
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
                self.look |= event.kind.ends_session();
                return Ok(Some(Arc::unwrap_or_clone(event)));
            }
            // Before the first look: what is committed after the look wakes us.
            if self.latest.is_none() {
                self.latest = Some(self.store.inner.hub.subscribe(&self.store.inner, self.session)?);
            }
            if !self.look {
                self.wait().await?;
                self.ready = self.store.inner.hub.recent(&self.session, self.after);
                self.look = self.ready.is_empty();
                continue;
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
            // Whatever is committed from now on wakes us.
            self.look = !page.events.is_empty();
            self.ready = page.events.into_iter().map(Arc::new).collect();
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
