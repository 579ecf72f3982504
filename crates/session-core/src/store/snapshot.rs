//! The store as it is at one moment, in a file of its own; and a store that was kept so, made ready to be used again.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::anchor::Beside;
use super::error::{Failure, encode, storage_error};
use super::follow::Hub;
use super::meta::{self, RESTORED_FROM};
use super::sessions::Head;
use super::types::{Batch, TurnUpdate};
use super::writer::Write;
use super::{Anchor, Store, audit, quarantine, schema, sessions};
use crate::audit::{AuditDecision, AuditEntry};
use crate::error::{Error, ErrorKind, ErrorReport, Result};
use crate::id::{SessionId, TurnId};
use crate::state::{InterruptCause, SessionState, Transition};
use crate::state_dir::StateDir;
use crate::turn::{TokenUsage, TurnFailure, TurnFailureCause, TurnOutcome, TurnStatus};

const COPYING: &str = "copy the store";
const PREPARING: &str = "make the backup's store ready";

/// The tools of an agent that has to be started again before it may take a prompt: no set of tools is this.
const NO_TOOLS: &str = r#"["(restored)"]"#;
/// More attempts to bring a session back than any policy has: none is made until somebody asks.
const NO_ATTEMPT_LEFT: u32 = 1_000_000;

/// A copy of the store.
pub(crate) struct Snapshot {
    /// Its file, which has no name any more.
    pub(crate) file: File,
    /// The anchor of its audit log.
    pub(crate) audit_head: Vec<u8>,
    /// The content that its checkpoints name.
    pub(crate) checkpoints: Vec<String>,
}

/// What became of a store that was made ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Prepared {
    pub(crate) sessions: u64,
    pub(crate) failed_turns: u64,
}

impl Store {
    /// Copies the store as it is now. Those who write wait for nothing: it is one reading transaction. Blocks its thread.
    pub(crate) fn snapshot(&self, dir: &StateDir) -> Result<Snapshot> {
        // Before the store: then it names a line that the copy has, if it names one of this store.
        let anchored = Anchor::beside(dir)?;
        let source = self.inner.path.clone();
        dir.with_draft("backup.db", |draft, file| {
            copy(&source, draft, &anchored, file)
                .map_err(|source| storage_error(COPYING, draft, Arc::new(source)))
        })
    }
}

fn copy(source: &Path, draft: &Path, anchored: &Beside, file: File) -> rusqlite::Result<Snapshot> {
    // Reads every page on its way, so what is damaged is found now and not when it is needed.
    let path = draft.to_string_lossy().into_owned();
    schema::connect(source)?.execute("VACUUM INTO ?1", [path])?;
    let copy = schema::connect(draft)?;
    let checkpoints = copy
        .prepare("SELECT DISTINCT sha256 FROM checkpoint ORDER BY sha256")?
        .query_map([], |row| quarantine::text(row, 0))?
        .collect::<rusqlite::Result<_>>()?;
    let audit_head = anchored.of_copy(&copy)?;
    copy.close().map_err(|(_, error)| error)?;
    Ok(Snapshot {
        file,
        audit_head,
        checkpoints,
    })
}

/// Makes the store of a backup ready in a state directory where nobody looks yet: brings its schema up to date, checks all
/// of it, and settles what cannot go on. Blocks its thread.
///
/// What happened since the backup is not known. So a turn that waited or ran then has failed, since it may have been run to
/// its end and paid for; a command that was accepted may have been started; a session that may have been destroyed since is
/// brought back by nobody who was not asked; and an agent that was given something since is started anew before it is given
/// anything again, with the conversation as far as it is known.
pub(crate) fn prepare(dir: &StateDir, taken_at: Timestamp) -> Result<Prepared> {
    let path = dir.store_path();
    let connection = schema::open(dir)?;
    let failed = |source| storage_error(PREPARING, &path, Arc::new(source));
    let found: String = connection
        .pragma_query_value(None, "quick_check", |row| row.get(0))
        .map_err(failed)?;
    if found != "ok" {
        return Err(
            Error::new(ErrorKind::StoreFailed, PREPARING, "the store in it is damaged")
                .with_context("found", found)
                .with_retryable(false),
        );
    }
    let anchor = Anchor::open(dir, &connection)?;
    let hub = Hub::default();
    let now = Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap_or_default();
    let transaction = connection.unchecked_transaction().map_err(failed)?;
    let mut write = Write::at(&transaction, now, &hub);
    let prepared =
        settle(&mut write, taken_at).map_err(|failure: Failure| failure.into_error(PREPARING, &path))?;
    transaction.commit().map_err(failed)?;
    anchor.advance(&connection);
    // One file, which can be moved.
    connection
        .pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))
        .map_err(failed)?;
    connection.close().map_err(|(_, source)| failed(source))?;
    Ok(prepared)
}

fn settle(write: &mut Write<'_>, taken_at: Timestamp) -> Result<Prepared, Failure> {
    const LIVE: &str = "SELECT id FROM session WHERE ended = 0 AND quarantined = 0";
    const AGENTS: &str = "UPDATE session SET agent_owner = agent_owner + 1, agent_tools = ?1
        WHERE ended = 0 AND agent_process IS NOT NULL";
    const RECOVERY: &str = "UPDATE session SET recovery_attempts = ?1, recovery_after = NULL WHERE ended = 0";
    const COMMANDS: &str = "UPDATE command SET started = 1";
    // Nothing that ran at the backup is taken for running still, so it may be any.
    const BOOT: &str = "UPDATE session SET boot_id = NULL WHERE ended = 0";
    // Noted again where the workspace is really gone; one that was whole by the time of the restore is not emptied.
    const WHOLE: &str = "UPDATE session SET filling = 0 WHERE ended = 0";
    meta::set(write, RESTORED_FROM, Some(&taken_at.to_string()))?;
    let live: Vec<String> = write
        .connection
        .prepare(LIVE)?
        .query_map([], |row| quarantine::text(row, 0))?
        .collect::<rusqlite::Result<_>>()?;
    // One that cannot be read is put aside by whoever opens the store.
    let live: Vec<SessionId> = live.iter().filter_map(|id| id.parse().ok()).collect();
    let mut prepared = Prepared::default();
    for id in &live {
        prepared.sessions += 1;
        prepared.failed_turns += fail_turns(write, id)?;
        keep_made(write, id)?;
    }
    prepared.failed_turns += fail_the_rest(write)?;
    for id in &live {
        quarantine::unstick(write, id)?;
    }
    write.connection.execute(AGENTS, [NO_TOOLS])?;
    write.connection.execute(RECOVERY, [NO_ATTEMPT_LEFT])?;
    write.connection.execute(COMMANDS, [])?;
    write.connection.execute(WHOLE, [])?;
    write.connection.execute(BOOT, [])?;
    audit::append(
        write,
        &AuditEntry {
            actor: "cofferdam".to_owned(),
            action: "restore_backup".to_owned(),
            session: None,
            decision: AuditDecision::Done,
            rule: None,
            detail: Some(format!("taken at {taken_at}")),
        },
    )?;
    Ok(prepared)
}

/// A session that was being made may be one that works by now: it is not ended as one whose maker died, but waits for somebody
/// to resume it.
fn keep_made(write: &mut Write<'_>, id: &SessionId) -> Result<(), Failure> {
    let Some(head) = quarantine::readable(Head::find(write.connection, id))?.flatten() else {
        return Ok(());
    };
    if head.state != SessionState::Creating {
        return Ok(());
    }
    let cause = InterruptCause::ContainerExited;
    let batch = Batch {
        state: Some(head.state.after(Transition::Lost { cause })?),
        ..Batch::default()
    };
    sessions::commit(write, id, &batch).map(drop)
}

/// Ends the turns that wait or run, the one that runs first. Answers how many.
fn fail_turns(write: &mut Write<'_>, id: &SessionId) -> Result<u64, Failure> {
    const OPEN: &str = "SELECT id, status = 'running' FROM turn
        WHERE session = ?1 AND status IN ('queued', 'running') AND quarantined = 0 ORDER BY status DESC, pk";
    let Some(head) = quarantine::readable(Head::find(write.connection, id))?.flatten() else {
        return Ok(0);
    };
    let open: Vec<(String, bool)> = write
        .connection
        .prepare(OPEN)?
        .query_map([head.pk], |row| Ok((quarantine::text(row, 0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut failed = 0;
    for (turn, ran) in open {
        let Ok(turn) = turn.parse::<TurnId>() else {
            continue;
        };
        let batch = Batch {
            state: (ran && head.state == SessionState::Busy)
                .then(|| SessionState::Busy.after(Transition::TurnEnded))
                .transpose()?,
            turn: Some(TurnUpdate {
                id: turn,
                status: TurnStatus::Failed,
                outcome: Some(unknown_outcome()),
            }),
            ..Batch::default()
        };
        sessions::commit(write, id, &batch)?;
        failed += 1;
    }
    Ok(failed)
}

/// Ends what no session that can be read answers for: should it be readable again some day, it is not run then either.
fn fail_the_rest(write: &Write<'_>) -> Result<u64, Failure> {
    const SQL: &str = "UPDATE turn SET status = 'failed', outcome = ?1 WHERE status IN ('queued', 'running')";
    let failed = write.connection.execute(SQL, [encode(&unknown_outcome())?])?;
    Ok(failed as u64)
}

fn unknown_outcome() -> TurnOutcome {
    TurnOutcome {
        status: TurnStatus::Failed,
        text: String::new(),
        usage: TokenUsage::default(),
        cost_usd: None,
        model_calls: 0,
        duration_ms: 0,
        permission_denials: Vec::new(),
        failure: Some(TurnFailure {
            cause: TurnFailureCause::OwnerLost,
            error: ErrorReport {
                code: ErrorKind::StoreFailed,
                message: "it waited or ran when the backup was taken from which the store was restored, and may have been run since"
                    .to_owned(),
                hint: Some(
                    "see in the diff what it did, and send it again if it did nothing; the conversation goes on".to_owned(),
                ),
                retryable: true,
            },
        }),
    }
}

/// Whether nobody has the store open: then, and only then, its log can be folded into its file. A file that is damaged is
/// open to nobody.
pub(crate) fn fold(path: &Path) -> Result<bool> {
    let folded = schema::connect(path).and_then(|connection| {
        connection.pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get::<_, String>(0))
    });
    match folded {
        Ok(mode) => Ok(mode != "wal"),
        Err(error) if super::error::is_busy(&error) => Ok(false),
        Err(error) => {
            tracing::warn!(%error, store = %path.display(), "the store that is there is damaged; it is kept as it is");
            Ok(true)
        }
    }
}
