//! Queries: what may stand behind the `?`, for the description of the API, the server that reads it and the client that
//! writes it.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use session_core::audit::AuditQuery;
use session_core::id::SessionId;
use session_core::session::EventQuery;
use utoipa::IntoParams;

/// The most events of a page; the same as the core's own bound.
pub const MAX_EVENTS: usize = 10_000;
/// The most lines of the audit log in one answer; the same as the core's own bound.
pub const MAX_AUDIT_LINES: usize = 10_000;
/// How many events a page has when nobody says.
pub const DEFAULT_EVENTS: usize = 1_000;
/// The longest that a request waits for the outcome of a turn, in milliseconds.
pub const MAX_WAIT_MS: u64 = 3_600_000;
/// The largest whole number that every reader of JSON reads exactly.
pub const MAX_SAFE: u64 = (1 << 53) - 1;

/// A duration of the wire.
pub(crate) fn from_ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A duration for the wire. What is left of a millisecond counts as a whole one: a limit that is not zero stays one.
pub(crate) fn to_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000))
        .unwrap_or(u64::MAX)
        .min(MAX_SAFE)
}

/// Reads a number that every reader of JSON reads exactly.
pub(crate) fn natural<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    /// One that may be left out.
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Number(#[serde(deserialize_with = "crate::object::whole")] u64);
    let number = Option::<Number>::deserialize(deserializer)?.map(|Number(number)| number);
    if number.is_some_and(|number| number > MAX_SAFE) {
        return Err(D::Error::custom(format!("it is more than {MAX_SAFE}")));
    }
    Ok(number)
}

/// The same for the wire: what is beyond its bound is as good as no limit.
pub(crate) fn safe(number: u64) -> u64 {
    number.min(MAX_SAFE)
}

/// Which stored events to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// Only events after this number.
    #[serde(default)]
    #[param(minimum = 0, maximum = 9_007_199_254_740_991u64)]
    pub after: u64,
    /// At most so many.
    #[serde(default = "default_events")]
    #[param(minimum = 1, maximum = 10_000, default = 1_000)]
    pub limit: u64,
    /// The newest instead of the oldest, still in ascending order.
    #[serde(default)]
    pub tail: bool,
}

fn default_events() -> u64 {
    DEFAULT_EVENTS as u64
}

impl Default for EventsQuery {
    fn default() -> Self {
        Self {
            after: 0,
            limit: default_events(),
            tail: false,
        }
    }
}

impl From<EventsQuery> for EventQuery {
    fn from(query: EventsQuery) -> Self {
        Self {
            after: query.after,
            limit: usize::try_from(query.limit).unwrap_or(usize::MAX),
            tail: query.tail,
        }
    }
}

impl From<EventQuery> for EventsQuery {
    fn from(query: EventQuery) -> Self {
        Self {
            after: query.after,
            limit: query.limit.clamp(1, MAX_EVENTS) as u64,
            tail: query.tail,
        }
    }
}

/// Which lines of the audit log to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditLinesQuery {
    /// Only lines after this number.
    #[serde(default)]
    #[param(minimum = 0, maximum = 9_007_199_254_740_991u64)]
    pub after: u64,
    /// At most so many.
    #[serde(default = "default_events")]
    #[param(minimum = 1, maximum = 10_000, default = 1_000)]
    pub limit: u64,
    /// The newest instead of the oldest, still in ascending order.
    #[serde(default)]
    pub tail: bool,
    /// Only those of this session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, format = Uuid, nullable = false)]
    pub session: Option<SessionId>,
}

impl From<AuditLinesQuery> for AuditQuery {
    fn from(query: AuditLinesQuery) -> Self {
        Self {
            after: query.after,
            limit: usize::try_from(query.limit).unwrap_or(usize::MAX),
            tail: query.tail,
            session: query.session,
        }
    }
}

impl From<AuditQuery> for AuditLinesQuery {
    fn from(query: AuditQuery) -> Self {
        let limit = match query.limit {
            // As many as there may be.
            0 => MAX_AUDIT_LINES,
            limit => limit.min(MAX_AUDIT_LINES),
        };
        Self {
            after: safe(query.after),
            limit: limit as u64,
            tail: query.tail,
            session: query.session,
        }
    }
}

/// From where to subscribe to events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AfterQuery {
    /// Only events after this number. The header `Last-Event-ID` says the same and wins.
    #[serde(default)]
    #[param(minimum = 0, maximum = 9_007_199_254_740_991u64)]
    pub after: u64,
}

/// From where to read a command's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OffsetQuery {
    /// The position of the first byte, in what the command wrote to both streams together.
    #[serde(default)]
    #[param(minimum = 0, maximum = 9_007_199_254_740_991u64)]
    pub offset: u64,
}

/// Whether to wait for the outcome of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WaitQuery {
    /// Waits so many milliseconds for the turn to end. The header `Prefer: wait=SECONDS` says the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 0, maximum = 3_600_000, nullable = false)]
    pub wait_ms: Option<u64>,
}

/// A path inside a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PathQuery {
    /// The path inside the session, absolute or relative to the workspace.
    #[param(
        pattern = r"^/*([^/\x00]{1,255}/*)+$|^/+$",
        min_length = 1,
        max_length = 4_095,
        example = "src"
    )]
    pub path: String,
}

/// About one session or about all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OfSessionQuery {
    /// The session; all of them when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, format = Uuid, nullable = false)]
    pub session: Option<SessionId>,
}

/// Whether a command's standard input ends after the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StdinQuery {
    /// Ends the command's standard input after the body.
    #[serde(default)]
    pub eof: bool,
}

/// The screen of a viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ScreenQuery {
    /// Lines.
    #[serde(default = "default_rows")]
    #[param(minimum = 1, maximum = 1_000, default = 24)]
    pub rows: u16,
    /// Columns.
    #[serde(default = "default_columns")]
    #[param(minimum = 1, maximum = 1_000, default = 80)]
    pub columns: u16,
}

fn default_rows() -> u16 {
    24
}

fn default_columns() -> u16 {
    80
}
