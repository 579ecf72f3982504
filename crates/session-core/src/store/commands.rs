//! Commands that were asked for with a key: each accepted once, told once that it began and once that it ended.
//!
//! Only what decides about a repeated request is kept here. The command itself, and its output, are in the session.
//! Terminals with a key are kept here, too; what they show is between them and their viewers, and nothing is told of them.

use rusqlite::{OptionalExtension as _, params};

use super::Store;
use super::error::{Failure, no_session};
use super::events::{self, int, uint};
use super::sessions::{Head, key_taken};
use super::writer::Write;
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventKind;
use crate::id::{CommandId, SessionId};

/// How many commands with a key that have ended can be come back to, of each session; and how many keys of terminals count.
pub const MAX_KEPT_COMMANDS: usize = 64;

const ACCEPTING: &str = "run a command";
const ENDING: &str = "record the end of a command";

/// A command that is asked for with a key.
#[derive(Debug, Clone)]
pub struct KeyedCommand {
    /// Its id, if it is new.
    pub id: CommandId,
    /// The key under which the request may be repeated.
    pub key: String,
    /// What makes two requests the same.
    pub digest: String,
    /// Its arguments, as they are told; nothing is told of a terminal.
    pub argv: Option<Vec<String>>,
}

/// What is known of a command with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownCommand {
    /// It was accepted now.
    New,
    /// It was accepted before and may not have been started; the session's container has not changed since.
    Accepted,
    /// It was started before, or it cannot be told any more whether it was.
    Started,
}

/// What is to be done with a command that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedCommand {
    /// It has no key: nobody comes back to it.
    Forget,
    /// It can be come back to. In its place this one is to be forgotten.
    Keep(Option<CommandId>),
}

impl Store {
    /// Accepts a command and appends its `CommandStarted` (a terminal: nothing), or finds the one that the same request asked
    /// for before.
    ///
    /// # Errors
    /// `NotFound`; `IdempotencyMismatch` when the key was used with another digest; `StateConflict` when the session has
    /// ended.
    pub async fn accept_command(&self, session: &SessionId, command: KeyedCommand) -> Result<KnownCommand> {
        let session = *session;
        self.inner
            .write(ACCEPTING, move |write| accept(write, &session, &command))
            .await
    }

    /// Remembers that a command was started.
    ///
    /// # Errors
    /// As of every method.
    pub async fn command_started(&self, command: CommandId) -> Result<()> {
        const SQL: &str = "UPDATE command SET started = 1 WHERE id = ?1";
        self.inner
            .write(ACCEPTING, move |write| {
                write
                    .connection
                    .prepare_cached(SQL)?
                    .execute([command.to_string()])?;
                Ok(())
            })
            .await
    }

    /// Appends the end of a command, of one with a key only once.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn command_ended(
        &self,
        session: &SessionId,
        command: CommandId,
        end: EventKind,
    ) -> Result<EndedCommand> {
        let session = *session;
        self.inner
            .write(ENDING, move |write| ended(write, &session, command, &end))
            .await
    }
}

fn accept(
    write: &mut Write<'_>,
    session: &SessionId,
    command: &KeyedCommand,
) -> Result<KnownCommand, Failure> {
    const FIND: &str =
        "SELECT digest, started, first_event FROM command WHERE session = ?1 AND key = ?2 AND terminal = ?3";
    const PUT: &str = "INSERT INTO command (session, key, id, digest, first_event, terminal) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let mut head = Head::find(write.connection, session)?.ok_or_else(|| no_session(ACCEPTING, session))?;
    let known: Option<(String, bool, i64)> = write
        .connection
        .prepare_cached(FIND)?
        .query_row(params![head.pk, command.key, command.argv.is_none()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    if let Some((digest, started, first_event)) = known {
        if digest != command.digest {
            return Err(key_taken(ACCEPTING));
        }
        return Ok(
            if started || interrupted_since(write, &head, uint(first_event))? {
                KnownCommand::Started
            } else {
                KnownCommand::Accepted
            },
        );
    }
    if head.has_ended() {
        // Its last event was given to those who follow it, and its keys are forgotten.
        return Err(Failure::Refused(
            Error::new(ErrorKind::StateConflict, ACCEPTING, "the session has ended")
                .with_context("session", session),
        ));
    }
    if let Some(argv) = command.argv.clone() {
        let command = command.id;
        events::append(
            write,
            &mut head,
            None,
            EventKind::CommandStarted { command, argv },
        )?;
        store_last_event(write, &head)?;
    }
    let first = head.last_event;
    write.connection.prepare_cached(PUT)?.execute(params![
        head.pk,
        command.key,
        command.id.to_string(),
        command.digest,
        int(first),
        command.argv.is_none(),
    ])?;
    if command.argv.is_none() {
        const TRIM: &str = "DELETE FROM command WHERE pk IN (SELECT pk FROM command
            WHERE session = ?1 AND terminal = 1 ORDER BY pk DESC LIMIT -1 OFFSET ?2)";
        let most = int(MAX_KEPT_COMMANDS as u64);
        write
            .connection
            .prepare_cached(TRIM)?
            .execute(params![head.pk, most])?;
    }
    Ok(KnownCommand::New)
}

/// Whether the container may have been started anew, which forgets what ran in it.
fn interrupted_since(write: &Write<'_>, head: &Head, seq: u64) -> Result<bool, Failure> {
    // The tags are the first things that are written of an event.
    const SQL: &str = r#"SELECT 1 FROM event WHERE session = ?1 AND seq > ?2
        AND kind LIKE '{"event":"state_changed","state":"interrupted"%'"#;
    Ok(write
        .connection
        .prepare_cached(SQL)?
        .exists(params![head.pk, int(seq)])?)
}

fn ended(
    write: &mut Write<'_>,
    session: &SessionId,
    command: CommandId,
    end: &EventKind,
) -> Result<EndedCommand, Failure> {
    const FIND: &str = "SELECT finished FROM command WHERE id = ?1";
    const FINISH: &str = "UPDATE command SET started = 1, finished = 1 WHERE id = ?1";
    const OLDEST: &str =
        "SELECT id FROM command WHERE session = ?1 AND finished = 1 ORDER BY pk DESC LIMIT 1 OFFSET ?2";
    let mut head = Head::find(write.connection, session)?.ok_or_else(|| no_session(ENDING, session))?;
    let id = command.to_string();
    let finished: Option<bool> = write
        .connection
        .prepare_cached(FIND)?
        .query_row([&id], |row| row.get(0))
        .optional()?;
    if finished == Some(true) {
        return Ok(EndedCommand::Keep(None));
    }
    if head.has_ended() {
        // It ended with its session, whose last event was told.
        return Ok(EndedCommand::Forget);
    }
    events::append(write, &mut head, None, end.clone())?;
    store_last_event(write, &head)?;
    if finished.is_none() {
        return Ok(EndedCommand::Forget);
    }
    write.connection.prepare_cached(FINISH)?.execute([&id])?;
    let oldest: Option<String> = write
        .connection
        .prepare_cached(OLDEST)?
        .query_row(params![head.pk, int(MAX_KEPT_COMMANDS as u64)], |row| row.get(0))
        .optional()?;
    Ok(EndedCommand::Keep(oldest.and_then(|id| id.parse().ok())))
}

/// Forgets the keys of a session that has ended: nobody can come back to what ran in it.
pub(super) fn forget(write: &Write<'_>, head: &Head) -> Result<(), Failure> {
    const SQL: &str = "DELETE FROM command WHERE session = ?1";
    write.connection.prepare_cached(SQL)?.execute([head.pk])?;
    Ok(())
}

fn store_last_event(write: &Write<'_>, head: &Head) -> Result<(), Failure> {
    const SQL: &str = "UPDATE session SET last_event = ?2, updated_at = ?3 WHERE pk = ?1";
    write.connection.prepare_cached(SQL)?.execute(params![
        head.pk,
        int(head.last_event),
        write.now.as_microsecond()
    ])?;
    Ok(())
}
