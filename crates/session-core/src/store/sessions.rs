//! Sessions: their records, and the changes to one that become true together.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use secrecy::{ExposeSecret as _, SecretString};

use super::error::{Failure, decode, encode, no_session};
use super::events::{self, int, stamp, uint};
use super::types::{AgentRecord, Batch, Inserted, RecoveryRecord, SessionRecord};
use super::writer::Write;
use super::{audit, commands, egress, quarantine, turns};
use crate::error::{Error, ErrorKind};
use crate::event::{Event, EventKind};
use crate::id::{ContainerName, SessionId};
use crate::session::{SessionFilter, SessionInfo};
use crate::state::{SessionState, StateName};

const CHANGING: &str = "change the session's record";

/// What has to be known of a session to change it.
pub(super) struct Head {
    pub(super) pk: i64,
    pub(super) id: SessionId,
    pub(super) last_event: u64,
    pub(super) state: SessionState,
}

impl Head {
    pub(super) fn find(connection: &Connection, id: &SessionId) -> Result<Option<Self>, Failure> {
        const SQL: &str = "SELECT pk, last_event, state FROM session WHERE id = ?1 AND quarantined = 0";
        let found: Option<(i64, i64, String)> = connection
            .prepare_cached(SQL)?
            .query_row([id.to_string()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        let Some((pk, last_event, state)) = found else {
            return Ok(None);
        };
        Ok(Some(Self {
            pk,
            id: *id,
            last_event: uint(last_event),
            state: decode("state", &state)?,
        }))
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state.has_ended()
    }
}

/// Records a session, or finds the one that the same request made before.
pub(super) fn insert(write: &Write<'_>, record: &SessionRecord) -> Result<Inserted, Failure> {
    const SQL: &str = "INSERT INTO session (id, info, state, ended, updated_at, turns, last_event, cost_usd, token,
            request_digest, idempotency_key, agent_process, agent_offset, agent_conversation, agent_stdin_key, base_tree,
            agent_tools, agent_owner, lease_until, container_id, recovery_attempts, recovery_after, expiry, timers,
            filling, boot_id)
        VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, 0, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22,
            ?23)";
    if let Some(key) = &record.idempotency_key
        && let Some(existing) = of_request(write.connection, key, record.request_digest.as_deref())?
    {
        return Ok(Inserted::Existing(existing));
    }
    fail::fail_point!("store.session.insert", |_| Ok(crate::fault::sqlite()?));
    let agent = &record.agent;
    write.connection.prepare_cached(SQL)?.execute(params![
        record.info.id.to_string(),
        encode(&record.info)?,
        encode(&record.info.state)?,
        record.info.state.has_ended(),
        record.info.updated_at.as_microsecond(),
        record.token.expose_secret(),
        record.request_digest,
        record.idempotency_key,
        agent.process,
        int(agent.offset),
        agent.conversation,
        int(agent.stdin_key),
        record.base_tree,
        encode(&agent.tools)?,
        int(agent.owner),
        record.info.lease_until.map(Timestamp::as_microsecond),
        record.container_id,
        record.recovery.attempts,
        record.recovery.not_before.map(Timestamp::as_microsecond),
        record.expiry.as_ref().map(encode).transpose()?,
        record.timers,
        record.filling,
        record.boot_id,
    ])?;
    Ok(Inserted::New)
}

/// The same idempotency key came with another request.
pub(super) fn key_taken(operation: &'static str) -> Failure {
    Failure::Refused(
        Error::new(
            ErrorKind::IdempotencyMismatch,
            operation,
            "its idempotency key was used before for a different request",
        )
        .with_hint("use a new key for a new request, and repeat a request unchanged"),
    )
}

// `write_record` and `read` know the order.
const COLUMNS: &str = "info, state, updated_at, turns, last_event, cost_usd, token, request_digest, idempotency_key, \
                       agent_process, agent_offset, agent_conversation, agent_stdin_key, base_tree, \
                       agent_tools, agent_owner, lease_until, container_id, recovery_attempts, recovery_after, \
                       expiry, timers, filling, boot_id";

/// One session.
pub(super) fn get(connection: &Connection, id: &SessionId) -> Result<Option<SessionRecord>, Failure> {
    one(
        connection,
        &format!("SELECT {COLUMNS} FROM session WHERE id = ?1 AND quarantined = 0"),
        &id.to_string(),
    )
}

/// Whether a session was made with this key.
pub(super) fn has_key(connection: &Connection, key: &str) -> Result<bool, Failure> {
    const SQL: &str = "SELECT 1 FROM session WHERE idempotency_key = ?1";
    Ok(connection.prepare_cached(SQL)?.exists([key])?)
}

/// The session that a request with this key made before.
pub(super) fn of_request(
    connection: &Connection,
    key: &str,
    digest: Option<&str>,
) -> Result<Option<SessionRecord>, Failure> {
    let sql = format!("SELECT {COLUMNS} FROM session WHERE idempotency_key = ?1");
    match one(connection, &sql, key)? {
        Some(existing) if existing.request_digest.as_deref() != digest => {
            Err(key_taken("create the session"))
        }
        found => Ok(found),
    }
}

fn one(connection: &Connection, sql: &str, key: &str) -> Result<Option<SessionRecord>, Failure> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([key])?;
    rows.next()?.map(read).transpose()
}

/// Sessions, newest first.
pub(super) fn list(connection: &Connection, filter: &SessionFilter) -> Result<Vec<SessionRecord>, Failure> {
    let live = if filter.all {
        "WHERE quarantined = 0"
    } else {
        "WHERE ended = 0 AND quarantined = 0"
    };
    let sql = format!("SELECT {COLUMNS} FROM session {live} ORDER BY pk DESC");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        if let Some(record) = quarantine::readable(read(row))?
            && filter.fits(&record.info)
        {
            found.push(record);
        }
    }
    Ok(found)
}

/// Whether a row can be read.
pub(super) fn probe(connection: &Connection, pk: i64) -> Result<(), Failure> {
    let sql = format!("SELECT {COLUMNS}, id FROM session WHERE pk = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([pk])?;
    let Some(row) = rows.next()? else {
        return Ok(());
    };
    let id: String = row.get("id")?;
    let record = read(row)?;
    if record.info.id.to_string() == id {
        return Ok(());
    }
    Err(Failure::Refused(
        Error::new(
            ErrorKind::StoreFailed,
            "read the store",
            "a record is under the id of another one",
        )
        .with_context("its id", record.info.id)
        .with_retryable(false),
    ))
}

fn read(row: &Row<'_>) -> Result<SessionRecord, Failure> {
    let text = |column| {
        row.get_ref(column)
            .map(|value| value.as_str().unwrap_or_default())
    };
    let mut info: SessionInfo = decode("session", text(0)?)?;
    info.state = decode("state", text(1)?)?;
    info.updated_at = stamp(row.get(2)?);
    info.turns = uint(row.get(3)?);
    info.last_event = uint(row.get(4)?);
    info.cost_usd = row.get(5)?;
    info.lease_until = row.get::<_, Option<i64>>(16)?.map(stamp);
    let expiry: Option<String> = row.get(20)?;
    Ok(SessionRecord {
        container: ContainerName::of(&info.id),
        info,
        token: SecretString::from(row.get::<_, String>(6)?),
        request_digest: row.get(7)?,
        idempotency_key: row.get(8)?,
        agent: AgentRecord {
            process: row.get(9)?,
            offset: uint(row.get(10)?),
            conversation: row.get(11)?,
            stdin_key: uint(row.get(12)?),
            tools: decode("agent", text(14)?)?,
            owner: uint(row.get(15)?),
        },
        base_tree: row.get(13)?,
        container_id: row.get(17)?,
        recovery: RecoveryRecord {
            attempts: row.get(18)?,
            not_before: row.get::<_, Option<i64>>(19)?.map(stamp),
        },
        expiry: expiry.map(|cause| decode("expiry", &cause)).transpose()?,
        timers: row.get(21)?,
        filling: row.get(22)?,
        boot_id: row.get(23)?,
    })
}

/// Makes all of `batch` true, or nothing of it.
pub(super) fn commit(write: &mut Write<'_>, id: &SessionId, batch: &Batch) -> Result<Vec<Event>, Failure> {
    let mut head = Head::find(write.connection, id)?.ok_or_else(|| no_session(CHANGING, id))?;
    expect_state(&head, batch.expect_state)?;
    if batch.expect_no_turns {
        turns::expect_none(write, &head)?;
    }
    if let Some(until) = batch.expect_lease_until {
        expect_lease(write, &head, until)?;
    }
    let change = batch
        .turn
        .as_ref()
        .map(|update| turns::update(write, &head, update, batch.expect_turn))
        .transpose()?
        .unwrap_or_default();
    let state_changed = batch
        .state
        .clone()
        .map(|to| (None, EventKind::StateChanged { to }));
    let kinds = change
        .started
        .into_iter()
        .chain(batch.events.iter().cloned())
        .chain(change.finished)
        .chain(state_changed);
    let mut stored = Vec::with_capacity(batch.events.len() + 2);
    for (turn, kind) in kinds {
        stored.push(events::append(write, &mut head, turn, kind)?);
    }
    fail::fail_point!("store.head.update", |_| Ok(crate::fault::sqlite()?));
    store_head(write, &head, batch, change.cost_usd)?;
    if let Some(agent) = &batch.agent {
        store_agent(write, &head, agent)?;
    }
    for entry in &batch.audit {
        audit::append(write, entry)?;
    }
    if batch.state.as_ref().is_some_and(SessionState::has_ended) {
        egress::forget_requests(write, &head)?;
        commands::forget(write, &head)?;
    }
    Ok(stored)
}

fn expect_state(head: &Head, expected: Option<StateName>) -> Result<(), Failure> {
    let found = head.state.name();
    match expected {
        Some(expected) if expected != found => Err(Failure::Refused(
            Error::new(
                ErrorKind::StateConflict,
                CHANGING,
                "its state was changed meanwhile",
            )
            .with_context("session", head.id)
            .with_context("expected", expected.as_str())
            .with_context("found", found.as_str())
            .with_hint("look at the session again and decide anew"),
        )),
        _ => Ok(()),
    }
}

fn expect_lease(write: &Write<'_>, head: &Head, until: Timestamp) -> Result<(), Failure> {
    const SQL: &str = "SELECT lease_until FROM session WHERE pk = ?1";
    let found: Option<i64> = write
        .connection
        .prepare_cached(SQL)?
        .query_row([head.pk], |row| row.get(0))?;
    if found == Some(until.as_microsecond()) {
        return Ok(());
    }
    Err(Failure::Refused(
        Error::new(
            ErrorKind::StateConflict,
            CHANGING,
            "its lease was renewed meanwhile",
        )
        .with_context("session", head.id)
        .with_hint("look at the session again and decide anew"),
    ))
}

fn store_head(write: &Write<'_>, head: &Head, batch: &Batch, cost_usd: f64) -> Result<(), Failure> {
    const SQL: &str = "UPDATE session SET last_event = ?2, updated_at = ?3, state = coalesce(?4, state),
            ended = coalesce(?5, ended), cost_usd = cost_usd + ?6, base_tree = coalesce(?7, base_tree),
            container_id = coalesce(?8, container_id), lease_until = coalesce(?9, lease_until),
            expiry = coalesce(?10, expiry), filling = coalesce(?11, filling), boot_id = coalesce(?12, boot_id)
        WHERE pk = ?1";
    const RECOVERY: &str = "UPDATE session SET recovery_attempts = ?2, recovery_after = ?3 WHERE pk = ?1";
    write.connection.prepare_cached(SQL)?.execute(params![
        head.pk,
        int(head.last_event),
        write.now.as_microsecond(),
        batch.state.as_ref().map(encode).transpose()?,
        batch.state.as_ref().map(SessionState::has_ended),
        cost_usd,
        batch.base_tree,
        batch.container_id,
        batch.lease_until.map(Timestamp::as_microsecond),
        batch.expiry.as_ref().map(encode).transpose()?,
        batch.filling,
        batch.boot_id,
    ])?;
    if let Some(recovery) = &batch.recovery {
        write.connection.prepare_cached(RECOVERY)?.execute(params![
            head.pk,
            recovery.attempts,
            recovery.not_before.map(Timestamp::as_microsecond),
        ])?;
    }
    Ok(())
}

fn store_agent(write: &Write<'_>, head: &Head, agent: &AgentRecord) -> Result<(), Failure> {
    const SQL: &str = "UPDATE session SET agent_process = ?2, agent_offset = ?3, agent_conversation = ?4,
            agent_stdin_key = ?5, agent_tools = ?6
        WHERE pk = ?1 AND agent_owner = ?7";
    fail::fail_point!("store.agent.update", |_| Ok(crate::fault::sqlite()?));
    let changed = write.connection.prepare_cached(SQL)?.execute(params![
        head.pk,
        agent.process,
        int(agent.offset),
        agent.conversation,
        int(agent.stdin_key),
        encode(&agent.tools)?,
        int(agent.owner),
    ])?;
    if changed == 1 {
        return Ok(());
    }
    Err(Failure::Refused(
        Error::new(ErrorKind::Busy, CHANGING, "its agent has another owner since")
            .with_context("session", head.id)
            .with_hint("take the agent again and go on from what is stored"),
    ))
}

/// Counts one owner more.
pub(super) fn take_agent(write: &Write<'_>, id: &SessionId) -> Result<Option<SessionRecord>, Failure> {
    const SQL: &str = "UPDATE session SET agent_owner = agent_owner + 1 WHERE id = ?1";
    write.connection.prepare_cached(SQL)?.execute([id.to_string()])?;
    get(write.connection, id)
}

/// Saves what the timers of these sessions have counted. Those that are not there any more are left out.
pub(super) fn save_timers(write: &Write<'_>, timers: &[(SessionId, String)]) -> Result<(), Failure> {
    const SQL: &str = "UPDATE session SET timers = ?2 WHERE id = ?1 AND ended = 0";
    for (id, counted) in timers {
        write
            .connection
            .prepare_cached(SQL)?
            .execute(params![id.to_string(), counted])?;
    }
    Ok(())
}
