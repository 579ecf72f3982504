//! The store's file: how it is made, opened, recognised and brought up to date.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::error::storage_error;
use crate::error::{Error, ErrorKind, Result};
use crate::state_dir::StateDir;

/// Says in the file's header whose it is: "Cfrd".
const APPLICATION_ID: i32 = 0x4366_7264;

/// What leads from each version of the schema to the next; the last one leads to ours. Never changed once released.
const MIGRATIONS: &[&str] = &[
    include_str!("schema_v1.sql"),
    include_str!("schema_v2.sql"),
    include_str!("schema_v3.sql"),
    include_str!("schema_v4.sql"),
    include_str!("schema_v5.sql"),
];

/// How long a writer waits for another process.
const BUSY_PAUSES: [(i32, Duration); 2] = [
    // Most wait for one transaction, which takes less than a millisecond.
    (50, Duration::from_micros(200)),
    // 5 seconds in all.
    (2_500, Duration::from_millis(2)),
];

/// The size to which the write-ahead log is cut after a checkpoint.
const WAL_SIZE_LIMIT: i64 = 16 * 1024 * 1024;

const OPERATION: &str = "open the store";

/// Opens the store of a state directory for writing; makes it when there is none, migrates it when it is older.
pub(super) fn open(dir: &StateDir) -> Result<Connection> {
    fail::fail_point!("store.open.before", |_| crate::fault::store(OPERATION));
    // Held until the connection is made, which then keeps everybody from replacing the file.
    let _unswapped = dir.lock_unswapped()?;
    if !dir.has_store()? {
        dir.create_store(|draft| build(draft).map_err(|source| failed(draft, source)))?;
    }
    let path = dir.store_path();
    let mut connection = connect(&path).map_err(|source| failed(&path, source))?;
    let version = check(&connection, &path)?;
    if version < MIGRATIONS.len() {
        migrate(&mut connection, MIGRATIONS).map_err(|source| failed(&path, source))?;
    }
    use_log(&connection, &path)?;
    Ok(connection)
}

/// Opens a store, which [`open`] has found to be good, for reading.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// Makes a whole, empty store under a name that nobody knows yet.
fn build(draft: &Path) -> rusqlite::Result<()> {
    let mut connection = connect(draft)?;
    // Nobody misses what is not finished; the finished file is synced before it gets its name.
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    migrate(&mut connection, MIGRATIONS)?;
    fail::fail_point!("store.create.built", |_| crate::fault::sqlite());
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.close().map_err(|(_, error)| error)
}

/// A connection to a file that is there, with our settings.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_handler(Some(wait_for_others))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    // The last one to close would move the whole log into the file and sync both, which is most of what a short command
    // costs. The log is as durable as the file; it is moved when it has grown.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update_and_check(None, "journal_size_limit", WAL_SIZE_LIMIT, |_| Ok(()))?;
    Ok(connection)
}

/// SQLite's own handler sleeps whole milliseconds from the start, which is longer than most others write.
fn wait_for_others(attempt: i32) -> bool {
    let mut first = 0;
    for (count, pause) in BUSY_PAUSES {
        if attempt < first + count {
            std::thread::sleep(pause);
            return true;
        }
        first += count;
    }
    false
}

/// Answers with the version of a store that is ours and not newer than this program. Changes nothing.
fn check(connection: &Connection, path: &Path) -> Result<usize> {
    let read = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let application = read("application_id").map_err(|source| failed(path, source))?;
    let version = read("user_version").map_err(|source| failed(path, source))?;
    if application != APPLICATION_ID {
        return Err(Error::new(
            ErrorKind::StoreFailed,
            OPERATION,
            "the file is not a store of Cofferdam; nothing was changed in it",
        )
        .with_context("store", path.display())
        .with_retryable(false)
        .with_hint(format!(
            "restore {0} from a copy, or move it away to begin anew",
            path.display()
        )));
    }
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    if version > MIGRATIONS.len() {
        return Err(Error::new(
            ErrorKind::StateDirRefused,
            OPERATION,
            "a newer version of Cofferdam wrote it",
        )
        .with_context("store", path.display())
        .with_context("its schema", version)
        .with_context("known here", MIGRATIONS.len())
        .with_hint("run that version, or use another state directory"));
    }
    Ok(version)
}

/// Brings the schema up to date, all steps in one transaction.
fn migrate(connection: &mut Connection, migrations: &[&str]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Read under the lock: another process may have been faster.
    let version: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    fail::fail_point!("store.migrate.before", |_| crate::fault::sqlite());
    for migration in migrations.iter().skip(version as usize) {
        transaction.execute_batch(migration)?;
    }
    let reached = u32::try_from(migrations.len()).unwrap_or(u32::MAX).max(version);
    transaction.pragma_update(None, "user_version", reached)?;
    fail::fail_point!("store.migrate.commit", |_| crate::fault::sqlite());
    transaction.commit()
}

/// Makes sure that the store writes ahead. The mode is kept in the file, so this changes nothing in all but odd cases.
fn use_log(connection: &Connection, path: &Path) -> Result<()> {
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(|source| failed(path, source))?;
    if mode == "wal" {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::StateDirRefused,
        OPERATION,
        "its file system has no shared memory for it",
    )
    .with_context("store", path.display())
    .with_hint("use a state directory on a local disk"))
}

fn failed(path: &Path, source: rusqlite::Error) -> Error {
    storage_error(OPERATION, path, Arc::new(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(connection: &Connection) -> u32 {
        connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn an_older_store_is_brought_forward_and_a_failed_migration_leaves_it_alone() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, &MIGRATIONS[..1]).unwrap();
        let with_broken = [
            MIGRATIONS[0],
            "CREATE TABLE extra (x) STRICT; CREATE TABLE extra (x);",
        ];
        migrate(&mut connection, &with_broken).unwrap_err();
        assert_eq!(version(&connection), 1);
        migrate(
            &mut connection,
            &[MIGRATIONS[0], "CREATE TABLE extra (x);", "CREATE TABLE more (x);"],
        )
        .unwrap();
        assert_eq!(version(&connection), 3);
        connection
            .execute("INSERT INTO more SELECT x FROM extra", [])
            .unwrap();
    }
}
