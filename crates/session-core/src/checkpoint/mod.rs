//! Checkpoints: the uncommitted work of a session, kept where no container can lose it.
//!
//! A checkpoint is a git patch against the tree with which the session's workspace began, named by its content. It is
//! taken after every turn, every few minutes while one runs, when somebody asks, and before a session is destroyed. Work
//! in a mounted directory is the host's already: there it is taken only when somebody asks.
//!
//! | module | what it does |
//! |---|---|
//! | [`count`] | how many paths a patch changes |
//! | [`keep`] | from the link into a file, and then into the store |
//!
//! What is kept is what git would add, byte for byte: not what the project ignores, unless git tracks it, no file of more
//! than 64 MiB, no `.git`, and of its commits what they changed. Repositories inside the workspace are kept as the files that
//! they are. Filters, attributes, hooks and settings of the project have no part in it.

mod count;
pub(crate) mod keep;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{CheckpointId, SessionId, TurnId};

/// One checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Checkpoint {
    /// The checkpoint.
    pub id: CheckpointId,
    /// Its session.
    pub session: SessionId,
    /// The turn after or in which it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<TurnId>,
    /// Why it was taken.
    pub cause: CheckpointCause,
    /// When.
    pub at: Timestamp,
    /// The git tree to which the patch applies.
    pub base: String,
    /// SHA-256 of the patch, in hexadecimal digits: where its content is kept.
    pub sha256: String,
    /// The size of the patch in bytes.
    pub bytes: u64,
    /// How many paths it changes.
    pub files: u64,
}

/// Why a checkpoint was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CheckpointCause {
    /// A turn ended.
    Turn,
    /// A turn ran for some minutes.
    Timer,
    /// Somebody asked.
    Asked,
    /// The session is destroyed.
    Destroy,
}

/// What is to be brought back.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// Whose work; it may have ended.
    pub session: SessionId,
    /// Which checkpoint; the newest when `None`.
    pub checkpoint: Option<CheckpointId>,
    /// On whose behalf, when a front end tells its callers apart.
    pub owner: Option<String>,
    /// The same key of the same owner gives the session that was made for it, whatever became since of the one whose work it
    /// is. A key for work that came back into its own session makes nothing, and finds nothing later.
    pub idempotency_key: Option<String>,
}

/// When checkpoints are taken, and how many stay, so that they never fill the disk of their host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointPolicy {
    /// Whether any are taken without being asked for.
    pub automatic: bool,
    /// How often while a turn runs.
    pub every: Duration,
    /// The longest patch, in bytes; a longer one is not kept, and the session's events say so.
    pub max_bytes: u64,
    /// How many of a living session stay. Of one that has ended, the newest does.
    pub keep: usize,
    /// How long the newest one of a session that has ended stays, counted while somebody serves.
    pub keep_ended: Duration,
    /// How many bytes those of one session may have; the oldest go first, the newest stays whatever it has.
    pub session_bytes: u64,
    /// How many bytes all of them may have; the oldest go first, the newest of each session stays. When these alone have as
    /// many, none is taken without being asked for.
    pub total_bytes: u64,
    /// What is to stay free on the file system of the state directory, in bytes: with less, none is taken without being asked
    /// for, and one that is being taken ends. What is being written at the same time counts as written.
    pub reserve_bytes: u64,
}

impl Default for CheckpointPolicy {
    /// Every three minutes, 256 MiB, fifty, and thirty days; 1 GiB of a session, 16 GiB of all, and 1 GiB free.
    fn default() -> Self {
        Self {
            automatic: true,
            every: Duration::from_secs(3 * 60),
            max_bytes: 256 << 20,
            keep: 50,
            keep_ended: Duration::from_secs(30 * 24 * 60 * 60),
            session_bytes: 1 << 30,
            total_bytes: 16 << 30,
            reserve_bytes: 1 << 30,
        }
    }
}
