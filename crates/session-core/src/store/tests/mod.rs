//! The store as its callers see it: one file, several handles, several processes, and what may happen to them.

mod audit;
mod bad_disk;
mod checkpoints;
mod crash;
mod egress;
mod faults;
mod follow;
mod full_disk;
mod leases;
mod listing;
mod migration;
mod numbering;
mod opening;
mod quarantine;
mod records;
mod speed;
mod spending;

use jiff::Timestamp;
use secrecy::SecretString;

use super::*;
use crate::event::EventKind;
use crate::id::ContainerName;
use crate::runtime::{NetworkMode, ResourceLimits, UserIds};
use crate::session::SessionInfo;
use crate::state::SessionState;
use crate::turn::{TokenUsage, TurnOutcome, TurnStatus};

/// A state directory that goes away with the test.
pub(crate) struct Home {
    _temp: tempfile::TempDir,
    pub(crate) dir: StateDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = StateDir::open(&temp.path().join("state")).unwrap();
        Self { _temp: temp, dir }
    }

    /// A further handle: like another process, it shares nothing but the file.
    pub(crate) async fn open(&self) -> Store {
        Store::open(&self.dir).await.unwrap()
    }
}

/// The file itself, behind the store's back.
pub(crate) fn raw(home: &Home) -> Connection {
    Connection::open(home.dir.store_path()).unwrap()
}

pub(crate) fn record() -> SessionRecord {
    let id = SessionId::new();
    let now = Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap();
    // As JSON: what the tests do not look at is as it is by default.
    let info: SessionInfo = serde_json::from_value(serde_json::json!({
        "id": id,
        "name": "a name",
        "state": "creating",
        "created_at": now,
        "updated_at": now,
        "image": "cofferdam-session:latest",
        "network": NetworkMode::default(),
        "limits": ResourceLimits::default(),
        "workspace": { "kind": "mount", "path": "/home/someone/project" },
        "user": UserIds::DEFAULT,
        "agent": "claude",
        "env": { "LANG": "C.UTF-8" },
        "labels": { "team": "blue" },
        "turns": 0,
        "last_event": 0,
        "cost_usd": 0.0,
    }))
    .unwrap();
    SessionRecord {
        info,
        container: ContainerName::of(&id),
        token: SecretString::from("the-session-token"),
        request_digest: None,
        idempotency_key: None,
        agent: AgentRecord::default(),
        base_tree: None,
        container_id: None,
        boot_id: None,
        recovery: RecoveryRecord::default(),
        filling: false,
        timers: None,
        expiry: None,
    }
}

/// A session that is ready; its first event says so.
pub(crate) async fn ready(store: &Store) -> SessionId {
    let record = record();
    let id = record.info.id;
    store.insert_session(record).await.unwrap();
    store.commit(&id, state(SessionState::Ready)).await.unwrap();
    id
}

pub(crate) fn state(to: SessionState) -> Batch {
    Batch {
        state: Some(to),
        ..Batch::default()
    }
}

fn text(text: impl ToString) -> EventKind {
    EventKind::AgentText {
        text: text.to_string(),
    }
}

pub(crate) fn say(texts: impl IntoIterator<Item = impl ToString>) -> Batch {
    Batch {
        events: texts.into_iter().map(|said| (None, text(said))).collect(),
        ..Batch::default()
    }
}

pub(crate) fn turn(prompt: &str) -> NewTurn {
    NewTurn {
        id: TurnId::new(),
        prompt: prompt.to_owned(),
        tools: Vec::new(),
        idempotency_key: None,
        time_limit: None,
    }
}

pub(crate) fn update(id: TurnId, status: TurnStatus, outcome: Option<TurnOutcome>) -> Batch {
    Batch {
        turn: Some(TurnUpdate { id, status, outcome }),
        ..Batch::default()
    }
}

fn outcome(cost_usd: Option<f64>) -> TurnOutcome {
    TurnOutcome {
        status: TurnStatus::Succeeded,
        text: "done".into(),
        usage: TokenUsage::default(),
        cost_usd,
        model_calls: 1,
        duration_ms: 2,
        permission_denials: Vec::new(),
        failure: None,
    }
}

pub(crate) async fn all_events(store: &Store, session: &SessionId) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    loop {
        let after = events.last().map_or(0, |event| event.seq);
        let page = store
            .events(
                session,
                EventQuery {
                    after,
                    ..EventQuery::default()
                },
            )
            .await
            .unwrap();
        if page.is_empty() {
            return events;
        }
        events.extend(page);
    }
}

/// Numbers from 1 on, without a gap or a duplicate.
pub(crate) fn assert_numbered(events: &[Event]) {
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event.seq, index as u64 + 1);
    }
}

pub(crate) fn kind_of<T: fmt::Debug>(outcome: Result<T>) -> ErrorKind {
    outcome.unwrap_err().kind()
}
