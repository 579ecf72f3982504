//! The store: what is known about sessions, so that it survives whatever happens to our processes (I12).

mod types;

use crate::api::EventStream;
use crate::error::Result;
use crate::event::Event;
use crate::id::{SessionId, TurnId};
use crate::session::{EventQuery, SessionFilter};
use crate::state_dir::StateDir;
use crate::turn::TurnInfo;

pub use types::{Accepted, AgentRecord, Batch, Inserted, NewTurn, SessionRecord, TurnUpdate};

/// The store.
#[derive(Debug, Clone)]
pub struct Store {}

impl Store {
    /// Opens it.
    pub async fn open(_dir: &StateDir) -> Result<Self> {
        unimplemented!()
    }

    /// Records a new session.
    pub async fn insert_session(&self, _record: SessionRecord) -> Result<Inserted> {
        unimplemented!()
    }

    /// One session.
    pub async fn session(&self, _id: &SessionId) -> Result<Option<SessionRecord>> {
        unimplemented!()
    }

    /// Sessions, newest first.
    pub async fn sessions(&self, _filter: &SessionFilter) -> Result<Vec<SessionRecord>> {
        unimplemented!()
    }

    /// Changes a session.
    pub async fn commit(&self, _session: &SessionId, _batch: Batch) -> Result<Vec<Event>> {
        unimplemented!()
    }

    /// Queues a turn.
    pub async fn insert_turn(&self, _session: &SessionId, _turn: NewTurn) -> Result<Accepted> {
        unimplemented!()
    }

    /// One turn.
    pub async fn turn(&self, _session: &SessionId, _turn: &TurnId) -> Result<Option<TurnInfo>> {
        unimplemented!()
    }

    /// The turns of a session, oldest first.
    pub async fn turns(&self, _session: &SessionId) -> Result<Vec<TurnInfo>> {
        unimplemented!()
    }

    /// The turn whose turn it is.
    pub async fn next_queued_turn(&self, _session: &SessionId) -> Result<Option<TurnInfo>> {
        unimplemented!()
    }

    /// The turn that runs.
    pub async fn running_turn(&self, _session: &SessionId) -> Result<Option<TurnInfo>> {
        unimplemented!()
    }

    /// Stored events.
    pub async fn events(&self, _session: &SessionId, _query: EventQuery) -> Result<Vec<Event>> {
        unimplemented!()
    }

    /// A live stream.
    pub fn follow(&self, _session: SessionId, _after: u64) -> EventStream {
        unimplemented!()
    }

    /// Flushes.
    pub async fn close(self) {
        unimplemented!()
    }
}
