//! When a session ends by itself, and what becomes of one whose container is lost.

use serde::{Deserialize, Serialize};

/// When a session ends by itself; never when `Default`. What it had of unsaved changes stays as its last checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Lifetime {
    /// It is destroyed when it had nothing to do for so many milliseconds. A session that works is never idle: a turn that
    /// waits or runs, a command, a terminal with somebody at it and a transfer of files are work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<u64>,
    /// It is destroyed so many milliseconds after it was made, whatever it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ms: Option<u64>,
    /// It is destroyed when its lease was not renewed for so many milliseconds: for sessions of a client that may vanish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_ms: Option<u64>,
    /// It is not destroyed for idleness when its last turn failed, so that somebody can look at it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_on_failure: bool,
}

impl Lifetime {
    /// Whether it never ends by itself.
    pub fn is_unlimited(&self) -> bool {
        self.idle_ms.is_none() && self.max_ms.is_none() && self.lease_ms.is_none()
    }
}

/// Why a session ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ExpiryCause {
    /// It had nothing to do for too long.
    Idle,
    /// It was as old as it may become.
    MaximumLife,
    /// Nobody renewed its lease.
    LeaseLapsed,
}

/// What becomes of a session whose container ended although nobody asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnInterrupt {
    /// It stays `Interrupted` until somebody resumes or destroys it.
    #[default]
    Stop,
    /// It comes back by itself, with its workspace and its conversation. What was under way is not run again; turns that
    /// waited go on.
    Resume,
}

impl OnInterrupt {
    /// Whether it is the default.
    pub fn is_stop(&self) -> bool {
        *self == Self::Stop
    }
}
