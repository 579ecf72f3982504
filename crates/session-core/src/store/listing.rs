//! The sessions that live, as the reader saw them last: whoever lists them often, or looks at one, costs little.
//!
//! It is never out of date. Each time somebody asks, the reader asks SQLite whether anybody, in this process or in
//! another, has committed anything since ([`data_version`](https://www.sqlite.org/pragma.html#pragma_data_version)), which
//! takes a few microseconds; only then it reads, and only what can change. Those who ask while a look is waited for share
//! it.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, Row};
use tokio::sync::oneshot;

use super::error::{Failure, decode};
use super::events::{stamp, uint};
use super::reader::Query;
use super::{Inner, closed, quarantine};
use crate::error::Result;
use crate::id::SessionId;
use crate::session::SessionInfo;

const OPERATION: &str = "list the sessions";

/// The sessions that live at one moment.
#[derive(Debug, Default)]
pub struct Listing {
    version: u64,
    /// Newest first.
    sessions: Vec<Arc<SessionInfo>>,
    places: HashMap<SessionId, usize>,
}

impl Listing {
    /// Another number whenever anything in the store has changed; of this process alone.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The sessions that have not ended, newest first.
    pub fn sessions(&self) -> &[Arc<SessionInfo>] {
        &self.sessions
    }

    /// One of them.
    pub fn get(&self, session: &SessionId) -> Option<&Arc<SessionInfo>> {
        self.sessions.get(*self.places.get(session)?)
    }
}

/// What the reader saw last.
#[derive(Default)]
pub(super) struct Seen {
    data_version: Option<i64>,
    rows: HashMap<i64, Kept>,
    listing: Arc<Listing>,
}

/// A session, and what of its row can change.
struct Kept {
    state: String,
    numbers: Numbers,
    info: Arc<SessionInfo>,
}

#[derive(Clone, Copy, PartialEq)]
struct Numbers {
    updated_at: i64,
    turns: i64,
    last_event: i64,
    cost_usd: f64,
    lease_until: Option<i64>,
}

impl Seen {
    pub(super) fn look(&mut self, connection: &Connection) -> Result<Arc<Listing>, Failure> {
        if self.data_version != Some(data_version(connection)?) {
            self.read(connection)?;
        }
        Ok(self.listing.clone())
    }

    /// What fails has changed nothing: the next look tries again.
    fn read(&mut self, connection: &Connection) -> Result<(), Failure> {
        const SQL: &str =
            "SELECT pk, state, updated_at, turns, last_event, cost_usd, lease_until FROM session
            WHERE ended = 0 AND quarantined = 0 ORDER BY pk DESC";
        // One snapshot: the version is that of the rows.
        let snapshot = connection.unchecked_transaction()?;
        let data_version = data_version(&snapshot)?;
        let mut statement = snapshot.prepare_cached(SQL)?;
        let mut rows = statement.query([])?;
        let mut kept = HashMap::with_capacity(self.rows.len());
        let mut sessions = Vec::with_capacity(self.rows.len());
        while let Some(row) = rows.next()? {
            let pk = row.get(0)?;
            let Some(now) = quarantine::readable(self.keep(&snapshot, pk, row))? else {
                continue;
            };
            sessions.push(now.info.clone());
            kept.insert(pk, now);
        }
        let places = sessions.iter().enumerate().map(|(at, info)| (info.id, at));
        self.listing = Arc::new(Listing {
            version: self.listing.version + 1,
            places: places.collect(),
            sessions,
        });
        self.rows = kept;
        self.data_version = Some(data_version);
        Ok(())
    }

    /// The session of a row: as it was if nothing has changed.
    fn keep(&self, connection: &Connection, pk: i64, row: &Row<'_>) -> Result<Kept, Failure> {
        let state = row.get_ref(1)?.as_str().unwrap_or_default();
        let numbers = Numbers {
            updated_at: row.get(2)?,
            turns: row.get(3)?,
            last_event: row.get(4)?,
            cost_usd: row.get(5)?,
            lease_until: row.get(6)?,
        };
        let known = self.rows.get(&pk);
        if let Some(known) = known
            && known.state == state
            && known.numbers == numbers
        {
            return Ok(Kept {
                state: state.to_owned(),
                numbers,
                info: known.info.clone(),
            });
        }
        let mut info = match known {
            Some(known) => SessionInfo::clone(&known.info),
            None => info(connection, pk)?,
        };
        info.state = decode("state", state)?;
        info.updated_at = stamp(numbers.updated_at);
        info.turns = uint(numbers.turns);
        info.last_event = uint(numbers.last_event);
        info.cost_usd = numbers.cost_usd;
        info.lease_until = numbers.lease_until.map(stamp);
        Ok(Kept {
            state: state.to_owned(),
            numbers,
            info: Arc::new(info),
        })
    }
}

/// What a session was asked to be; this never changes.
fn info(connection: &Connection, pk: i64) -> Result<SessionInfo, Failure> {
    let mut statement = connection.prepare_cached("SELECT info FROM session WHERE pk = ?1")?;
    let text: String = statement.query_row([pk], |row| row.get(0))?;
    decode("session", &text)
}

/// Changes with each commit of any other connection.
pub(super) fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("PRAGMA data_version")?
        .query_row([], |row| row.get(0))
}

/// Somebody who waits.
type Asker = oneshot::Sender<Result<Arc<Listing>>>;

/// Those who wait for the next look.
#[derive(Default)]
pub(super) struct Waiting {
    askers: Mutex<Vec<Asker>>,
}

impl Waiting {
    /// Whether this asker is the first, who has to see to it that somebody looks.
    fn push(&self, asker: Asker) -> bool {
        let mut askers = self.askers.lock().unwrap_or_else(PoisonError::into_inner);
        askers.push(asker);
        askers.len() == 1
    }

    fn take(&self) -> Vec<Asker> {
        std::mem::take(&mut *self.askers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A look that will be taken. When it is not, because its asker went away or the store is closed, the others are let go
/// and see to it themselves.
struct Look(Option<Arc<Waiting>>);

impl Look {
    /// Takes the look for everybody who waits for it. Whoever asks from here on may have seen a commit that it does not.
    fn begin(mut self) -> Vec<Asker> {
        self.0.take().map(|waiting| waiting.take()).unwrap_or_default()
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        if let Some(waiting) = self.0.take() {
            drop(waiting.take());
        }
    }
}

impl Inner {
    /// The sessions that live now.
    pub(super) async fn listing(&self) -> Result<Arc<Listing>> {
        loop {
            let (asker, answer) = oneshot::channel();
            if self.waiting.push(asker) {
                let look = self.look();
                self.reader(OPERATION)?
                    .send(look)
                    .await
                    .map_err(|_| closed(OPERATION))?;
            }
            if let Ok(listing) = answer.await {
                return listing;
            }
        }
    }

    fn look(&self) -> Query {
        let (look, path) = (Look(Some(self.waiting.clone())), self.path.clone());
        Box::new(move |reader| {
            let askers = look.begin();
            match reader.listing() {
                Ok(listing) => askers.into_iter().for_each(|asker| {
                    // Whoever does not wait any more does not need the answer.
                    let _ = asker.send(Ok(listing.clone()));
                }),
                // The others, who are let go, each find out for themselves.
                Err(failure) => {
                    if let Some(asker) = askers.into_iter().next() {
                        let _ = asker.send(Err(failure.into_error(OPERATION, &path)));
                    }
                }
            }
            ControlFlow::Continue(())
        })
    }
}
