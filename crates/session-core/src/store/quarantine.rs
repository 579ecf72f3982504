//! Records that cannot be read: told apart from those that are not there, and put aside one by one.

use rusqlite::{Connection, OptionalExtension as _};

use super::Store;
use super::error::{Failure, decode};
use super::events::stamp;
use super::types::{Quarantined, Standing};
use crate::error::Result;
use crate::id::SessionId;

const STANDING: &str = "read the session's standing";
const LISTING: &str = "list the quarantine";

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
}

fn standing(connection: &Connection, session: &SessionId) -> Result<Standing, Failure> {
    const SQL: &str = "SELECT state, quarantined FROM session WHERE id = ?1";
    let found: Option<(String, bool)> = connection
        .prepare_cached(SQL)?
        .query_row([session.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(match found {
        Some((_, true)) => Standing::Unreadable,
        Some((state, false)) => decode("state", &state).map_or(Standing::Unreadable, Standing::Known),
        None => Standing::Absent,
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
