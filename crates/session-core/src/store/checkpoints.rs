//! Checkpoints: which there are, and which content is still wanted. The content itself is in files beside the store.
//!
//! A row is there before anybody is told of its checkpoint, and its file is there before the row; the other way round
//! when they go. So what a row names can always be read, and a file that no row names is garbage once it is old enough
//! that nobody is about to write the row.

use std::collections::HashSet;

use rusqlite::{Connection, Row, params};

use super::error::{Failure, decode, encode, no_session};
use super::events::{self, int, stamp, uint};
use super::sessions::Head;
use super::writer::Write;
use super::{Store, quarantine};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, EventKind};
use crate::id::{CheckpointId, SessionId};

const KEEPING: &str = "keep the checkpoint";
const LISTING: &str = "list the checkpoints";
const FORGETTING: &str = "forget checkpoints";

const COLUMNS: &str = "id, turn, cause, at, base, sha256, bytes, files";

impl Store {
    /// Keeps a checkpoint whose file is on the disk already, and appends its `CheckpointTaken`, which is the answer. `lock`
    /// keeps the file from being taken for garbage: it is held until the row is there, or will never be, whether or not the
    /// caller waits for that.
    ///
    /// # Errors
    /// `NotFound`; `StateConflict` when the session has ended.
    pub(crate) async fn keep_checkpoint(
        &self,
        checkpoint: Checkpoint,
        lock: impl Send + 'static,
    ) -> Result<Event> {
        self.inner
            .write(KEEPING, move |write| {
                let _held = &lock;
                insert(write, &checkpoint)
            })
            .await
    }

    /// The same while nobody collects garbage.
    #[cfg(test)]
    pub(crate) async fn insert_checkpoint(&self, checkpoint: Checkpoint) -> Result<Event> {
        self.keep_checkpoint(checkpoint, ()).await
    }

    /// The checkpoints of a session, newest first, also of one that has ended.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn checkpoints(&self, session: &SessionId) -> Result<Vec<Checkpoint>> {
        let session = *session;
        self.inner
            .read(LISTING, move |connection| of_session(connection, &session, None))
            .await
    }

    /// One checkpoint of a session; the newest when `None`.
    ///
    /// # Errors
    /// `NotFound` for a session that is not there.
    pub async fn checkpoint(
        &self,
        session: &SessionId,
        checkpoint: Option<&CheckpointId>,
    ) -> Result<Option<Checkpoint>> {
        let (session, checkpoint) = (*session, checkpoint.copied());
        let found = self
            .inner
            .read(LISTING, move |connection| match checkpoint {
                Some(id) => of_session(connection, &session, Some(&id)),
                None => newest(connection, &session),
            })
            .await?;
        Ok(found.into_iter().next())
    }

    /// Forgets all but the newest `keep` checkpoints of a session, and of those the oldest until they have `bytes` at most;
    /// never the newest. Answers with the content that no checkpoint of any session names any more: its files may go.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn trim_checkpoints(
        &self,
        session: &SessionId,
        keep: usize,
        bytes: u64,
    ) -> Result<Vec<String>> {
        const SQL: &str = "SELECT pk, sha256 FROM (
                SELECT pk, sha256, row_number() OVER newest AS place, total(bytes) OVER newest AS so_far
                FROM checkpoint WHERE session = ?1 AND quarantined = 0 WINDOW newest AS (ORDER BY pk DESC))
            WHERE place > 1 AND (place > ?2 OR so_far > ?3)";
        let session = *session;
        self.inner
            .write(FORGETTING, move |write| {
                let pk = key(write.connection, FORGETTING, &session)?;
                let all = contents(write, SQL, params![pk, int(keep as u64), int(bytes)])?;
                forget(write, all)
            })
            .await
    }

    /// Forgets checkpoints of all sessions, oldest first, until the content of those that are left has `bytes` at most; the
    /// newest of each session never. Answers like [`Self::trim_checkpoints`].
    ///
    /// # Errors
    /// As of every method.
    pub async fn trim_all_checkpoints(&self, bytes: u64) -> Result<Vec<String>> {
        self.inner
            .write(FORGETTING, move |write| {
                let excess = kept_bytes(write.connection)?.saturating_sub(bytes);
                forget_oldest(write, excess)
            })
            .await
    }

    /// The size of the content that checkpoints name, each once.
    ///
    /// # Errors
    /// As of every method.
    pub async fn checkpoint_bytes(&self) -> Result<u64> {
        self.inner.read(LISTING, kept_bytes).await
    }

    /// Forgets these checkpoints, whatever their sessions. Answers like [`Self::trim_checkpoints`].
    ///
    /// # Errors
    /// As of every method.
    pub async fn delete_checkpoints(&self, checkpoints: Vec<CheckpointId>) -> Result<Vec<String>> {
        self.inner
            .write(FORGETTING, move |write| {
                let mut gone = Vec::new();
                for id in &checkpoints {
                    let id = id.to_string();
                    gone.extend(contents(
                        write,
                        "SELECT pk, sha256 FROM checkpoint WHERE id = ?1 AND quarantined = 0",
                        [id],
                    )?);
                }
                forget(write, gone)
            })
            .await
    }

    /// Remembers of each checkpoint whose session has ended that this was seen now, unless it was seen before. `now_ms` is
    /// of a clock that does not jump.
    ///
    /// # Errors
    /// As of every method.
    pub async fn note_ended_checkpoints(&self, now_ms: u64) -> Result<()> {
        const SQL: &str = "UPDATE checkpoint SET ended_ms = ?1
            WHERE ended_ms IS NULL AND session IN (SELECT pk FROM session WHERE ended = 1)";
        self.inner
            .write(FORGETTING, move |write| {
                write.connection.prepare_cached(SQL)?.execute([int(now_ms)])?;
                Ok(())
            })
            .await
    }

    /// Checkpoints that are kept for nobody any more: of sessions that have ended, all but the newest, and the newest too
    /// when that was noted `keep_ms` ago, see [`Self::note_ended_checkpoints`].
    ///
    /// # Errors
    /// As of every method.
    pub async fn outlived_checkpoints(
        &self,
        now_ms: u64,
        keep_ms: u64,
    ) -> Result<Vec<(CheckpointId, SessionId)>> {
        const SQL: &str = "SELECT c.id, s.id FROM checkpoint c JOIN session s ON s.pk = c.session
            WHERE s.ended = 1 AND c.quarantined = 0 AND (?1 - coalesce(c.ended_ms, ?1) >= ?2
                OR c.pk < (SELECT max(newer.pk) FROM checkpoint newer
                    WHERE newer.session = c.session AND newer.quarantined = 0))
            ORDER BY c.pk";
        self.inner
            .read(LISTING, move |connection| {
                let mut statement = connection.prepare_cached(SQL)?;
                let mut rows = statement.query([int(now_ms), int(keep_ms)])?;
                let mut found = Vec::new();
                while let Some(row) = rows.next()? {
                    found.extend(quarantine::readable(ids(row))?);
                }
                Ok(found)
            })
            .await
    }

    /// All content that a checkpoint names, also one that was put aside. A file that is not named may belong to a checkpoint that is just being taken.
    ///
    /// # Errors
    /// As of every method.
    pub async fn checkpoint_contents(&self) -> Result<HashSet<String>> {
        self.inner
            .read(LISTING, |connection| {
                let mut statement = connection.prepare_cached("SELECT DISTINCT sha256 FROM checkpoint")?;
                let named = statement.query_map([], |row| quarantine::text(row, 0))?;
                Ok(named.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }
}

fn insert(write: &mut Write<'_>, checkpoint: &Checkpoint) -> Result<Event, Failure> {
    const SQL: &str = "INSERT INTO checkpoint (session, id, turn, cause, at, base, sha256, bytes, files)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    const HEAD: &str = "UPDATE session SET last_event = ?2, updated_at = ?3 WHERE pk = ?1";
    let id = &checkpoint.session;
    let mut head = Head::find(write.connection, id)?.ok_or_else(|| no_session(KEEPING, id))?;
    if head.has_ended() {
        // Its last event was given to those who follow it; nothing may come after.
        return Err(Failure::Refused(
            Error::new(ErrorKind::StateConflict, KEEPING, "the session has ended")
                .with_context("session", id),
        ));
    }
    write.connection.prepare_cached(SQL)?.execute(params![
        head.pk,
        checkpoint.id.to_string(),
        checkpoint.turn.map(|turn| turn.to_string()),
        encode(&checkpoint.cause)?,
        checkpoint.at.as_microsecond(),
        checkpoint.base,
        checkpoint.sha256,
        int(checkpoint.bytes),
        int(checkpoint.files),
    ])?;
    let taken = EventKind::CheckpointTaken {
        checkpoint: checkpoint.id,
        files: checkpoint.files,
        bytes: checkpoint.bytes,
    };
    // Of no turn: the turn after which it was taken has ended, and nothing of a turn comes after its end.
    let event = events::append(write, &mut head, None, taken)?;
    write.connection.prepare_cached(HEAD)?.execute(params![
        head.pk,
        int(head.last_event),
        write.now.as_microsecond()
    ])?;
    Ok(event)
}

fn key(connection: &Connection, operation: &'static str, session: &SessionId) -> Result<i64, Failure> {
    Ok(Head::find(connection, session)?
        .ok_or_else(|| no_session(operation, session))?
        .pk)
}

fn of_session(
    connection: &Connection,
    session: &SessionId,
    only: Option<&CheckpointId>,
) -> Result<Vec<Checkpoint>, Failure> {
    let sql = format!(
        "SELECT {COLUMNS} FROM checkpoint
            WHERE session = ?1 AND (?2 IS NULL OR id = ?2) AND quarantined = 0 ORDER BY pk DESC"
    );
    let pk = key(connection, LISTING, session)?;
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![pk, only.map(ToString::to_string)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let checkpoint = read(session, row);
        match only {
            // Whoever asks for it alone is told.
            Some(_) => found.push(checkpoint?),
            None => found.extend(quarantine::readable(checkpoint)?),
        }
    }
    Ok(found)
}

/// Of a checkpoint and its session.
fn ids(row: &Row<'_>) -> Result<(CheckpointId, SessionId), Failure> {
    let (checkpoint, session): (String, String) = (row.get(0)?, row.get(1)?);
    Ok((checkpoint.parse()?, session.parse()?))
}

fn newest(connection: &Connection, session: &SessionId) -> Result<Vec<Checkpoint>, Failure> {
    let sql = format!(
        "SELECT {COLUMNS} FROM checkpoint WHERE session = ?1 AND quarantined = 0 ORDER BY pk DESC LIMIT 1"
    );
    let pk = key(connection, LISTING, session)?;
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([pk])?;
    rows.next()?.map(|row| read(session, row)).into_iter().collect()
}

/// Whether a row can be read.
pub(super) fn probe(connection: &Connection, pk: i64) -> Result<(), Failure> {
    let sql = format!("SELECT {COLUMNS} FROM checkpoint WHERE pk = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([pk])?;
    match rows.next()? {
        // Whose it is does not matter for that.
        Some(row) => read(&SessionId::new(), row).map(drop),
        None => Ok(()),
    }
}

fn read(session: &SessionId, row: &Row<'_>) -> Result<Checkpoint, Failure> {
    let id: String = row.get(0)?;
    let turn: Option<String> = row.get(1)?;
    let cause: String = row.get(2)?;
    Ok(Checkpoint {
        id: id.parse()?,
        session: *session,
        turn: turn.map(|turn| turn.parse()).transpose()?,
        cause: decode("cause of a checkpoint", &cause)?,
        at: stamp(row.get(3)?),
        base: row.get(4)?,
        sha256: row.get(5)?,
        bytes: uint(row.get(6)?),
        files: uint(row.get(7)?),
    })
}

fn kept_bytes(connection: &Connection) -> Result<u64, Failure> {
    const SQL: &str = "SELECT CAST(total(bytes) AS INTEGER) FROM (SELECT max(bytes) AS bytes FROM checkpoint GROUP BY sha256)";
    let bytes: i64 = connection.prepare_cached(SQL)?.query_row([], |row| row.get(0))?;
    Ok(uint(bytes))
}

/// Forgets the oldest until so many bytes are named no more.
fn forget_oldest(write: &Write<'_>, mut excess: u64) -> Result<Vec<String>, Failure> {
    const SQL: &str = "SELECT c.pk, c.sha256, c.bytes FROM checkpoint c
        WHERE c.quarantined = 0 AND c.pk < (SELECT max(newer.pk) FROM checkpoint newer
            WHERE newer.session = c.session AND newer.quarantined = 0)
        ORDER BY c.pk";
    if excess == 0 {
        return Ok(Vec::new());
    }
    let oldest: Vec<(i64, String, i64)> = write
        .connection
        .prepare_cached(SQL)?
        .query_map([], |row| {
            Ok((row.get(0)?, quarantine::text(row, 1)?, row.get(2)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut unnamed = Vec::new();
    for (pk, sha256, bytes) in oldest {
        if excess == 0 {
            break;
        }
        let gone = forget(write, vec![(pk, sha256)])?;
        if !gone.is_empty() {
            excess = excess.saturating_sub(uint(bytes));
        }
        unnamed.extend(gone);
    }
    Ok(unnamed)
}

/// Rows with their content.
fn contents(
    write: &Write<'_>,
    sql: &str,
    params: impl rusqlite::Params,
) -> Result<Vec<(i64, String)>, Failure> {
    let mut statement = write.connection.prepare_cached(sql)?;
    let rows = statement.query_map(params, |row| Ok((row.get(0)?, quarantine::text(row, 1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Removes rows. Answers with the content that is named nowhere else.
fn forget(write: &Write<'_>, rows: Vec<(i64, String)>) -> Result<Vec<String>, Failure> {
    const DELETE: &str = "DELETE FROM checkpoint WHERE pk = ?1";
    const NAMED: &str = "SELECT 1 FROM checkpoint WHERE sha256 = ?1";
    let mut unnamed = HashSet::new();
    for (pk, sha256) in rows {
        write.connection.prepare_cached(DELETE)?.execute([pk])?;
        unnamed.insert(sha256);
    }
    let mut named = write.connection.prepare_cached(NAMED)?;
    let mut gone = Vec::with_capacity(unnamed.len());
    for sha256 in unnamed {
        if !named.exists([&sha256])? {
            gone.push(sha256);
        }
    }
    Ok(gone)
}
