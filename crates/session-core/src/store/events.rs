//! Events: appended with numbers that have no gaps, read by number.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use serde_json::Value;

use super::error::{Failure, encode, no_session};
use super::follow::News;
use super::recent::Stored;
use super::sessions::Head;
use super::writer::Write;
use super::{audit, told};
use crate::event::{Event, EventKind};
use crate::id::{SessionId, TurnId};
use crate::mcp::ServerStatus;
use crate::session::EventQuery;

/// The most events that one query gives.
pub(super) const MAX_PAGE: usize = 10_000;
/// After so many bytes a page of a stream ends, so that a slow reader of large events holds little memory.
const STREAM_PAGE_BYTES: usize = 1024 * 1024;
/// The most events in a page of a stream.
const STREAM_PAGE: usize = 256;

const READING: &str = "read the session's events";

/// Appends one event and moves the session's head. The caller stores the head.
pub(super) fn append(
    write: &mut Write<'_>,
    head: &mut Head,
    turn: Option<TurnId>,
    kind: EventKind,
) -> Result<Event, Failure> {
    const SQL: &str = "INSERT INTO event (session, seq, at, turn, kind) VALUES (?1, ?2, ?3, ?4, ?5)";
    let event = Event {
        session: head.id,
        seq: head.last_event + 1,
        at: write.now,
        turn,
        kind,
    };
    fail::fail_point!("store.event.append", |_| Ok(crate::fault::sqlite()?));
    let kind = encode(&event.kind)?;
    write.connection.prepare_cached(SQL)?.execute(params![
        head.pk,
        int(event.seq),
        event.at.as_microsecond(),
        turn.map(|turn| turn.to_string()),
        kind,
    ])?;
    head.last_event = event.seq;
    if let Some(line) = told::of_event(&event.session, &event.kind) {
        audit::append(write, &line)?;
    }
    write.appended(&event, kind.len());
    Ok(event)
}

/// Stored events in ascending order.
pub(super) fn page(
    connection: &Connection,
    session: &SessionId,
    query: EventQuery,
) -> Result<Vec<Event>, Failure> {
    const OLDEST: &str =
        "SELECT seq, at, turn, kind FROM event WHERE session = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
    const NEWEST: &str =
        "SELECT seq, at, turn, kind FROM event WHERE session = ?1 AND seq > ?2 ORDER BY seq DESC LIMIT ?3";
    let pk = key(connection, session)?;
    let limit = if query.limit == 0 {
        MAX_PAGE
    } else {
        query.limit.min(MAX_PAGE)
    };
    let mut statement = connection.prepare_cached(if query.tail { NEWEST } else { OLDEST })?;
    let mut rows = statement.query(params![pk, int(query.after), int(limit as u64)])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        events.push(read(session, row)?.0);
    }
    if query.tail {
        events.reverse();
    }
    Ok(events)
}

/// The last that was told of each MCP server, as far as it is in a page of the newest events.
pub(super) fn mcp_servers(
    connection: &Connection,
    session: &SessionId,
) -> Result<Vec<ServerStatus>, Failure> {
    // The tag is the first thing that is written of an event.
    const SQL: &str = r#"SELECT kind FROM event WHERE session = ?1 AND seq > ?2 AND kind LIKE '{"event":"mcp_server",%'
        ORDER BY seq DESC"#;
    let head = Head::find(connection, session)?.ok_or_else(|| no_session(READING, session))?;
    let after = head.last_event.saturating_sub(MAX_PAGE as u64);
    let mut statement = connection.prepare_cached(SQL)?;
    let mut rows = statement.query(params![head.pk, int(after)])?;
    let mut latest: Vec<ServerStatus> = Vec::new();
    while let Some(row) = rows.next()? {
        if let EventKind::McpServer { status } = read_kind(row.get_ref(0)?.as_str().unwrap_or_default())
            && latest.iter().all(|known| known.name != status.name)
        {
            latest.push(status);
        }
    }
    Ok(latest)
}

/// What a stream that has seen everything up to `after` gives next.
pub(super) struct StreamPage {
    pub(super) events: Vec<Event>,
    /// Nothing more will come: the session has ended and everything was seen.
    pub(super) ended: bool,
}

/// The next part of a stream, of bounded size.
pub(super) fn stream_page(
    connection: &Connection,
    session: &SessionId,
    after: u64,
) -> Result<StreamPage, Failure> {
    // One snapshot: an end that is seen comes with every event before it.
    let snapshot = connection.unchecked_transaction()?;
    let head = Head::find(&snapshot, session)?.ok_or_else(|| no_session(READING, session))?;
    let page = select_page(&snapshot, &head, after)?;
    let ended = page.is_empty() && head.has_ended();
    let events = page.into_iter().map(|(event, _)| event).collect();
    Ok(StreamPage { events, ended })
}

/// Events with the bytes that each takes.
fn select_page(connection: &Connection, head: &Head, after: u64) -> Result<Vec<(Event, usize)>, Failure> {
    const SQL: &str =
        "SELECT seq, at, turn, kind FROM event WHERE session = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
    let mut statement = connection.prepare_cached(SQL)?;
    let mut rows = statement.query(params![head.pk, int(after), int(STREAM_PAGE as u64)])?;
    let (mut page, mut bytes) = (Vec::new(), 0);
    while bytes < STREAM_PAGE_BYTES
        && let Some(row) = rows.next()?
    {
        let (event, size) = read(&head.id, row)?;
        bytes += size;
        page.push((event, size));
    }
    Ok(page)
}

/// What was committed to a session after the number `known`; `None` when there is nothing.
pub(super) fn news(connection: &Connection, session: SessionId, known: u64) -> Result<Option<News>, Failure> {
    let Some(head) = Head::find(connection, &session)?.filter(|head| head.last_event > known) else {
        return Ok(None);
    };
    let page = select_page(connection, &head, known)?;
    let stored = page.into_iter().map(|(event, bytes)| Stored {
        event: Arc::new(event),
        bytes,
    });
    Ok(Some(News {
        session,
        last: head.last_event,
        events: stored.collect(),
    }))
}

fn key(connection: &Connection, session: &SessionId) -> Result<i64, Failure> {
    Ok(Head::find(connection, session)?
        .ok_or_else(|| no_session(READING, session))?
        .pk)
}

fn read(session: &SessionId, row: &Row<'_>) -> Result<(Event, usize), Failure> {
    let kind = row.get_ref(3)?.as_str().unwrap_or_default();
    let turn = row
        .get_ref(2)?
        .as_str_or_null()
        .ok()
        .flatten()
        .and_then(|turn| turn.parse().ok());
    let event = Event {
        session: *session,
        seq: uint(row.get(0)?),
        at: stamp(row.get(1)?),
        turn,
        kind: read_kind(kind),
    };
    Ok((event, kind.len()))
}

/// What a newer version wrote and this one does not know is shown as it is instead of hiding what comes after it.
fn read_kind(text: &str) -> EventKind {
    serde_json::from_str(text).unwrap_or_else(|_| EventKind::AgentOther {
        raw: serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
    })
}

/// A number as SQLite keeps it. No count of ours comes near the end of its range.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number as SQLite kept it.
pub(super) fn uint(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// A time as it is kept, in microseconds.
pub(super) fn stamp(microseconds: i64) -> Timestamp {
    Timestamp::from_microsecond(microseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_a_newer_version_are_kept_as_they_are() {
        let unknown = r#"{"event":"from_the_future","x":[1,2]}"#;
        let known_with_more = r#"{"event":"agent_text","text":"hi","tone":"kind"}"#;
        assert_eq!(
            read_kind(unknown),
            EventKind::AgentOther {
                raw: serde_json::from_str(unknown).unwrap()
            }
        );
        assert_eq!(
            read_kind(known_with_more),
            EventKind::AgentText { text: "hi".into() }
        );
        assert_eq!(
            read_kind("not json"),
            EventKind::AgentOther {
                raw: Value::String("not json".into())
            }
        );
    }
}
