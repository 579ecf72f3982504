//! Commands: started, found again, described.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use session_core::command::{CommandRequest, ExitCause, OnDisconnect};
use session_core::error::{Error, ErrorKind};
use session_core::event::{Event, EventKind};
use session_core::id::{CommandId, SessionId};
use session_core::session::EventQuery;

use crate::book::{Reading, Record, collect};
use crate::call::Stop;
use crate::core::Core;
use crate::text::one_line;

/// How many events are searched for a command that this server does not know.
const SEARCHED: usize = 10_000;
/// How long a command that was found again may take to say that it has ended.
const SETTLING: Duration = Duration::from_millis(300);

/// A command that this server did not read, or read and forgot: what the event log says of it.
#[derive(Debug, Clone)]
pub(crate) struct Past {
    pub(crate) line: Option<String>,
    pub(crate) started: Option<jiff::Timestamp>,
    /// Exit code, signal and cause, when its end was recorded.
    pub(crate) end: Option<(Option<i32>, Option<i32>, ExitCause)>,
}

/// Where a command was found.
pub(crate) enum Found {
    /// It is read by this server.
    Read(Arc<Record>),
    /// Only the log knows it.
    Past(Past),
}

/// Starts a command and a task that reads it to its end.
pub(crate) async fn start(
    core: &Arc<Core>,
    session: &SessionId,
    request: CommandRequest,
    stdin: Option<Bytes>,
) -> Result<Arc<Record>, Stop> {
    let detached = request.on_disconnect == OnDisconnect::Detach;
    let line = shown(&request.argv);
    let running = core.api.command(session, request).await?;
    let (record, new) = core.book.open(*session, running.id, Some(line));
    if !new {
        // Come back to with its key: somebody reads it already, and letting go of this view ends nothing.
        return Ok(record);
    }
    core.tasks.spawn(collect(
        core.clone(),
        record.clone(),
        running,
        Reading { stdin, detached },
    ));
    Ok(record)
}

/// Finds a command: in this server's book, in its container, or in the session's log.
pub(crate) async fn find(core: &Arc<Core>, session: &SessionId, command: &CommandId) -> Result<Found, Stop> {
    if let Some(record) = core.book.find(session, command) {
        return Ok(Found::Read(record));
    }
    let (record, new) = core.book.open(*session, *command, None);
    if !new {
        return Ok(Found::Read(record));
    }
    match core.api.attach_command(session, command, 0).await {
        Ok(running) => {
            let reading = Reading {
                stdin: None,
                detached: true,
            };
            core.tasks
                .spawn(collect(core.clone(), record.clone(), running, reading));
            record.settle(SETTLING).await;
            Ok(Found::Read(record))
        }
        Err(error) => {
            core.book.remove(&record);
            recall(core, session, command, error).await
        }
    }
}

/// Looks a command up in the log; `why` is what is said when it is not there either.
async fn recall(core: &Core, session: &SessionId, command: &CommandId, why: Error) -> Result<Found, Stop> {
    let query = EventQuery {
        after: 0,
        limit: SEARCHED,
        tail: true,
    };
    let events = core.api.event_page(session, query).await?;
    let mut past: Option<Past> = None;
    for event in &events {
        note(&mut past, event, command);
    }
    match past {
        Some(past) => Ok(Found::Past(past)),
        None if why.kind() == ErrorKind::NotFound => Err(why.into()),
        None => Err(Error::new(
            ErrorKind::NotFound,
            "find the command",
            "this session has no such command",
        )
        .with_context("command", command)
        .with_source(why)
        .into()),
    }
}

fn note(past: &mut Option<Past>, event: &Event, wanted: &CommandId) {
    let empty = || Past {
        line: None,
        started: None,
        end: None,
    };
    match &event.kind {
        EventKind::CommandStarted { command, argv } if command == wanted => {
            let past = past.get_or_insert_with(empty);
            past.line = Some(one_line(&argv.join(" "), 200));
            past.started = Some(event.at);
        }
        EventKind::CommandFinished {
            command,
            code,
            signal,
            cause,
        } if command == wanted => {
            past.get_or_insert_with(empty).end = Some((*code, *signal, *cause));
        }
        _ => {}
    }
}

/// A command as one line.
fn shown(argv: &[Vec<u8>]) -> String {
    let words: Vec<_> = argv
        .iter()
        .take(64)
        .map(|word| String::from_utf8_lossy(word))
        .collect();
    one_line(&words.join(" "), 200)
}
