//! What was used of the model: per session and per day, so that budgets hold across processes and restarts.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::Store;
use super::error::{Failure, no_session};
use super::events::{int, uint};
use super::sessions::Head;
use super::writer::Write;
use crate::budget::{Spending, Spent};
use crate::error::Result;
use crate::id::SessionId;

const READING: &str = "read what was used";
const CHARGING: &str = "record what was used";

impl Store {
    /// What was used: by the session, or by all that ever were when `None`; and today by all.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn spent(&self, session: Option<&SessionId>) -> Result<Spent> {
        let session = session.copied();
        self.inner
            .read(READING, move |connection| spent(connection, session.as_ref()))
            .await
    }

    /// Adds to what the session used, and to what all used today.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn charge(&self, session: &SessionId, spending: Spending) -> Result<()> {
        let session = *session;
        self.inner
            .write(CHARGING, move |write| charge(write, &session, &spending))
            .await
    }
}

fn spent(connection: &Connection, session: Option<&SessionId>) -> Result<Spent, Failure> {
    // One snapshot: the session's part is never more than what all used.
    let snapshot = connection.unchecked_transaction()?;
    let used = match session {
        Some(id) => {
            let head = Head::find(&snapshot, id)?.ok_or_else(|| no_session(READING, id))?;
            of_session(&snapshot, head.pk)?
        }
        None => of_all_days(&snapshot)?,
    };
    Ok(Spent {
        session: used,
        today: of_day(&snapshot, day(Timestamp::now()))?,
    })
}

fn charge(write: &Write<'_>, session: &SessionId, spending: &Spending) -> Result<(), Failure> {
    const SESSION: &str = "INSERT OR REPLACE INTO spending (session, requests, input_tokens, output_tokens,
            cache_read_tokens, cache_creation_tokens, cost_microusd, model_ms)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    const DAY: &str = "INSERT OR REPLACE INTO spending_of_day (day, requests, input_tokens, output_tokens,
            cache_read_tokens, cache_creation_tokens, cost_microusd, model_ms)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let head = Head::find(write.connection, session)?.ok_or_else(|| no_session(CHARGING, session))?;
    let today = day(write.now);
    let by_session = of_session(write.connection, head.pk)?.plus(spending);
    let by_all = of_day(write.connection, today)?.plus(spending);
    fail::fail_point!("store.spending.update", |_| Ok(crate::fault::sqlite()?));
    put(write.connection, SESSION, head.pk, &by_session)?;
    put(write.connection, DAY, today, &by_all)
}

fn put(connection: &Connection, sql: &str, key: i64, spending: &Spending) -> Result<(), Failure> {
    connection.prepare_cached(sql)?.execute(params![
        key,
        int(spending.requests),
        int(spending.input_tokens),
        int(spending.output_tokens),
        int(spending.cache_read_tokens),
        int(spending.cache_creation_tokens),
        int(spending.cost_microusd),
        int(spending.model_ms),
    ])?;
    Ok(())
}

fn of_session(connection: &Connection, pk: i64) -> Result<Spending, Failure> {
    const SQL: &str =
        "SELECT requests, input_tokens, output_tokens, cache_read_tokens, cache_creation_tokens,
            cost_microusd, model_ms
        FROM spending WHERE session = ?1";
    one(connection, SQL, pk)
}

fn of_day(connection: &Connection, day: i64) -> Result<Spending, Failure> {
    const SQL: &str =
        "SELECT requests, input_tokens, output_tokens, cache_read_tokens, cache_creation_tokens,
            cost_microusd, model_ms
        FROM spending_of_day WHERE day = ?1";
    one(connection, SQL, day)
}

fn one(connection: &Connection, sql: &str, key: i64) -> Result<Spending, Failure> {
    let found = connection
        .prepare_cached(sql)?
        .query_row([key], read)
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// There are far fewer days than sessions.
fn of_all_days(connection: &Connection) -> Result<Spending, Failure> {
    const SQL: &str =
        "SELECT requests, input_tokens, output_tokens, cache_read_tokens, cache_creation_tokens,
            cost_microusd, model_ms
        FROM spending_of_day";
    let mut statement = connection.prepare_cached(SQL)?;
    let mut sum = Spending::default();
    for day in statement.query_map([], read)? {
        sum = sum.plus(&day?);
    }
    Ok(sum)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Spending> {
    Ok(Spending {
        requests: uint(row.get(0)?),
        input_tokens: uint(row.get(1)?),
        output_tokens: uint(row.get(2)?),
        cache_read_tokens: uint(row.get(3)?),
        cache_creation_tokens: uint(row.get(4)?),
        cost_microusd: uint(row.get(5)?),
        model_ms: uint(row.get(6)?),
    })
}

/// The number of the day in UTC.
fn day(at: Timestamp) -> i64 {
    at.as_second().div_euclid(24 * 60 * 60)
}
