//! The audit log: one line for each change and each refusal, chained by hash.
//!
//! A line is durable before what it tells of is acknowledged. Texts that came from outside stay one escaped line.
//! [`Audited`] writes what a caller does; the store writes, by itself, what becomes of sessions and what is denied at
//! their doors.

pub(crate) mod act;
mod api;
mod audited;
mod log;
#[cfg(test)]
mod tests;

pub use audited::Audited;
pub use log::AuditLog;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::SessionId;

/// One line, before it has its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Who: `token NAME`, `socket uid N`, `embedded uid N`, `local uid N` (a command that works on the state
    /// directory itself), `session`, `reconciler`.
    pub actor: String,
    /// What, a verb and a noun in `snake_case`: `create_session`, `connect_host`.
    pub action: String,
    /// On which session.
    pub session: Option<SessionId>,
    /// How it was decided.
    pub decision: AuditDecision,
    /// By which rule: the code of a refusal, the rule of an allow-list.
    pub rule: Option<String>,
    /// What else is to be known, bounded; never a secret.
    pub detail: Option<String>,
}

/// A line in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditLine {
    /// Its number, from 1, without gaps.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// On which session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// How it was decided.
    pub decision: AuditDecision,
    /// By which rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What else is to be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// SHA-256 over the line before and this one, in hexadecimal digits.
    pub hash: String,
}

/// How something was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AuditDecision {
    /// It was done.
    Done,
    /// It was refused.
    Refused,
    /// It was allowed and did not succeed.
    Failed,
}

/// Which lines to read.
#[derive(Debug, Clone, Copy, Default)]
pub struct AuditQuery {
    /// Only lines after this number.
    pub after: u64,
    /// At most so many; at most 10,000 in any case, and as many when 0.
    pub limit: usize,
    /// The newest instead of the oldest ones, still in ascending order.
    pub tail: bool,
    /// Only those of one session.
    pub session: Option<SessionId>,
}

/// What a check of the whole chain found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditVerdict {
    /// How many lines there are.
    pub lines: u64,
    /// The first line that is not as it was written, or that is missing; `None` when the chain is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken_at: Option<u64>,
}
