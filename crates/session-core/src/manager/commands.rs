//! Commands: run over the link, steered and watched by their caller.
//!
//! Nothing of the output is kept here. What the caller does not read waits in the container's spool, so a slow reader
//! costs the manager nothing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream;
use session_link::{
    ExitCause as LinkExit, ExitReport, Link, OnDisconnect as LinkDisconnect, OutputStream as LinkStream,
    Process, ProcessEvent, ProcessId, ProcessReader, ProcessState, ProcessWriter, Signal, SpawnSpec,
    StdinMode,
};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::SessionManager;
use super::lifetimes::AtWork;
use crate::ambient::Ambient;
use crate::command::{
    CommandControl, CommandEvent, CommandExit, CommandRequest, ExitCause, OnDisconnect, OutputStream,
    RunningCommand,
};
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventKind;
use crate::id::{CommandId, SessionId};
use crate::link_error::from_link;
use crate::policy;
use crate::runtime::ContainerSpec;
use crate::session::SessionInfo;
use crate::state::Operation;
use crate::store::Batch;

const OPERATION: &str = "run a command";
/// How much of an argument vector stands in an event, in arguments and characters of each.
const LOGGED_ARGS: (usize, usize) = (32, 256);
/// How often it is looked whether a command runs that nobody watches.
const LOOK_EVERY: Duration = Duration::from_secs(2);

impl SessionManager {
    pub(super) async fn run_command(
        &self,
        session: &SessionId,
        request: CommandRequest,
    ) -> Result<RunningCommand> {
        let _at_work = self.inner.foundation.work.token();
        policy::limits::validate_command(&request)?;
        let record = self.record(session, OPERATION).await?;
        record.info.state.permits(Operation::Command)?;
        let work = self.begin_work(&record, OPERATION).await?;
        let (link, ambient) = self.driver(&record).link_for_programs(&record).await?;
        fail::fail_point!("manager.command.before", |_| crate::fault::link(OPERATION));
        let (id, process) = match &request.idempotency_key {
            Some(key) => {
                let reach = (&link, &*ambient);
                self.start_keyed(&record.info, key, &request, reach).await?
            }
            None => self.start(&record.info, &request, (&link, &*ambient)).await?,
        };
        fail::fail_point!("manager.command.spawned", |_| crate::fault::link(OPERATION));
        let how = (request.on_disconnect, 0);
        Ok(self.running(*session, id, (link, process), how, work))
    }

    async fn start(
        &self,
        info: &SessionInfo,
        request: &CommandRequest,
        (link, ambient): (&Link, &Ambient),
    ) -> Result<(CommandId, Process)> {
        let id = CommandId::new();
        let spec = spawn_spec(process_id(&id)?, info, request, ambient);
        let process = link.run(spec).await;
        let process = process.map_err(|error| from_link(OPERATION, error))?;
        // Not its arguments: people put secrets there, whatever they are told.
        tracing::info!(session = %info.id, command = %id, "a command was started");
        self.note(
            &info.id,
            EventKind::CommandStarted {
                command: id,
                argv: logged(&request.argv),
            },
        );
        Ok((id, process))
    }

    pub(super) async fn attach_to_command(
        &self,
        session: &SessionId,
        command: &CommandId,
        offset: u64,
    ) -> Result<RunningCommand> {
        let operation = "attach to a command";
        let record = self.record(session, operation).await?;
        record.info.state.permits(Operation::Command)?;
        let work = self.begin_work(&record, operation).await?;
        let (link, _) = self.driver(&record).link().await?;
        let process = link
            .attach(&process_id(command)?, offset)
            .await
            .map_err(|error| {
                from_link(operation, error)
                    .with_context("command", command)
                    .with_hint(
                        "a command is forgotten once its end was read, and when its session's container ends",
                    )
            })?;
        let how = (OnDisconnect::Detach, offset);
        Ok(self.running(*session, *command, (link, process), how, work))
    }

    fn running(
        &self,
        session: SessionId,
        id: CommandId,
        (link, process): (Link, Process),
        (on_disconnect, offset): (OnDisconnect, u64),
        work: AtWork,
    ) -> RunningCommand {
        let (reader, writer) = process.into_split();
        let watcher = Watcher {
            manager: self.clone(),
            session,
            id,
            link,
            reader,
            on_disconnect,
            end: offset,
            done: false,
            at_work: Some((self.inner.foundation.work.token(), work)),
        };
        let events = stream::unfold(watcher, |mut watcher| async move {
            let event = watcher.next().await?;
            Some((event, watcher))
        });
        RunningCommand {
            id,
            events: Box::pin(events),
            control: Box::new(Control { writer }),
        }
    }

    /// Records an event that nobody waits for. The manager's shutdown does.
    pub(super) fn note(&self, session: &SessionId, kind: EventKind) {
        let (store, session) = (self.inner.foundation.store.clone(), *session);
        self.inner.errands.spawn(async move {
            let batch = Batch {
                events: vec![(None, kind)],
                ..Batch::default()
            };
            fail::fail_point!("manager.note.before");
            if let Err(error) = store.commit(&session, batch).await {
                tracing::warn!(%session, %error, "an event could not be stored");
            }
        });
    }
}

/// Reads a command's events. Dropped before the end, it does what [`OnDisconnect`] says.
struct Watcher {
    manager: SessionManager,
    session: SessionId,
    id: CommandId,
    link: Link,
    reader: ProcessReader,
    on_disconnect: OnDisconnect,
    end: u64,
    done: bool,
    /// Taken by whoever goes on holding it.
    at_work: Option<(TaskTrackerToken, AtWork)>,
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<CommandEvent>> {
        if self.done {
            return None;
        }
        let event = match self.reader.next().await {
            Ok(Some(ProcessEvent::Output {
                stream,
                offset,
                bytes,
            })) => {
                self.end = offset + bytes.len() as u64;
                let stream = match stream {
                    LinkStream::Stdout => OutputStream::Stdout,
                    LinkStream::Stderr => OutputStream::Stderr,
                };
                CommandEvent::Output {
                    stream,
                    offset,
                    bytes,
                }
            }
            Ok(Some(ProcessEvent::Gap { from, to })) => CommandEvent::Gap { from, to },
            Ok(Some(ProcessEvent::Exited(report))) => {
                let exit = command_exit(&report, self.end);
                self.ended(&exit);
                CommandEvent::Exited(exit)
            }
            Ok(None) => {
                self.done = true;
                return None;
            }
            Err(error) => {
                self.done = true;
                return Some(Err(
                    from_link(OPERATION, error).with_context("session", self.session)
                ));
            }
        };
        Some(Ok(event))
    }

    fn ended(&mut self, exit: &CommandExit) {
        fail::fail_point!("manager.command.ended");
        self.done = true;
        let (session, command) = (self.session, self.id);
        let CommandExit {
            cause,
            code,
            duration_ms,
            ..
        } = exit;
        tracing::info!(%session, %command, ?cause, code, duration_ms, "a command ended");
        self.manager
            .end_command(session, command, exit, self.link.clone());
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let (link, id) = (self.link.clone(), self.reader.id().clone());
        if self.on_disconnect == OnDisconnect::Detach {
            let stop = self.manager.inner.shutdown.clone();
            let at_work = self.at_work.take();
            self.manager.inner.tasks.spawn(async move {
                let ended = until_ended(&link, std::slice::from_ref(&id));
                // Both arms only look; the command goes on whatever becomes of this task.
                tokio::select! { () = stop.cancelled() => {}, () = ended => {} }
                // This process served its way out until now.
                drop(at_work);
            });
            return;
        }
        // The tracker is this task's owner; a manager that stops waits for it.
        self.manager.inner.errands.spawn(async move {
            let _ = link.signal(&id, Signal::Kill).await;
            let _ = link.forget(&id).await;
        });
    }
}

/// Waits until none of these commands runs any more, or nobody can tell.
pub(super) async fn until_ended(link: &Link, commands: &[ProcessId]) {
    while let Ok(processes) = link.processes().await
        && processes
            .iter()
            .any(|process| process.state == ProcessState::Running && commands.contains(&process.id))
    {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

struct Control {
    writer: ProcessWriter,
}

#[async_trait]
impl CommandControl for Control {
    async fn write(&self, bytes: Bytes) -> Result<()> {
        self.writer
            .write(bytes)
            .await
            .map_err(|error| from_link("write to the command", error))
    }

    async fn close_stdin(&self) -> Result<()> {
        self.writer
            .close_stdin()
            .await
            .map_err(|error| from_link("end the command's input", error))
    }

    async fn signal(&self, signal: i32) -> Result<()> {
        let operation = "signal the command";
        let signal = known_signal(signal).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidArgument,
                operation,
                "this signal cannot be sent",
            )
            .with_context("signal", signal)
            .with_hint("1, 2, 3, 9, 10, 12, 15, 18 and 19 can")
        })?;
        self.writer
            .signal(signal)
            .await
            .map_err(|error| from_link(operation, error))
    }
}

/// Linux numbers, as in signal(7).
fn known_signal(number: i32) -> Option<Signal> {
    Some(match number {
        1 => Signal::Hangup,
        2 => Signal::Interrupt,
        3 => Signal::Quit,
        9 => Signal::Kill,
        10 => Signal::User1,
        12 => Signal::User2,
        15 => Signal::Terminate,
        18 => Signal::Continue,
        19 => Signal::Stop,
        _ => return None,
    })
}

pub(super) fn process_id(command: &CommandId) -> Result<ProcessId> {
    ProcessId::new(command.to_string()).map_err(|error| from_link(OPERATION, error))
}

/// How a program is run as the session's user, in the session's environment.
pub(super) fn spawn_spec(
    id: ProcessId,
    info: &SessionInfo,
    request: &CommandRequest,
    ambient: &Ambient,
) -> SpawnSpec {
    let mut spec = SpawnSpec::new(id, request.argv.iter().cloned().map(OsString::from_vec));
    let mut env = base_env();
    env.extend(info.env.clone());
    env.extend(request.env.clone());
    ambient.add_to(&mut env);
    spec.env = env.into_iter().collect();
    spec.cwd = Some(inside(request.cwd.as_deref().unwrap_or(".")));
    spec.stdin = if request.stdin {
        StdinMode::Piped
    } else {
        StdinMode::Null
    };
    spec.time_limit = request.time_limit;
    spec.output_limit = request.output_limit;
    spec.on_disconnect = match request.on_disconnect {
        OnDisconnect::Cancel => LinkDisconnect::Kill,
        OnDisconnect::Detach => LinkDisconnect::KeepRunning,
    };
    spec
}

/// What every command finds in its environment.
fn base_env() -> BTreeMap<String, String> {
    [
        (
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ),
        ("HOME", ContainerSpec::HOME_DIR),
        ("LANG", "C.UTF-8"),
        ("USER", "agent"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

/// A path inside, absolute: relative ones start at the workspace.
pub(super) fn inside(path: &str) -> String {
    match path {
        "" | "." => ContainerSpec::WORKSPACE_DIR.to_owned(),
        path if path.starts_with('/') => path.to_owned(),
        path => format!("{}/{path}", ContainerSpec::WORKSPACE_DIR),
    }
}

pub(super) fn logged(argv: &[Vec<u8>]) -> Vec<String> {
    let (args, chars) = LOGGED_ARGS;
    argv.iter()
        .take(args)
        .map(|arg| String::from_utf8_lossy(arg).chars().take(chars).collect())
        .collect()
}

pub(super) fn command_exit(report: &ExitReport, output_bytes: u64) -> CommandExit {
    CommandExit {
        cause: match report.cause {
            LinkExit::Exited => ExitCause::Exited,
            LinkExit::Signaled => ExitCause::Signaled,
            LinkExit::TimedOut => ExitCause::TimedOut,
            LinkExit::OutputLimit => ExitCause::OutputLimit,
            LinkExit::OutOfMemory => ExitCause::OutOfMemory,
            LinkExit::Cancelled => ExitCause::Cancelled,
            LinkExit::NotFound => ExitCause::NotFound,
            LinkExit::NotExecutable => ExitCause::NotExecutable,
            LinkExit::BadWorkingDirectory => ExitCause::BadWorkingDirectory,
            LinkExit::SupervisorLost => ExitCause::SupervisorLost,
        },
        code: report.code,
        signal: report.signal,
        duration_ms: u64::try_from(report.duration.as_millis()).unwrap_or(u64::MAX),
        output_bytes,
    }
}
