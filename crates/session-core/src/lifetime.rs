//! When a session ends by itself, and what becomes of one whose container is lost.

use std::time::Duration;

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

/// How often and how soon a session is brought back whose policy is [`OnInterrupt::Resume`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveryPolicy {
    /// So many attempts are made until it waits for a person; those that were never begun, because the engine is away, do
    /// not count.
    pub attempts: u32,
    /// Between the first two attempts; it doubles from one to the next.
    pub first_pause: Duration,
    /// And is never longer than this.
    pub last_pause: Duration,
    /// One that stayed up for so long is well: attempts are counted anew.
    pub well_after: Duration,
}

impl Default for RecoveryPolicy {
    fn default() -> Self {
        Self {
            attempts: 6,
            first_pause: Duration::from_secs(1),
            last_pause: Duration::from_secs(30),
            well_after: Duration::from_secs(60),
        }
    }
}

impl RecoveryPolicy {
    /// How long to wait after so many attempts.
    pub(crate) fn pause(&self, attempts: u32) -> Duration {
        let doubled = self
            .first_pause
            .saturating_mul(1 << attempts.saturating_sub(1).min(16));
        doubled.min(self.last_pause)
    }
}

impl OnInterrupt {
    /// Whether it is the default.
    pub fn is_stop(&self) -> bool {
        *self == Self::Stop
    }
}
