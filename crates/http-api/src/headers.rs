//! Names of headers and media types, in the spelling of the wire.

/// The same key gives the same session or turn: a second request does not make a second one.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The number of the last event that a subscriber has seen.
pub const LAST_EVENT_ID: &str = "last-event-id";
/// `wait=SECONDS` waits for the outcome, `respond-async` does not (RFC 7240).
pub const PREFER: &str = "prefer";
/// Which preference was followed.
pub const PREFERENCE_APPLIED: &str = "preference-applied";

/// JSON.
pub const JSON: &str = "application/json";
/// A tar archive.
pub const TAR: &str = "application/x-tar";
/// Bytes.
pub const OCTETS: &str = "application/octet-stream";
/// A patch, as git writes one. What a session made: hostile.
pub const PATCH: &str = "text/x-diff";
/// Server-sent events.
pub const EVENT_STREAM: &str = "text/event-stream";
