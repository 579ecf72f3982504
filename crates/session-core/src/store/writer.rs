//! The one thread that changes the store.
//!
//! What makes a change durable is a sync of the disk, which takes far longer than the change itself. So while one
//! transaction is synced, the changes that come in wait together and become the next transaction together. Each of
//! them is in a savepoint of its own: one that is refused takes nothing back of the others. When the transaction itself
//! fails, each is tried alone, so that one that is too large for the disk spoils no other.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::anchor::Anchor;
use super::error::{Failure, is_busy, storage_error};
use super::follow::{Hub, News};
use super::recent::Stored;
use crate::error::Result;
use crate::event::Event;

/// How many changes may wait; whoever comes then waits to hand his in.
pub(super) const QUEUE: usize = 256;

/// A change that is being made: the transaction, its time, and what it appended.
pub(super) struct Write<'c> {
    pub(super) connection: &'c Connection,
    /// Now, as exactly as times are stored.
    pub(super) now: Timestamp,
    hub: &'c Hub,
    appended: Vec<News>,
    /// Whether the audit log has grown.
    pub(super) audited: bool,
}

impl<'c> Write<'c> {
    /// A change in a transaction that somebody else makes.
    pub(super) fn at(connection: &'c Connection, now: Timestamp, hub: &'c Hub) -> Self {
        Self {
            connection,
            now,
            hub,
            appended: Vec::new(),
            audited: false,
        }
    }

    /// Remembers to tell those who follow the session; `bytes` is how much the event takes in the store.
    pub(super) fn appended(&mut self, event: &Event, bytes: usize) {
        let stored = self.hub.is_followed(&event.session).then(|| Stored {
            event: Arc::new(event.clone()),
            bytes,
        });
        self.appended.push(News {
            session: event.session,
            last: event.seq,
            events: stored.into_iter().collect(),
        });
    }
}

/// What the thread is told.
pub(super) enum Order {
    /// Make a change.
    Change(Box<dyn Change>),
    /// Close the store and end.
    Close,
}

/// A change that somebody waits for. May be tried more than once, until it is answered.
pub(super) trait Change: Send {
    /// Makes the change and keeps its result; `false` when it was refused.
    fn attempt(&mut self, write: &mut Write<'_>) -> Result<bool, rusqlite::Error>;

    /// Tells whoever waits what became of it.
    fn answer(self: Box<Self>, committed: Result<(), Arc<rusqlite::Error>>, path: &Path);
}

/// A change as a closure.
pub(super) struct Request<T, F> {
    operation: &'static str,
    work: F,
    result: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, F> Request<T, F>
where
    T: Send + 'static,
    F: FnMut(&mut Write<'_>) -> Result<T, Failure> + Send + 'static,
{
    pub(super) fn order(operation: &'static str, work: F) -> (Order, oneshot::Receiver<Result<T>>) {
        let (reply, answer) = oneshot::channel();
        let request = Self {
            operation,
            work,
            result: None,
            reply,
        };
        (Order::Change(Box::new(request)), answer)
    }
}

impl<T, F> Change for Request<T, F>
where
    T: Send,
    F: FnMut(&mut Write<'_>) -> Result<T, Failure> + Send,
{
    fn attempt(&mut self, write: &mut Write<'_>) -> Result<bool, rusqlite::Error> {
        let result = match (self.work)(write) {
            Ok(value) => Ok(value),
            Err(Failure::Refused(error)) => Err(error),
            Err(Failure::Sqlite(error)) => return Err(error),
        };
        let kept = result.is_ok();
        self.result = Some(result);
        Ok(kept)
    }

    fn answer(self: Box<Self>, committed: Result<(), Arc<rusqlite::Error>>, path: &Path) {
        let Self {
            operation,
            work,
            result,
            reply,
        } = *self;
        // What it held until it was done is free when its caller goes on.
        drop(work);
        let result = match (committed, result) {
            (Err(source), _) => Err(storage_error(operation, path, source)),
            (Ok(()), Some(result)) => result,
            // A transaction that was committed attempted all of its changes.
            (Ok(()), None) => return,
        };
        // Whoever does not wait any more does not need the answer; the change stands.
        let _ = reply.send(result);
    }
}

/// Serves until it is told to close or nobody can tell it anything any more.
pub(super) fn serve(
    connection: Connection,
    mut inbox: mpsc::Receiver<Order>,
    hub: &Hub,
    anchor: &Anchor,
    path: &Path,
) {
    let mut group = Vec::with_capacity(QUEUE);
    let mut open = true;
    while open && let Some(first) = inbox.blocking_recv() {
        open = admit(first, &mut group);
        while open
            && group.len() < QUEUE
            && let Ok(next) = inbox.try_recv()
        {
            open = admit(next, &mut group);
        }
        settle(&connection, &mut group, hub, anchor, path);
    }
    fail::fail_point!("store.close.before");
    if let Err((_, error)) = connection.close() {
        tracing::debug!(%error, "the store was not closed cleanly; it is recovered when it is opened");
    }
}

fn admit(order: Order, group: &mut Vec<Box<dyn Change>>) -> bool {
    match order {
        Order::Change(change) => {
            group.push(change);
            true
        }
        Order::Close => false,
    }
}

fn settle(
    connection: &Connection,
    group: &mut Vec<Box<dyn Change>>,
    hub: &Hub,
    anchor: &Anchor,
    path: &Path,
) {
    match together(connection, group, hub) {
        Ok(done) => {
            if done.audited {
                anchor.advance(connection);
            }
            fail::fail_point!("store.publish.before");
            hub.publish(done.news);
            fail::fail_point!("store.answer.before");
            group.drain(..).for_each(|change| change.answer(Ok(()), path));
        }
        Err(error) if group.len() <= 1 || is_busy(&error) => {
            let error = Arc::new(error);
            group
                .drain(..)
                .for_each(|change| change.answer(Err(error.clone()), path));
        }
        Err(_) => {
            for change in group.drain(..) {
                let mut alone = vec![change];
                settle(connection, &mut alone, hub, anchor, path);
            }
        }
    }
}

/// What a transaction brought about.
#[derive(Default)]
struct Done {
    /// The new events of sessions.
    news: Vec<News>,
    /// Whether the audit log has grown.
    audited: bool,
}

/// Makes all changes of a group in one transaction.
fn together(
    connection: &Connection,
    group: &mut [Box<dyn Change>],
    hub: &Hub,
) -> Result<Done, rusqlite::Error> {
    if group.is_empty() {
        return Ok(Done::default());
    }
    fail::fail_point!("store.begin.before", |_| crate::fault::sqlite());
    run(connection, "BEGIN IMMEDIATE")?;
    let outcome = attempt_each(connection, group, hub).and_then(|done| {
        fail::fail_point!("store.commit.before", |_| crate::fault::sqlite());
        run(connection, "COMMIT")?;
        fail::fail_point!("store.commit.after");
        Ok(done)
    });
    if outcome.is_err() && !connection.is_autocommit() {
        fail::fail_point!("store.rollback.before");
        // A failure of this changes nothing: the next transaction cannot begin and says so.
        let _ = run(connection, "ROLLBACK");
    }
    outcome
}

fn attempt_each(
    connection: &Connection,
    group: &mut [Box<dyn Change>],
    hub: &Hub,
) -> Result<Done, rusqlite::Error> {
    let now = Timestamp::now();
    let now = Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now);
    let mut write = Write::at(connection, now, hub);
    for change in group {
        fail::fail_point!("store.change.before", |_| crate::fault::sqlite());
        run(connection, "SAVEPOINT change")?;
        let before = write.appended.len();
        if !change.attempt(&mut write)? {
            run(connection, "ROLLBACK TO change")?;
            write.appended.truncate(before);
        }
        run(connection, "RELEASE change")?;
        fail::fail_point!("store.change.after", |_| crate::fault::sqlite());
    }
    Ok(Done {
        news: write.appended,
        audited: write.audited,
    })
}

fn run(connection: &Connection, sql: &str) -> Result<(), rusqlite::Error> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}
