//! Facts about the store as a whole, each under its name.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::Store;
use super::error::Failure;
use super::writer::Write;
use crate::error::Result;

/// The time of the backup from which the store was restored last.
pub(super) const RESTORED_FROM: &str = "restored_from";

const OPERATION: &str = "read or write a fact about the store";

impl Store {
    /// A fact; `None` when nobody has kept it.
    ///
    /// # Errors
    /// As of every method.
    pub async fn meta(&self, key: &'static str) -> Result<Option<String>> {
        self.inner
            .read(OPERATION, move |connection| get(connection, key))
            .await
    }

    /// Keeps a fact in place of what was known, or forgets it.
    ///
    /// # Errors
    /// As of every method.
    pub async fn set_meta(&self, key: &'static str, value: Option<String>) -> Result<()> {
        self.inner
            .write(OPERATION, move |write| set(write, key, value.as_deref()))
            .await
    }

    /// When the backup was taken from which this store was restored. It does not know what was made between then and the
    /// restoring: a container of ours that is younger than this and has no record is not garbage.
    ///
    /// # Errors
    /// As of every method.
    pub async fn restored_from(&self) -> Result<Option<Timestamp>> {
        let value = self.meta(RESTORED_FROM).await?;
        Ok(value.and_then(|at| at.parse().ok()))
    }
}

fn get(connection: &Connection, key: &str) -> Result<Option<String>, Failure> {
    const SQL: &str = "SELECT value FROM meta WHERE key = ?1";
    Ok(connection
        .prepare_cached(SQL)?
        .query_row([key], |row| row.get(0))
        .optional()?)
}

pub(super) fn set(write: &Write<'_>, key: &str, value: Option<&str>) -> Result<(), Failure> {
    const PUT: &str = "INSERT INTO meta (key, value) VALUES (?1, ?2)
        ON CONFLICT DO UPDATE SET value = excluded.value";
    const DELETE: &str = "DELETE FROM meta WHERE key = ?1";
    match value {
        Some(value) => write
            .connection
            .prepare_cached(PUT)?
            .execute(params![key, value])?,
        None => write.connection.prepare_cached(DELETE)?.execute([key])?,
    };
    Ok(())
}
