//! Checkpoints: the uncommitted work of a session, kept where no container can lose it.
//!
//! A checkpoint is a git patch against the tree with which the session's workspace began, named by its content. It is
//! taken after every turn, every few minutes while one runs, when somebody asks, and before a session is destroyed.

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
    /// The same key of the same owner gives the same session.
    pub idempotency_key: Option<String>,
}
