//! Turns: queued in order, at most one of a session running, each ended once.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::error::{Failure, decode, encode, no_session};
use super::events::{self, int, stamp, uint};
use super::sessions::{Head, key_taken};
use super::types::{Accepted, NewTurn, TurnUpdate};
use super::writer::Write;
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;
use crate::id::{SessionId, TurnId};
use crate::state::Operation;
use crate::turn::{TurnInfo, TurnOutcome, TurnStatus};

/// How many turns of a session may wait.
pub const MAX_WAITING_TURNS: usize = 100;

const QUEUEING: &str = "accept the prompt";
const UPDATING: &str = "change the turn";

const COLUMNS: &str = "id, status, prompt, first_event, created_at, time_limit_ms, outcome, tools";

/// Queues a turn, or finds the one that the same request queued before.
pub(super) fn insert(
    write: &mut Write<'_>,
    session: &SessionId,
    turn: &NewTurn,
) -> Result<Accepted, Failure> {
    const SQL: &str = "INSERT INTO turn (session, id, status, prompt, idempotency_key, time_limit_ms, first_event, created_at,
            tools)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    const COUNT: &str =
        "UPDATE session SET turns = turns + 1, last_event = ?2, updated_at = ?3 WHERE pk = ?1";
    let mut head = Head::find(write.connection, session)?.ok_or_else(|| no_session(QUEUEING, session))?;
    if let Some(existing) = by_key(write.connection, &head, turn)? {
        return Ok(Accepted::Existing(existing));
    }
    // Under the same lock as the insertion: nothing is queued for a session that has just been destroyed.
    head.state
        .permits(Operation::Prompt)
        .map_err(|refusal| refusal.with_context("session", session))?;
    check_room(write.connection, &head)?;
    let queued = EventKind::TurnQueued {
        prompt: turn.prompt.clone(),
    };
    let first = events::append(write, &mut head, Some(turn.id), queued)?;
    let info = TurnInfo {
        id: turn.id,
        session: *session,
        status: TurnStatus::Queued,
        prompt: turn.prompt.clone(),
        tools: turn.tools.clone(),
        first_event: first.seq,
        created_at: write.now,
        time_limit_ms: turn
            .time_limit
            .map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
        outcome: None,
    };
    fail::fail_point!("store.turn.insert", |_| Ok(crate::fault::sqlite()?));
    write.connection.prepare_cached(SQL)?.execute(params![
        head.pk,
        info.id.to_string(),
        name(info.status),
        info.prompt,
        turn.idempotency_key,
        info.time_limit_ms.map(int),
        int(info.first_event),
        info.created_at.as_microsecond(),
        encode(&info.tools)?,
    ])?;
    write.connection.prepare_cached(COUNT)?.execute(params![
        head.pk,
        int(head.last_event),
        write.now.as_microsecond()
    ])?;
    Ok(Accepted::New(info))
}

fn by_key(connection: &Connection, head: &Head, turn: &NewTurn) -> Result<Option<TurnInfo>, Failure> {
    let Some(key) = &turn.idempotency_key else {
        return Ok(None);
    };
    let sql = format!("SELECT {COLUMNS}, quarantined FROM turn WHERE session = ?1 AND idempotency_key = ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![head.pk, key])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    if row.get("quarantined")? {
        return Err(put_aside(head));
    }
    let existing = read(&head.id, row)?;
    if existing.prompt == turn.prompt && existing.tools == turn.tools {
        Ok(Some(existing))
    } else {
        Err(key_taken(QUEUEING))
    }
}

/// Whether the prompt was run cannot be told any more, so it is not run again.
fn put_aside(head: &Head) -> Failure {
    Failure::Refused(
        Error::new(
            ErrorKind::StoreFailed,
            QUEUEING,
            "the turn of this idempotency key could not be read and was put aside",
        )
        .with_context("session", head.id)
        .with_retryable(false)
        .with_hint("see in the session's diff whether it was run; send it with a new key if it was not"),
    )
}

/// The turn that runs.
pub(super) fn running(connection: &Connection, head: &Head) -> Result<Option<TurnId>, Failure> {
    const SQL: &str = "SELECT id FROM turn WHERE session = ?1 AND status = 'running' AND quarantined = 0";
    let found: Option<String> = connection
        .prepare_cached(SQL)?
        .query_row([head.pk], |row| row.get(0))
        .optional()?;
    Ok(found.map(|id| id.parse()).transpose()?)
}

/// Whether a turn runs, also one that cannot be read.
pub(super) fn has_running(connection: &Connection, head: &Head) -> Result<bool, Failure> {
    const SQL: &str = "SELECT 1 FROM turn WHERE session = ?1 AND status = 'running' AND quarantined = 0";
    Ok(connection.prepare_cached(SQL)?.exists([head.pk])?)
}

fn check_room(connection: &Connection, head: &Head) -> Result<(), Failure> {
    const SQL: &str =
        "SELECT count(*) FROM turn WHERE session = ?1 AND status = 'queued' AND quarantined = 0";
    let waiting: i64 = connection
        .prepare_cached(SQL)?
        .query_row([head.pk], |row| row.get(0))?;
    if uint(waiting) < MAX_WAITING_TURNS as u64 {
        return Ok(());
    }
    Err(Failure::Refused(
        Error::new(ErrorKind::LimitExceeded, QUEUEING, "too many turns wait already")
            .with_context("session", head.id)
            .with_context("waiting", waiting)
            .with_retryable(true)
            .with_hint("wait until some have ended, or interrupt the session"),
    ))
}

/// What the start or end of a turn adds to its session.
#[derive(Default)]
pub(super) struct Change {
    pub(super) started: Option<(Option<TurnId>, EventKind)>,
    pub(super) finished: Option<(Option<TurnId>, EventKind)>,
    pub(super) cost_usd: f64,
}

/// Starts or ends a turn.
pub(super) fn update(
    write: &Write<'_>,
    head: &Head,
    update: &TurnUpdate,
    expected: Option<TurnStatus>,
) -> Result<Change, Failure> {
    const SQL: &str = "UPDATE turn SET status = ?2, outcome = ?3 WHERE id = ?1";
    let status = current_status(write.connection, head, &update.id)?;
    if expected.is_some_and(|expected| expected != status) {
        return Err(conflict(head, &update.id, "it was started or ended meanwhile"));
    }
    let (mut change, mut outcome) = (Change::default(), None);
    match (&update.outcome, update.status) {
        (None, TurnStatus::Running) => {
            check_start(write.connection, head, &update.id, status)?;
            change.started = Some((Some(update.id), EventKind::TurnStarted));
        }
        (Some(ended), new) if new.is_ended() => {
            if status.is_ended() {
                return Err(conflict(head, &update.id, "it has ended already"));
            }
            let ended = TurnOutcome {
                status: new,
                cost_usd: ended.cost_usd.filter(|cost| cost.is_finite()),
                ..ended.clone()
            };
            change.cost_usd = ended.cost_usd.unwrap_or_default();
            outcome = Some(encode(&ended)?);
            change.finished = Some((Some(update.id), EventKind::TurnFinished { outcome: ended }));
        }
        _ => {
            return Err(Failure::Refused(Error::new(
                ErrorKind::InvalidArgument,
                UPDATING,
                "a turn starts without an outcome and ends with one",
            )));
        }
    }
    fail::fail_point!("store.turn.update", |_| Ok(crate::fault::sqlite()?));
    write.connection.prepare_cached(SQL)?.execute(params![
        update.id.to_string(),
        name(update.status),
        outcome
    ])?;
    Ok(change)
}

fn current_status(connection: &Connection, head: &Head, turn: &TurnId) -> Result<TurnStatus, Failure> {
    const SQL: &str = "SELECT status FROM turn WHERE session = ?1 AND id = ?2 AND quarantined = 0";
    let status: Option<String> = connection
        .prepare_cached(SQL)?
        .query_row(params![head.pk, turn.to_string()], |row| row.get(0))
        .optional()?;
    let status = status.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, UPDATING, "there is no such turn").with_context("turn", turn)
    })?;
    parse_status(&status)
}

fn check_start(
    connection: &Connection,
    head: &Head,
    turn: &TurnId,
    status: TurnStatus,
) -> Result<(), Failure> {
    if status != TurnStatus::Queued {
        return Err(conflict(head, turn, "it does not wait any more"));
    }
    if has_running(connection, head)? {
        return Err(conflict(head, turn, "another one runs"));
    }
    Ok(())
}

/// Refuses when a turn waits or runs.
pub(super) fn expect_none(write: &Write<'_>, head: &Head) -> Result<(), Failure> {
    const SQL: &str = "SELECT EXISTS (SELECT 1 FROM turn WHERE session = ?1 AND status IN ('queued', 'running') AND quarantined = 0)";
    let works: bool = write
        .connection
        .prepare_cached(SQL)?
        .query_row([head.pk], |row| row.get(0))?;
    if !works {
        return Ok(());
    }
    Err(Failure::Refused(
        Error::new(
            ErrorKind::StateConflict,
            "change the session's record",
            "a turn waits or runs",
        )
        .with_context("session", head.id)
        .with_hint("wait until the session has nothing to do"),
    ))
}

fn conflict(head: &Head, turn: &TurnId, message: &'static str) -> Failure {
    Failure::Refused(
        Error::new(ErrorKind::StateConflict, UPDATING, message)
            .with_context("session", head.id)
            .with_context("turn", turn)
            .with_hint("look at the session's turns again and decide anew"),
    )
}

/// Which turns of a session to read.
#[derive(Clone, Copy)]
pub(super) enum Which {
    All,
    One(TurnId),
    NextQueued,
    Running,
}

/// Turns of a session, oldest first. A session that does not exist has none.
pub(super) fn select(
    connection: &Connection,
    session: &SessionId,
    which: Which,
) -> Result<Vec<TurnInfo>, Failure> {
    let Some(head) = Head::find(connection, session)? else {
        return Ok(Vec::new());
    };
    let (condition, turn) = match which {
        Which::All => ("ORDER BY pk", None),
        Which::One(turn) => ("AND id = ?2", Some(turn.to_string())),
        Which::NextQueued => ("AND status = 'queued' ORDER BY pk LIMIT 1", None),
        Which::Running => ("AND status = 'running'", None),
    };
    let sql = format!("SELECT {COLUMNS} FROM turn WHERE session = ?1 AND quarantined = 0 {condition}");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = match turn {
        Some(turn) => statement.query(params![head.pk, turn])?,
        None => statement.query([head.pk])?,
    };
    let mut turns = Vec::new();
    while let Some(row) = rows.next()? {
        turns.push(read(session, row)?);
    }
    Ok(turns)
}

/// Whether a row can be read.
pub(super) fn probe(connection: &Connection, pk: i64) -> Result<(), Failure> {
    let sql = format!("SELECT {COLUMNS} FROM turn WHERE pk = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([pk])?;
    match rows.next()? {
        // Whose it is does not matter for that.
        Some(row) => read(&SessionId::new(), row).map(drop),
        None => Ok(()),
    }
}

fn read(session: &SessionId, row: &Row<'_>) -> Result<TurnInfo, Failure> {
    let id: String = row.get(0)?;
    let status: String = row.get(1)?;
    let outcome: Option<String> = row.get(6)?;
    let tools: String = row.get(7)?;
    Ok(TurnInfo {
        id: id.parse()?,
        session: *session,
        status: parse_status(&status)?,
        prompt: row.get(2)?,
        tools: decode("tools", &tools)?,
        first_event: uint(row.get(3)?),
        created_at: stamp(row.get(4)?),
        time_limit_ms: row.get::<_, Option<i64>>(5)?.map(uint),
        outcome: outcome.map(|outcome| decode("outcome", &outcome)).transpose()?,
    })
}

/// A status as it is stored.
fn name(status: TurnStatus) -> &'static str {
    match status {
        TurnStatus::Queued => "queued",
        TurnStatus::Running => "running",
        TurnStatus::Succeeded => "succeeded",
        TurnStatus::Failed => "failed",
        TurnStatus::Interrupted => "interrupted",
    }
}

fn parse_status(text: &str) -> Result<TurnStatus, Failure> {
    [
        TurnStatus::Queued,
        TurnStatus::Running,
        TurnStatus::Succeeded,
        TurnStatus::Failed,
        TurnStatus::Interrupted,
    ]
    .into_iter()
    .find(|status| name(*status) == text)
    .ok_or_else(|| {
        Failure::Refused(
            Error::new(
                ErrorKind::StoreFailed,
                "read the store",
                "a stored value is not readable",
            )
            .with_context("value", "turn status")
            .with_retryable(false),
        )
    })
}
