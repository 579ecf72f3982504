//! Records that cannot be read: told apart from those that are not there, and put aside one by one.
//!
//! One bad record spoils nothing else: lists leave it out, and whoever asks for it alone is told. The process that
//! supervises puts it aside when it starts: the reason is kept in a table of its own with the row as it was, and nothing is
//! removed. The row stays, marked, so that the key of a turn is still taken and the content of a checkpoint still wanted;
//! what belongs to a session is left where it is, its container too. What can be read again, because the version that
//! wrote it is back, is put back; of turns only those that have ended, because nobody waits any more for the others.
//!
//! What people decided about hosts is never put aside: a refusal must not lapse because it cannot be read.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::{Map, Value};

use super::error::{Failure, decode};
use super::events::stamp;
use super::sessions::{self, Head};
use super::types::{Batch, Quarantined, Standing};
use super::writer::Write;
use super::{Store, audit, checkpoints, turns};
use crate::audit::{AuditDecision, AuditEntry};
use crate::error::{Error, ErrorReport, Result};
use crate::event::EventKind;
use crate::id::SessionId;
use crate::state::{SessionState, Transition};

const STANDING: &str = "read the session's standing";
const LISTING: &str = "list the quarantine";
const CHECKING: &str = "check the records";
/// How many rows are looked at before others may read.
const PART: i64 = 500;

/// Where records are that can be put aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Table {
    Session,
    Turn,
    Checkpoint,
}

impl Table {
    const ALL: [Self; 3] = [Self::Session, Self::Turn, Self::Checkpoint];

    fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Turn => "turn",
            Self::Checkpoint => "checkpoint",
        }
    }

    /// The id of the session to which a row belongs.
    fn owner(self) -> &'static str {
        match self {
            Self::Session => "SELECT id FROM session WHERE pk = ?1",
            Self::Turn => "SELECT s.id FROM turn r JOIN session s ON s.pk = r.session WHERE r.pk = ?1",
            Self::Checkpoint => {
                "SELECT s.id FROM checkpoint r JOIN session s ON s.pk = r.session WHERE r.pk = ?1"
            }
        }
    }
}

impl Store {
    /// What the store has of a session. Whoever would remove what has no record asks this: a record that cannot be read
    /// is none that is absent.
    ///
    /// # Errors
    /// As of every method.
    pub async fn standing(&self, session: &SessionId) -> Result<Standing> {
        let session = *session;
        self.inner
            .read(STANDING, move |connection| standing(connection, &session))
            .await
    }

    /// The records that were put aside because they could not be read, oldest first.
    ///
    /// # Errors
    /// As of every method.
    pub async fn quarantined(&self) -> Result<Vec<Quarantined>> {
        self.inner.read(LISTING, list).await
    }

    /// Puts records aside that cannot be read, each in a transaction of its own, and puts those back that can be read
    /// again. Answers with those that were put aside now. For the process that supervises the state directory: another
    /// one may be of an older version, which knows less.
    ///
    /// # Errors
    /// As of every method.
    pub async fn check_records(&self) -> Result<Vec<Quarantined>> {
        for table in Table::ALL {
            let aside = self
                .inner
                .read(CHECKING, move |connection| kept(connection, table))
                .await?;
            for pk in aside {
                self.inner
                    .write(CHECKING, move |write| put_back(write, table, pk))
                    .await?;
            }
        }
        let mut put_aside = Vec::new();
        for (table, pk) in self.unreadable().await? {
            let done = self
                .inner
                .write(CHECKING, move |write| set_aside(write, table, pk))
                .await?;
            if let Some(record) = done {
                tracing::error!(
                    table = record.table,
                    session = record.session.map(tracing::field::display),
                    reason = record.reason,
                    "a record that cannot be read was put aside; what belongs to it is left alone"
                );
                put_aside.push(record);
            }
        }
        Ok(put_aside)
    }

    /// The rows that cannot be read. Looked for in parts, so that nobody else who reads waits for the whole.
    async fn unreadable(&self) -> Result<Vec<(Table, i64)>> {
        let mut found = Vec::new();
        for table in Table::ALL {
            let mut after = i64::MIN;
            loop {
                let part = self
                    .inner
                    .read(CHECKING, move |connection| unreadable(connection, table, after))
                    .await?;
                found.extend(part.unreadable.into_iter().map(|pk| (table, pk)));
                match part.last {
                    Some(last) => after = last,
                    None => break,
                }
            }
        }
        Ok(found)
    }
}

fn standing(connection: &Connection, session: &SessionId) -> Result<Standing, Failure> {
    const SQL: &str = "SELECT state, quarantined FROM session WHERE id = ?1";
    // Of a record with an unreadable id nobody knows whose it is, so it may be anybody's.
    const NAMELESS: &str = "SELECT count(*) FROM session
        WHERE length(id) <> 36 OR id NOT GLOB '*-*-*-*-*' OR id GLOB '*[^0-9a-f-]*'";
    let found: Option<(String, bool)> = connection
        .prepare_cached(SQL)?
        .query_row([session.to_string()], |row| Ok((text(row, 0)?, row.get(1)?)))
        .optional()?;
    Ok(match found {
        Some((_, true)) => Standing::Unreadable,
        Some((state, false)) => decode("state", &state).map_or(Standing::Unreadable, Standing::Known),
        None => {
            let nameless: i64 = connection
                .prepare_cached(NAMELESS)?
                .query_row([], |row| row.get(0))?;
            if nameless == 0 {
                Standing::Absent
            } else {
                Standing::Unreadable
            }
        }
    })
}

fn list(connection: &Connection) -> Result<Vec<Quarantined>, Failure> {
    const SQL: &str = "SELECT source, session, reason, at, record FROM quarantine ORDER BY pk";
    let mut statement = connection.prepare_cached(SQL)?;
    let rows = statement.query_map([], |row| {
        let session: String = row.get(1)?;
        Ok(Quarantined {
            table: row.get(0)?,
            session: session.parse().ok(),
            reason: row.get(2)?,
            at: stamp(row.get(3)?),
            record: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Rows that were put aside and may be put back.
fn kept(connection: &Connection, table: Table) -> Result<Vec<i64>, Failure> {
    let rows = match table {
        Table::Session => "SELECT pk FROM session WHERE quarantined <> 0",
        Table::Turn => "SELECT pk FROM turn WHERE quarantined <> 0 AND status NOT IN ('queued', 'running')",
        Table::Checkpoint => "SELECT pk FROM checkpoint WHERE quarantined <> 0",
    };
    let mut statement = connection.prepare_cached(rows)?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// What a part of a table was found to have.
struct Part {
    unreadable: Vec<i64>,
    /// The last row that was looked at; `None` when there was none.
    last: Option<i64>,
}

fn unreadable(connection: &Connection, table: Table, after: i64) -> Result<Part, Failure> {
    let rows = match table {
        Table::Session => "SELECT pk FROM session WHERE pk > ?1 AND quarantined = 0 ORDER BY pk LIMIT ?2",
        Table::Turn => "SELECT pk FROM turn WHERE pk > ?1 AND quarantined = 0 ORDER BY pk LIMIT ?2",
        Table::Checkpoint => {
            "SELECT pk FROM checkpoint WHERE pk > ?1 AND quarantined = 0 ORDER BY pk LIMIT ?2"
        }
    };
    let mut statement = connection.prepare_cached(rows)?;
    let keys = statement
        .query_map([after, PART], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<i64>>>()?;
    let mut found = Vec::new();
    for pk in &keys {
        if reason(connection, table, *pk)?.is_some() {
            found.push(*pk);
        }
    }
    Ok(Part {
        unreadable: found,
        last: keys.last().copied(),
    })
}

/// Why a row cannot be read; `None` when it can, or is not there.
fn reason(connection: &Connection, table: Table, pk: i64) -> Result<Option<String>, Failure> {
    let read = match table {
        Table::Session => sessions::probe(connection, pk),
        Table::Turn => turns::probe(connection, pk),
        Table::Checkpoint => checkpoints::probe(connection, pk),
    };
    match read {
        Ok(()) => Ok(None),
        Err(failure) => why(failure).map(Some),
    }
}

/// What is wrong with a record that was not read; the failure itself when it was the store that failed.
fn why(failure: Failure) -> Result<String, Failure> {
    match failure {
        Failure::Refused(error) => Ok(chain(&error)),
        Failure::Sqlite(
            error @ (rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::Utf8Error(..)),
        ) => Ok(error.to_string()),
        failure @ Failure::Sqlite(_) => Err(failure),
    }
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn put_back(write: &mut Write<'_>, table: Table, pk: i64) -> Result<(), Failure> {
    const NOTE: &str = "DELETE FROM quarantine WHERE source = ?1 AND source_pk = ?2";
    if reason(write.connection, table, pk)?.is_some() {
        return Ok(());
    }
    mark(write, table, pk, false)?;
    write.connection.execute(NOTE, params![table.name(), pk])?;
    let session = owner(write.connection, table, pk)?.parse().ok();
    if let Some(session) = session.filter(|_| table == Table::Session) {
        unstick(write, &session)?;
    }
    let what = format!("{}: it can be read again", table.name());
    tell(write, "put_back_record", session, what)
}

/// Lets a session go on whose turn ended while nobody could tell it so.
pub(super) fn unstick(write: &mut Write<'_>, session: &SessionId) -> Result<(), Failure> {
    let Some(head) = readable(Head::find(write.connection, session))?.flatten() else {
        return Ok(());
    };
    let batch = Batch {
        state: next_if_stuck(write.connection, &head)?,
        ..Batch::default()
    };
    if batch.state.is_none() {
        return Ok(());
    }
    sessions::commit(write, session, &batch).map(drop)
}

/// The state of a session that works on a turn and has none.
fn next_if_stuck(connection: &Connection, head: &Head) -> Result<Option<SessionState>, Failure> {
    let stuck = head.state == SessionState::Busy && !turns::has_running(connection, head)?;
    let next = stuck
        .then(|| head.state.after(Transition::TurnEnded))
        .transpose()?;
    Ok(next)
}

fn mark(write: &Write<'_>, table: Table, pk: i64, aside: bool) -> Result<(), Failure> {
    let sql = format!("UPDATE {} SET quarantined = ?2 WHERE pk = ?1", table.name());
    write.connection.execute(&sql, params![pk, aside])?;
    Ok(())
}

fn set_aside(write: &mut Write<'_>, table: Table, pk: i64) -> Result<Option<Quarantined>, Failure> {
    const NOTE: &str = "INSERT INTO quarantine (source, source_pk, session, reason, at, record)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    // Under the lock: somebody may have changed it since it was read.
    let Some(reason) = reason(write.connection, table, pk)? else {
        return Ok(None);
    };
    let session = owner(write.connection, table, pk)?;
    let record = Quarantined {
        table: table.name().to_owned(),
        session: session.parse().ok(),
        reason,
        at: write.now,
        record: row_as_json(write.connection, table, pk)?.to_string(),
    };
    write.connection.execute(
        NOTE,
        params![
            record.table,
            pk,
            session,
            record.reason,
            record.at.as_microsecond(),
            record.record
        ],
    )?;
    mark(write, table, pk, true)?;
    if let Some(session) = record.session.filter(|_| table != Table::Session) {
        mend(write, &session, &record)?;
    }
    let what = format!("{}: {}", record.table, record.reason);
    tell(write, "quarantine_record", record.session, what)?;
    Ok(Some(record))
}

/// Tells of what a session has lost, and lets it go on when that was the turn that ran.
fn mend(write: &mut Write<'_>, session: &SessionId, record: &Quarantined) -> Result<(), Failure> {
    let Some(head) = readable(Head::find(write.connection, session))?.flatten() else {
        return Ok(());
    };
    if head.has_ended() {
        return Ok(());
    }
    let error = ErrorReport {
        code: crate::error::ErrorKind::StoreFailed,
        message: format!("a {} of it could not be read and was put aside", record.table),
        hint: Some("the record is kept in the store's quarantine".to_owned()),
        retryable: false,
    };
    let batch = Batch {
        events: vec![(None, EventKind::Problem { error })],
        state: next_if_stuck(write.connection, &head)?,
        ..Batch::default()
    };
    sessions::commit(write, session, &batch).map(drop)
}

fn tell(
    write: &mut Write<'_>,
    action: &str,
    session: Option<SessionId>,
    detail: String,
) -> Result<(), Failure> {
    let entry = AuditEntry {
        actor: "cofferdam".to_owned(),
        action: action.to_owned(),
        session,
        decision: AuditDecision::Done,
        rule: None,
        detail: Some(detail),
    };
    audit::append(write, &entry).map(drop)
}

fn owner(connection: &Connection, table: Table, pk: i64) -> Result<String, Failure> {
    let id = connection
        .query_row(table.owner(), [pk], |row| text(row, 0))
        .optional()?;
    Ok(id.unwrap_or_default())
}

fn row_as_json(connection: &Connection, table: Table, pk: i64) -> Result<Value, Failure> {
    let sql = format!("SELECT * FROM {} WHERE pk = ?1", table.name());
    let mut statement = connection.prepare(&sql)?;
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let row = statement.query_row([pk], |row| {
        let mut fields = Map::new();
        for (index, name) in names.into_iter().enumerate() {
            fields.insert(name, as_json(row.get_ref(index)?));
        }
        Ok(Value::Object(fields))
    })?;
    Ok(row)
}

fn as_json(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned().into(),
    }
}

/// Leaves a record out that cannot be read.
pub(super) fn readable<T>(read: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match read {
        Ok(record) => Ok(Some(record)),
        Err(failure) => {
            let reason = why(failure)?;
            tracing::debug!(reason, "a record that cannot be read is left out");
            Ok(None)
        }
    }
}

/// The text of a column, as far as it can be read: for a name that is only looked for, and not found when it is damaged.
pub(super) fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => String::new(),
    })
}
