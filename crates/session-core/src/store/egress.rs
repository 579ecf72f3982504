//! What happened at sessions' doors, which hosts wait for a person's word, and what people said.
//!
//! Whatever is denied becomes an event and a request that waits, together; a decision takes the requests that it answers
//! with it. So nobody sees a request that was answered, nor an answer to a request that still waits.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::error::{Failure, no_session};
use super::events::{self, int, stamp, uint};
use super::sessions::Head;
use super::turns;
use super::writer::Write;
use super::{Store, audit};
use crate::audit::act::Due;
use crate::egress::{DecideEgress, EgressDecision, EgressRequest, HostPattern, HostRule};
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventKind;
use crate::id::{SessionId, TurnId};

/// How many hosts of a session wait for a decision; the one that was asked for longest ago goes when there are more.
pub const MAX_WAITING_HOSTS: usize = 256;
/// How many rules may be decided about for one session, and for all.
pub const MAX_DECISIONS: usize = 4096;

const RECORDING: &str = "record what happened at a door";
const DECIDING: &str = "decide about hosts";
const LISTING: &str = "list hosts";

impl Store {
    /// Appends an event of a session's door, to the turn that runs if one does. With `wanted`, the host at that port waits for a decision from then on,
    /// unless there is one. Does nothing for a session that has ended.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn record_at_door(
        &self,
        session: &SessionId,
        event: EventKind,
        wanted: Option<(String, u16)>,
    ) -> Result<()> {
        let session = *session;
        self.inner
            .write(RECORDING, move |write| {
                record(write, &session, &event, wanted.as_ref())
            })
            .await
    }

    /// Keeps a decision, appends `EgressDecided` to the session or, when it is for all, to each that waited for it, and
    /// lets go of the requests that it answers. A decision that stands already stays as it is.
    ///
    /// # Errors
    /// `NotFound`; `StateConflict` for a session that has ended; `LimitExceeded` beyond [`MAX_DECISIONS`].
    pub async fn decide_egress(&self, decision: DecideEgress) -> Result<EgressDecision> {
        self.inner
            .write_told(DECIDING, Due::now(), move |write, due| {
                let decided = decide(write, &decision)?;
                if let Some(due) = due {
                    audit::append(write, &due.entry(decided.session, Some(decided.verdict())))?;
                }
                Ok(decided)
            })
            .await
    }

    /// The decisions that hold for a session; those of and for all sessions when `None`. Newest first.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn egress_decisions(&self, session: Option<&SessionId>) -> Result<Vec<EgressDecision>> {
        let session = session.copied();
        self.inner
            .read(LISTING, move |connection| {
                let pk = session.map(|id| key(connection, &id)).transpose()?;
                decisions(connection, pk)
            })
            .await
    }

    /// The hosts that wait for a decision, of one session or of all; the one that was denied last comes first.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn egress_requests(&self, session: Option<&SessionId>) -> Result<Vec<EgressRequest>> {
        let session = session.copied();
        self.inner
            .read(LISTING, move |connection| {
                let pk = session.map(|id| key(connection, &id)).transpose()?;
                let waiting = waiting(connection, pk)?;
                Ok(waiting.into_iter().map(|(_, request)| request).collect())
            })
            .await
    }
}

fn key(connection: &Connection, id: &SessionId) -> Result<i64, Failure> {
    Ok(Head::find(connection, id)?
        .ok_or_else(|| no_session(LISTING, id))?
        .pk)
}

fn record(
    write: &mut Write<'_>,
    session: &SessionId,
    event: &EventKind,
    wanted: Option<&(String, u16)>,
) -> Result<(), Failure> {
    let mut head = Head::find(write.connection, session)?.ok_or_else(|| no_session(RECORDING, session))?;
    if head.has_ended() {
        return Ok(());
    }
    let turn = turns::running(write.connection, &head)?;
    append(write, &mut head, turn, event.clone())?;
    if let Some((host, port)) = wanted {
        want(write, &head, host, *port)?;
    }
    Ok(())
}

fn append(
    write: &mut Write<'_>,
    head: &mut Head,
    turn: Option<TurnId>,
    event: EventKind,
) -> Result<(), Failure> {
    const SQL: &str = "UPDATE session SET last_event = ?2, updated_at = ?3 WHERE pk = ?1";
    events::append(write, head, turn, event)?;
    write.connection.prepare_cached(SQL)?.execute(params![
        head.pk,
        int(head.last_event),
        write.now.as_microsecond()
    ])?;
    Ok(())
}

fn want(write: &Write<'_>, head: &Head, host: &str, port: u16) -> Result<(), Failure> {
    const UPSERT: &str = "INSERT INTO egress_request (session, host, port, first_at, last_at, times)
        VALUES (?1, ?2, ?3, ?4, ?4, 1)
        ON CONFLICT DO UPDATE SET last_at = excluded.last_at, times = times + 1";
    const TRIM: &str = "DELETE FROM egress_request WHERE session = ?1 AND (host, port) IN (
            SELECT host, port FROM egress_request WHERE session = ?1 ORDER BY last_at DESC, first_at DESC
            LIMIT -1 OFFSET ?2)";
    // What no rule could allow is not to be decided about.
    let (Ok(narrowest), 1..) = (HostRule::exact(host, port), port) else {
        return Ok(());
    };
    let HostPattern::Exact(host) = narrowest.host() else {
        return Ok(());
    };
    // Whoever was denied may have been judged before somebody decided, and tell of it after.
    let decided = decisions(write.connection, Some(head.pk))?;
    if decided.iter().any(|decision| decision.rule.matches(host, port)) {
        return Ok(());
    }
    write.connection.prepare_cached(UPSERT)?.execute(params![
        head.pk,
        host,
        port,
        write.now.as_microsecond()
    ])?;
    write
        .connection
        .prepare_cached(TRIM)?
        .execute(params![head.pk, int(MAX_WAITING_HOSTS as u64)])?;
    Ok(())
}

/// Forgets what a session that has ended was waiting for.
pub(super) fn forget_requests(write: &Write<'_>, head: &Head) -> Result<(), Failure> {
    const SQL: &str = "DELETE FROM egress_request WHERE session = ?1";
    write.connection.prepare_cached(SQL)?.execute([head.pk])?;
    Ok(())
}

fn decide(write: &mut Write<'_>, decision: &DecideEgress) -> Result<EgressDecision, Failure> {
    let head = decision
        .session
        .as_ref()
        .map(|id| live(write.connection, id))
        .transpose()?;
    let scope = head.as_ref().map(|head| head.pk);
    let answered = answer(write, scope, &decision.rule)?;
    if let Some(at) = standing(write.connection, scope, decision)? {
        return Ok(decision.given(stamp(at)));
    }
    keep(write, scope, decision)?;
    let concerned = head.map_or(answered, |head| vec![head]);
    for mut head in concerned {
        let event = EventKind::EgressDecided {
            rule: decision.rule.clone(),
            allow: decision.allow,
            for_all: decision.session.is_none(),
        };
        append(write, &mut head, None, event)?;
    }
    Ok(decision.given(write.now))
}

fn live(connection: &Connection, id: &SessionId) -> Result<Head, Failure> {
    let head = Head::find(connection, id)?.ok_or_else(|| no_session(DECIDING, id))?;
    if head.has_ended() {
        return Err(Failure::Refused(
            Error::new(ErrorKind::StateConflict, DECIDING, "the session has ended")
                .with_context("session", id)
                .with_context("state", head.state.name().as_str())
                .with_hint("decide for all sessions instead, to have it hold for the next ones"),
        ));
    }
    Ok(head)
}

/// Takes away what waits and is meant by the rule. Answers with the sessions that waited.
fn answer(write: &Write<'_>, scope: Option<i64>, rule: &HostRule) -> Result<Vec<Head>, Failure> {
    const SQL: &str = "DELETE FROM egress_request WHERE session = ?1 AND host = ?2 AND port = ?3";
    let mut sessions: Vec<Head> = Vec::new();
    for (pk, request) in waiting(write.connection, scope)? {
        if !rule.matches(&request.host, request.port) {
            continue;
        }
        write
            .connection
            .prepare_cached(SQL)?
            .execute(params![pk, request.host, request.port])?;
        if !sessions.iter().any(|head| head.pk == pk)
            && let Some(head) = Head::find(write.connection, &request.session)?
        {
            sessions.push(head);
        }
    }
    Ok(sessions)
}

/// When the same was decided before, and still holds.
fn standing(
    connection: &Connection,
    scope: Option<i64>,
    decision: &DecideEgress,
) -> Result<Option<i64>, Failure> {
    const SQL: &str = "SELECT at FROM egress_decision WHERE session IS ?1 AND rule = ?2 AND allow = ?3";
    Ok(connection
        .prepare_cached(SQL)?
        .query_row(params![scope, decision.rule.to_string(), decision.allow], |row| {
            row.get(0)
        })
        .optional()?)
}

fn keep(write: &Write<'_>, scope: Option<i64>, decision: &DecideEgress) -> Result<(), Failure> {
    const REPLACED: &str = "DELETE FROM egress_decision WHERE session IS ?1 AND rule = ?2";
    const COUNT: &str = "SELECT count(*) FROM egress_decision WHERE session IS ?1";
    const SQL: &str = "INSERT INTO egress_decision (session, rule, allow, at) VALUES (?1, ?2, ?3, ?4)";
    let (connection, rule) = (write.connection, decision.rule.to_string());
    connection
        .prepare_cached(REPLACED)?
        .execute(params![scope, rule])?;
    let known: i64 = connection
        .prepare_cached(COUNT)?
        .query_row([scope], |row| row.get(0))?;
    if uint(known) >= MAX_DECISIONS as u64 {
        return Err(Failure::Refused(
            Error::new(
                ErrorKind::LimitExceeded,
                DECIDING,
                "there are too many decisions already",
            )
            .with_context("limit", MAX_DECISIONS)
            .with_retryable(false)
            .with_hint("use a wildcard such as *.example.com, or a preset, instead of single hosts"),
        ));
    }
    connection.prepare_cached(SQL)?.execute(params![
        scope,
        rule,
        decision.allow,
        write.now.as_microsecond()
    ])?;
    Ok(())
}

fn decisions(connection: &Connection, scope: Option<i64>) -> Result<Vec<EgressDecision>, Failure> {
    const SQL: &str = "SELECT session.id, rule, allow, at
        FROM egress_decision LEFT JOIN session ON session.pk = egress_decision.session
        WHERE coalesce(session.quarantined, 0) = 0
            AND (?1 IS NULL OR egress_decision.session IS NULL OR egress_decision.session = ?1)
        ORDER BY egress_decision.pk DESC";
    let mut statement = connection.prepare_cached(SQL)?;
    let mut rows = statement.query([scope])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let session: Option<String> = row.get(0)?;
        found.push(EgressDecision {
            session: session.map(|id| id.parse()).transpose()?,
            rule: rule(row, 1)?,
            allow: row.get(2)?,
            at: stamp(row.get(3)?),
        });
    }
    Ok(found)
}

fn waiting(connection: &Connection, scope: Option<i64>) -> Result<Vec<(i64, EgressRequest)>, Failure> {
    const SQL: &str = "SELECT session.pk, session.id, host, port, first_at, last_at, times
        FROM egress_request JOIN session ON session.pk = egress_request.session
        WHERE session.quarantined = 0 AND (?1 IS NULL OR egress_request.session = ?1)
        ORDER BY last_at DESC, first_at DESC";
    let mut statement = connection.prepare_cached(SQL)?;
    let mut rows = statement.query([scope])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, host, port): (String, String, u16) = (row.get(1)?, row.get(2)?, row.get(3)?);
        let request = EgressRequest {
            session: id.parse::<SessionId>()?,
            rule: HostRule::exact(&host, port)?,
            host,
            port,
            first_at: stamp(row.get(4)?),
            last_at: stamp(row.get(5)?),
            times: uint(row.get(6)?),
        };
        found.push((row.get(0)?, request));
    }
    Ok(found)
}

fn rule(row: &Row<'_>, column: usize) -> Result<HostRule, Failure> {
    Ok(row
        .get_ref(column)?
        .as_str()
        .unwrap_or_default()
        .parse::<HostRule>()?)
}
