//! The store: what is known about sessions, so that it survives whatever happens to our processes (I12).
//!
//! One SQLite file in the state directory, shared by every process that works on it. What a method acknowledges is on
//! the disk when it returns; what it refuses has changed nothing. A thread of its own writes (`writer`) and another
//! reads (`reader`), so nothing here blocks the async runtime. Events are numbered under the store's lock, so the
//! numbers have no gaps whoever appends them.

mod anchor;
mod audit;
mod checkpoints;
mod commands;
mod egress;
mod error;
mod events;
mod follow;
mod listing;
mod meta;
mod quarantine;
mod reader;
mod recent;
mod schema;
mod sessions;
mod snapshot;
mod spending;
#[cfg(test)]
pub(crate) mod tests;
mod told;
mod turns;
mod types;
mod writer;

use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::api::EventStream;
use crate::audit::act::Due;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::id::{SessionId, TurnId};
use crate::mcp::ServerStatus;
use crate::session::{EventQuery, SessionFilter};
use crate::state_dir::StateDir;
use crate::turn::TurnInfo;
use anchor::Anchor;
use error::Failure;
use follow::Hub;
use reader::{Query, Reader};
use turns::Which;
use writer::{Order, Request, Write};

pub use commands::{EndedCommand, KeyedCommand, KnownCommand, MAX_KEPT_COMMANDS};
pub use egress::{MAX_DECISIONS, MAX_WAITING_HOSTS};
pub use listing::Listing;
pub(crate) use snapshot::{fold, prepare};
pub use turns::MAX_WAITING_TURNS;
pub use types::{
    Accepted, AgentRecord, Batch, Inserted, NewTurn, Quarantined, RecoveryRecord, SessionRecord, Standing,
    TurnUpdate,
};

/// An opened store. Cheap to clone; all clones share the threads, which end when the last clone and stream is gone.
///
/// All methods fail with `StoreFailed` or `HostIo` when the file cannot be read or written, retryable when that may
/// pass, and with `Cancelled` once the store is closed.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    writer: mpsc::Sender<Order>,
    /// Started by the first query.
    reader: OnceLock<mpsc::Sender<Query>>,
    hub: Arc<Hub>,
    anchor: Arc<Anchor>,
    waiting: Arc<listing::Waiting>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.inner.path).finish()
    }
}

impl Store {
    /// Opens the store of a state directory. Makes it when there is none, and migrates one that an older version wrote.
    /// Several processes may have it open.
    ///
    /// # Errors
    /// `StateDirRefused` when a newer version wrote it, or when it is somebody else's or open to others. A damaged file
    /// is `StoreFailed`, and is left as it is.
    pub async fn open(dir: &StateDir) -> Result<Self> {
        const OPERATION: &str = "open the store";
        let (orders, inbox) = mpsc::channel(writer::QUEUE);
        let (ready, opened) = oneshot::channel();
        let hub = Arc::new(Hub::default());
        let path = dir.store_path();
        let (dir, served, file) = (dir.clone(), hub.clone(), path.clone());
        let open = move || {
            let connection = schema::open(&dir)?;
            let anchor = Arc::new(Anchor::open(&dir, &connection)?);
            Ok((connection, anchor))
        };
        let serve = move || match open() {
            Ok((connection, anchor)) => {
                // Nobody who waits for it has gone away with the inbox still open.
                let _ = ready.send(Ok(anchor.clone()));
                writer::serve(connection, inbox, &served, &anchor, &file);
            }
            Err(error) => drop(ready.send(Err(error))),
        };
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(serve)
            .map_err(|source| no_thread(OPERATION, source))?;
        let anchor = opened.await.unwrap_or_else(|_| Err(closed(OPERATION)))?;
        let inner = Inner {
            path,
            writer: orders,
            reader: OnceLock::new(),
            hub,
            anchor,
            waiting: Arc::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Records a new session, or finds the one that the same request made before.
    ///
    /// # Errors
    /// `IdempotencyMismatch` when the key was used with another digest.
    pub async fn insert_session(&self, record: SessionRecord) -> Result<Inserted> {
        let due = Due::now();
        self.inner
            .write_told("record the session", due, move |write, due| {
                let inserted = sessions::insert(write, &record)?;
                if let (Some(due), Inserted::New) = (due, &inserted) {
                    let image = format!("image {}", record.info.image.as_str());
                    audit::append(write, &due.entry(Some(record.info.id), Some(image)))?;
                }
                Ok(inserted)
            })
            .await
    }

    /// Whether a session was recorded for a request with this key, so that [`Store::insert_session`] finds it.
    ///
    /// # Errors
    /// As of every method.
    pub async fn has_session_of_key(&self, key: &str) -> Result<bool> {
        let key = key.to_owned();
        self.inner
            .read("read the session", move |connection| {
                sessions::has_key(connection, &key)
            })
            .await
    }

    /// The session that a request with this key made before.
    ///
    /// # Errors
    /// `IdempotencyMismatch` when the key was used with another digest.
    pub async fn session_of_request(&self, key: &str, digest: Option<&str>) -> Result<Option<SessionRecord>> {
        let (key, digest) = (key.to_owned(), digest.map(str::to_owned));
        self.inner
            .read("read the session", move |connection| {
                sessions::of_request(connection, &key, digest.as_deref())
            })
            .await
    }

    /// One session, also a destroyed one.
    ///
    /// # Errors
    /// As of every method.
    pub async fn session(&self, id: &SessionId) -> Result<Option<SessionRecord>> {
        let id = *id;
        self.inner
            .read("read the session", move |connection| {
                sessions::get(connection, &id)
            })
            .await
    }

    /// Sessions, newest first.
    ///
    /// # Errors
    /// As of every method.
    pub async fn sessions(&self, filter: &SessionFilter) -> Result<Vec<SessionRecord>> {
        let filter = filter.clone();
        self.inner
            .read("list the sessions", move |connection| {
                sessions::list(connection, &filter)
            })
            .await
    }

    /// The sessions that have not ended, as of now, whoever changed them. Cheap: what has not changed since the last call
    /// is not read again.
    ///
    /// # Errors
    /// As of every method.
    pub async fn listing(&self) -> Result<Arc<Listing>> {
        self.inner.listing().await
    }

    /// Makes all of `batch` true in one transaction. Answers with its events as they are stored.
    ///
    /// # Errors
    /// `NotFound` for a session or turn that does not exist. `StateConflict` when the state is not the expected one, or
    /// the turn has started, ended, or may not start because another one runs. `Busy` when the agent has
    /// another owner since.
    pub async fn commit(&self, session: &SessionId, batch: Batch) -> Result<Vec<Event>> {
        let session = *session;
        self.inner
            .write("change the session's record", move |write| {
                sessions::commit(write, &session, &batch)
            })
            .await
    }

    /// Saves what the timers of these sessions have counted, all in one transaction. It is no change of theirs: no event
    /// tells of it, and what ended meanwhile is left out.
    ///
    /// # Errors
    /// As of every method.
    pub async fn save_timers(&self, timers: Vec<(SessionId, String)>) -> Result<()> {
        self.inner
            .write("save the sessions' timers", move |write| {
                sessions::save_timers(write, &timers)
            })
            .await
    }

    /// Makes the caller the owner of the session's agent: from now on only batches with the [`AgentRecord::owner`] of the
    /// answer change where the conversation stands. What an earlier owner still had in its hands, or on its way to the
    /// disk, is in the answer or will be refused.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn take_agent(&self, session: &SessionId) -> Result<SessionRecord> {
        const OPERATION: &str = "take the session's agent";
        let session = *session;
        let taken = self
            .inner
            .write(OPERATION, move |write| sessions::take_agent(write, &session))
            .await?;
        taken.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, OPERATION, "there is no such session")
                .with_context("session", session)
        })
    }

    /// Queues a turn and appends its `TurnQueued`, or finds the turn that the same request queued before.
    ///
    /// # Errors
    /// `NotFound`; `IdempotencyMismatch` when the key was used with another prompt; `StateConflict` when the session's
    /// state permits no prompt; `LimitExceeded` when [`MAX_WAITING_TURNS`] wait already.
    pub async fn insert_turn(&self, session: &SessionId, turn: NewTurn) -> Result<Accepted> {
        let session = *session;
        let due = Due::now();
        self.inner
            .write_told("accept the prompt", due, move |write, due| {
                let accepted = turns::insert(write, &session, &turn)?;
                if let (Some(due), Accepted::New(turn)) = (due, &accepted) {
                    let which = format!("turn {}", turn.id);
                    audit::append(write, &due.entry(Some(session), Some(which)))?;
                }
                Ok(accepted)
            })
            .await
    }

    /// One turn of a session.
    ///
    /// # Errors
    /// As of every method.
    pub async fn turn(&self, session: &SessionId, turn: &TurnId) -> Result<Option<TurnInfo>> {
        Ok(self.select(session, Which::One(*turn)).await?.pop())
    }

    /// The turns of a session, oldest first.
    ///
    /// # Errors
    /// As of every method.
    pub async fn turns(&self, session: &SessionId) -> Result<Vec<TurnInfo>> {
        self.select(session, Which::All).await
    }

    /// The turn that has waited longest.
    ///
    /// # Errors
    /// As of every method.
    pub async fn next_queued_turn(&self, session: &SessionId) -> Result<Option<TurnInfo>> {
        Ok(self.select(session, Which::NextQueued).await?.pop())
    }

    /// The turn that runs.
    ///
    /// # Errors
    /// As of every method.
    pub async fn running_turn(&self, session: &SessionId) -> Result<Option<TurnInfo>> {
        Ok(self.select(session, Which::Running).await?.pop())
    }

    /// Stored events, in ascending order. A limit of 0 asks for as many as there may be, which is 10,000.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn events(&self, session: &SessionId, query: EventQuery) -> Result<Vec<Event>> {
        let session = *session;
        self.inner
            .read("read the session's events", move |connection| {
                events::page(connection, &session, query)
            })
            .await
    }

    /// What was told last of each MCP server of a session, as far as it is among its newest events.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn mcp_servers(&self, session: &SessionId) -> Result<Vec<ServerStatus>> {
        let session = *session;
        self.inner
            .read(
                "read what was told of the session's MCP servers",
                move |connection| events::mcp_servers(connection, &session),
            )
            .await
    }

    /// The events after `after`, each once and without a gap: first what is stored, then what is committed, by this
    /// process or another. Ends when everything was given of a session that is `Destroyed` or `Failed`.
    ///
    /// To be polled in a tokio runtime. After an error the stream ends; take it up again with the last number seen.
    pub fn follow(&self, session: SessionId, after: u64) -> EventStream {
        follow::stream(self.clone(), session, after)
    }

    /// Reads the whole file and says whether it is sound. Takes as long as the disk.
    ///
    /// # Errors
    /// `StoreFailed` with what was found.
    pub async fn verify(&self) -> Result<()> {
        const OPERATION: &str = "verify the store";
        let found = self
            .inner
            .read(OPERATION, |connection| {
                Ok(connection.pragma_query_value(None, "quick_check", |row| row.get::<_, String>(0))?)
            })
            .await?;
        if found == "ok" {
            return Ok(());
        }
        Err(
            Error::new(ErrorKind::StoreFailed, OPERATION, "the store's file is damaged")
                .with_context("store", self.inner.path.display())
                .with_context("found", found)
                .with_retryable(false)
                .with_hint("restore the file from a copy, or move it away to begin anew"),
        )
    }

    /// Ends every stream, finishes what was handed in before, and closes the file. Clones of the store fail from then on.
    pub async fn close(self) {
        self.inner.hub.close();
        if let Some(reader) = self.inner.reader.get() {
            // A thread that has ended already is what we want.
            let _ = reader.send(Box::new(|_| ControlFlow::Break(()))).await;
            reader.closed().await;
        }
        let _ = self.inner.writer.send(Order::Close).await;
        self.inner.writer.closed().await;
    }

    async fn select(&self, session: &SessionId, which: Which) -> Result<Vec<TurnInfo>> {
        let session = *session;
        self.inner
            .read("read the session's turns", move |connection| {
                turns::select(connection, &session, which)
            })
            .await
    }
}

impl Inner {
    /// Has `work` done by the writer. It may be done more than once before it is answered, each time from the start.
    async fn write<T, F>(&self, operation: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Write<'_>) -> Result<T, Failure> + Send + 'static,
    {
        let (order, answer) = Request::order(operation, work);
        self.writer.send(order).await.map_err(|_| closed(operation))?;
        answer.await.map_err(|_| closed(operation))?
    }

    /// [`Self::write`] for a change that somebody makes: `work` appends the line that is due, if one is.
    async fn write_told<T, F>(&self, operation: &'static str, due: Option<Due>, mut work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Write<'_>, Option<&Due>) -> Result<T, Failure> + Send + 'static,
    {
        let told = due.clone();
        let done = self
            .write(operation, move |write| work(write, due.as_ref()))
            .await?;
        if let Some(due) = told {
            due.told();
        }
        Ok(done)
    }

    /// Has `work` done by the reader.
    async fn read<T, F>(&self, operation: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let query: Query = Box::new(move |reader| {
            let result = reader.connection().map_err(Failure::from).and_then(work);
            // Whoever does not wait any more does not need the answer.
            let _ = reply.send(result);
            ControlFlow::Continue(())
        });
        self.reader(operation)?
            .send(query)
            .await
            .map_err(|_| closed(operation))?;
        answer
            .await
            .map_err(|_| closed(operation))?
            .map_err(|failure| failure.into_error(operation, &self.path))
    }

    fn reader(&self, operation: &'static str) -> Result<&mpsc::Sender<Query>> {
        if self.writer.is_closed() {
            return Err(closed(operation));
        }
        if let Some(reader) = self.reader.get() {
            return Ok(reader);
        }
        let started = Reader::start(self.path.clone()).map_err(|source| no_thread(operation, source))?;
        // When another task was faster, ours has nobody to ask it and ends.
        Ok(self.reader.get_or_init(|| started))
    }
}

fn closed(operation: &'static str) -> Error {
    Error::new(ErrorKind::Cancelled, operation, "the store is closed")
}

fn no_thread(operation: &'static str, source: std::io::Error) -> Error {
    Error::new(
        ErrorKind::LimitExceeded,
        operation,
        "the host allows no further thread",
    )
    .with_retryable(true)
    .with_hint("raise the limit on threads (ulimit -u, or pids of the cgroup)")
    .with_source(source)
}
