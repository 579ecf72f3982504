//! What goes into the store and what comes out of it.

use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;

use crate::audit::AuditEntry;
use crate::event::EventKind;
use crate::id::{ContainerName, SessionId, TurnId};
use crate::lifetime::ExpiryCause;
use crate::session::SessionInfo;
use crate::state::{SessionState, StateName};
use crate::turn::{TurnInfo, TurnOutcome, TurnStatus};

/// Everything that is known about a session.
#[derive(Debug, Clone)]
pub struct SessionRecord {
    /// What callers see.
    pub info: SessionInfo,
    /// Its container; always the one that [`ContainerName::of`] derives.
    pub container: ContainerName,
    /// The session's own token for the gateway; worth nothing elsewhere.
    pub token: SecretString,
    /// A digest of the request that made it, to tell a repeated request from another one with the same key.
    pub request_digest: Option<String>,
    /// The key under which the request may be repeated.
    pub idempotency_key: Option<String>,
    /// Its agent.
    pub agent: AgentRecord,
    /// The tree with which the workspace is compared.
    pub base_tree: Option<String>,
    /// The engine's own id of the container: what it is under whatever name.
    pub container_id: Option<String>,
    /// The start of the container in which runs what is recorded here. In another one nothing of it does.
    pub boot_id: Option<String>,
    /// How it is brought back after its container was lost.
    pub recovery: RecoveryRecord,
    /// Its workspace was lost and is being filled anew. Only the host says so: nothing inside has a part in it.
    pub filling: bool,
    /// What its timers had counted when they were saved.
    /// Only their keeper knows how to read it.
    pub timers: Option<String>,
    /// Why it ends by itself, from the moment at which that was decided.
    pub expiry: Option<ExpiryCause>,
}

/// How often it was tried to bring a session back since it was well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecoveryRecord {
    /// So often.
    pub attempts: u32,
    /// It is not tried again before.
    pub not_before: Option<Timestamp>,
}

/// Where the conversation with a session's agent stands.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AgentRecord {
    /// The agent's process id on the link.
    pub process: Option<String>,
    /// The first byte of its output that was not yet turned into events.
    pub offset: u64,
    /// The conversation, as the agent names it.
    pub conversation: Option<String>,
    /// The highest exactly-once key that was handed out for its standard input.
    pub stdin_key: u64,
    /// The only tools with which its process was started; all of them when empty.
    pub tools: Vec<String>,
    /// Counts the owners of the agent; see [`super::Store::take_agent`].
    pub owner: u64,
}

/// What became of a session that was to be inserted.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "there is one per created session")]
pub enum Inserted {
    /// It is new.
    New,
    /// The same request was recorded before, as this session.
    Existing(SessionRecord),
}

/// A turn to be queued.
#[derive(Debug, Clone)]
pub struct NewTurn {
    /// Its id.
    pub id: TurnId,
    /// The prompt.
    pub prompt: String,
    /// The only tools that the agent may use; all of them when empty.
    pub tools: Vec<String>,
    /// The key under which the request may be repeated.
    pub idempotency_key: Option<String>,
    /// When it is interrupted.
    pub time_limit: Option<Duration>,
}

/// What became of a turn that was to be queued.
#[derive(Debug, Clone, PartialEq)]
pub enum Accepted {
    /// It waits for its place.
    New(TurnInfo),
    /// The same request was accepted before, as this turn.
    Existing(TurnInfo),
}

impl Accepted {
    /// The turn, whichever it is.
    pub fn into_turn(self) -> TurnInfo {
        match self {
            Self::New(turn) | Self::Existing(turn) => turn,
        }
    }
}

/// Changes to one session that become true together or not at all.
///
/// The events of a batch get their numbers in this order: `TurnStarted`, [`Batch::events`] as they are,
/// `TurnFinished`, `StateChanged`.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// The session's new state; also appends a `StateChanged` event.
    pub state: Option<SessionState>,
    /// Events, with the turn to which each belongs.
    pub events: Vec<(Option<TurnId>, EventKind)>,
    /// A turn that starts or ends.
    pub turn: Option<TurnUpdate>,
    /// Where the conversation stands now.
    pub agent: Option<AgentRecord>,
    /// The tree with which the workspace is compared.
    pub base_tree: Option<String>,
    /// The engine's own id of the container.
    pub container_id: Option<String>,
    /// The start of the container that counts from now on.
    pub boot_id: Option<String>,
    /// How the session is brought back.
    pub recovery: Option<RecoveryRecord>,
    /// Whether its workspace is being filled anew.
    pub filling: Option<bool>,
    /// Until when its lease holds.
    pub lease_until: Option<Timestamp>,
    /// Why it ends by itself.
    pub expiry: Option<ExpiryCause>,
    /// Lines of the audit log that tell of this.
    pub audit: Vec<AuditEntry>,
    /// Nothing is changed when the stored state is not this one: then another process was faster.
    pub expect_state: Option<StateName>,
    /// Nothing is changed when a turn waits or runs.
    pub expect_no_turns: bool,
    /// Nothing is changed when its lease holds until another time than this: then somebody renewed it.
    pub expect_lease_until: Option<Timestamp>,
    /// Nothing is changed when the turn of [`Batch::turn`] is somewhere else: then it was started or ended meanwhile.
    pub expect_turn: Option<TurnStatus>,
}

/// A turn that starts or ends.
///
/// [`TurnStatus::Running`] appends `TurnStarted` and needs a queued turn and that no other runs; an ended status appends
/// `TurnFinished`, needs a turn that has not ended, and adds its cost to the session.
#[derive(Debug, Clone)]
pub struct TurnUpdate {
    /// The turn.
    pub id: TurnId,
    /// Its new status.
    pub status: TurnStatus,
    /// How it ended; required with an ended status.
    pub outcome: Option<TurnOutcome>,
}

/// What the store has of a session: enough to know whether its container is wanted, also when its record cannot be read.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// There is no record, and never was.
    Absent,
    /// It has this state.
    Known(SessionState),
    /// There is a record that cannot be read: whatever belongs to it is left alone.
    Unreadable,
}

impl Standing {
    /// Whether a container of the session may be wanted. One of an unreadable record is.
    pub fn may_have_container(&self) -> bool {
        match self {
            Self::Absent => false,
            Self::Known(state) => state.may_have_container(),
            Self::Unreadable => true,
        }
    }
}

/// A record that could not be read and was put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The table it was in.
    pub table: String,
    /// Its session, when that can be told.
    pub session: Option<SessionId>,
    /// Why it could not be read.
    pub reason: String,
    /// When it was put aside.
    pub at: Timestamp,
    /// What it was, as JSON. May hold secrets of the session.
    pub record: String,
}
