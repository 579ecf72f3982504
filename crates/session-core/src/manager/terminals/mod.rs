//! Terminals: opened, found again, shown to whoever looks, and closed.
//!
//! Nothing about a terminal is stored but the key that it was asked for with: it lives as long as its process in the
//! container, and [`session_link`] lists the processes with a note of ours. So a manager that comes back finds those that run, and those that another manager has
//! opened; each shows them to its own viewers.

mod hub;
mod note;
mod registry;
mod screen;
mod viewer;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use session_link::{
    ExitCause, Link, Process, ProcessEvent, ProcessInfo, ProcessState, Signal, SpawnSpec, SpoolLimits,
    Terminal,
};

use self::hub::{Hub, HubTask, process_id, window};
pub(super) use self::registry::Terminals;
use self::screen::Screen;
use super::SessionManager;
use super::commands::spawn_spec;
use super::keyed::{digest_of, keyed_id};
use super::programs::is_sidecar;
use crate::command::{CommandRequest, OnDisconnect};
use crate::driver::{InterfacePlan, Request};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{CommandId, SessionId, TerminalId};
use crate::link_error::from_link;
use crate::policy;
use crate::state::Operation;
use crate::store::{KeyedCommand, KnownCommand, SessionRecord};
use crate::terminal::{
    AttachedTerminal, OpenTerminal, REPLAY_BYTES, TerminalInfo, TerminalProgram, TerminalSize,
};

const OPEN: &str = "open a terminal";
/// What every terminal of ours understands, and every screen of today.
const TERM: (&str, &str) = ("TERM", "xterm-256color");
/// The shells that are tried.
const SHELLS: [&str; 2] = ["bash", "sh"];
/// How long the programs of a terminal that is closed may take to end by themselves when they are hung up on.
const HANGUP_GRACE: Duration = Duration::from_secs(1);
/// What waits in the container when no manager is there: as much as is shown to who comes back.
const SPOOL: SpoolLimits = SpoolLimits {
    memory: 64 << 10,
    file: 2 * REPLAY_BYTES as u64,
};

impl SessionManager {
    pub(super) async fn open_a_terminal(
        &self,
        session: &SessionId,
        request: OpenTerminal,
    ) -> Result<TerminalInfo> {
        window(request.size)?;
        if let Some(key) = &request.idempotency_key {
            policy::limits::validate_idempotency_key(key)?;
        }
        let commands = commands(&request.program);
        for command in &commands {
            policy::limits::validate_command(command)?;
        }
        let record = self.record(session, OPEN).await?;
        record.info.state.permits(Operation::Command)?;
        let _work = self.begin_work(&record, OPEN).await?;
        self.find_terminals(&record).await?;
        let agents = request.program == TerminalProgram::Agent;
        if agents && is_sidecar(&record.info) {
            let message = "this is the container of an MCP server, which has no agent";
            return Err(Error::new(ErrorKind::StateConflict, OPEN, message).with_context("session", session));
        }
        let key = match &request.idempotency_key {
            Some(key) => match self.accept_terminal(session, key, &request.program).await? {
                Keyed::Opened(info) => return Ok(info),
                Keyed::New(command) => Some(command),
            },
            None => None,
        };
        let screen = Screen::new(request.size, 0);
        let id = key.map_or_else(TerminalId::new, TerminalId::from);
        let hub = Hub::new(*session, id, request.program, Timestamp::now(), screen);
        let opening = self.inner.terminals.open(hub.clone())?;
        let (link, process) = if agents {
            self.open_interface(&record, &hub).await?
        } else {
            let (link, ambient) = self.driver(&record).link_for_programs(&record).await?;
            let specs = commands
                .iter()
                .map(|command| Ok(spawn_spec(process_id(&id)?, &record.info, command, &ambient)))
                .collect::<Result<Vec<_>>>()?;
            let process = start(&link, specs, &hub).await?;
            (link, process)
        };
        opening.done();
        self.attend(hub.clone(), Some((link, process)));
        if let Some(command) = key {
            self.inner.foundation.store.command_started(command).await?;
        }
        Ok(hub.info())
    }

    /// Accepts a terminal with a key, or finds the one that the same request opened: also one that was opened by a manager
    /// that was killed before it could say so, whose program runs.
    async fn accept_terminal(
        &self,
        session: &SessionId,
        key: &str,
        program: &TerminalProgram,
    ) -> Result<Keyed> {
        let id = keyed_id("terminal", session, key);
        let command = KeyedCommand {
            id,
            key: key.to_owned(),
            digest: digest_of(program)?,
            argv: None,
        };
        let known = self
            .inner
            .foundation
            .store
            .accept_command(session, command)
            .await?;
        if let Some(hub) = self.inner.terminals.get(*session, id.into()) {
            return Ok(Keyed::Opened(hub.info()));
        }
        if known == KnownCommand::Started {
            let message = "it was opened before, and its program has ended";
            return Err(Error::new(ErrorKind::StateConflict, OPEN, message)
                .with_context("session", session)
                .with_context("terminal", TerminalId::from(id))
                .with_retryable(false)
                .with_hint("use another key to open another one"));
        }
        Ok(Keyed::New(id))
    }

    /// The agent is the session's task's, which starts its interface as it starts the agent.
    async fn open_interface(&self, record: &SessionRecord, hub: &Hub) -> Result<(Link, Process)> {
        let plan = Box::new(InterfacePlan {
            id: hub.id,
            terminal: terminal_of(hub)?,
            spool: SPOOL,
            env: TERM,
        });
        let driver = self.driver(record);
        driver.ask(|answer| Request::OpenInterface(plan, answer)).await
    }

    pub(super) async fn terminals_of(&self, session: &SessionId) -> Result<Vec<TerminalInfo>> {
        let record = self.record(session, "list terminals").await?;
        if record.info.state.permits(Operation::Command).is_ok() {
            self.find_terminals(&record).await?;
        }
        let hubs = self.inner.terminals.of(*session);
        Ok(hubs.iter().map(|hub| hub.info()).collect())
    }

    pub(super) async fn attach_to_terminal(
        &self,
        session: &SessionId,
        terminal: &TerminalId,
        size: TerminalSize,
    ) -> Result<AttachedTerminal> {
        let operation = "attach to a terminal";
        let record = self.record(session, operation).await?;
        let work = self.begin_work(&record, operation).await?;
        let hub = match self.inner.terminals.get(*session, *terminal) {
            Some(hub) => Some(hub),
            None => {
                record.info.state.permits(Operation::Command)?;
                self.find_terminals(&record).await?;
                self.inner.terminals.get(*session, *terminal)
            }
        };
        match hub {
            Some(hub) => viewer::sit(&hub, size, work),
            None => Err(
                Error::new(ErrorKind::NotFound, operation, "there is no such terminal")
                    .with_context("session", session)
                    .with_context("terminal", terminal)
                    .with_hint("a terminal is gone once its program has ended; open another one"),
            ),
        }
    }

    pub(super) async fn close_a_terminal(&self, session: &SessionId, terminal: &TerminalId) -> Result<()> {
        let operation = "close a terminal";
        let record = self.record(session, operation).await?;
        if !record.info.state.may_have_container() {
            return Ok(());
        }
        record.info.state.permits(Operation::Command)?;
        self.find_terminals(&record).await?;
        let Some(hub) = self.inner.terminals.get(*session, *terminal) else {
            return Ok(());
        };
        let (link, _) = self.driver(&record).link().await?;
        let id = process_id(terminal)?;
        for signal in [Signal::Hangup, Signal::Continue] {
            // What has ended takes any signal, and what is forgotten is what was wanted.
            let _ = link.signal(&id, signal).await;
        }
        let _ = tokio::time::timeout(HANGUP_GRACE, hub.over()).await;
        link.forget(&id)
            .await
            .map_err(|error| from_link(operation, error))?;
        // Its end was said on the link before; who lists terminals next must not find it.
        let _ = tokio::time::timeout(HANGUP_GRACE, hub.over()).await;
        Ok(())
    }

    /// Gets to know the terminals that run in the session and that another manager opened.
    async fn find_terminals(&self, record: &SessionRecord) -> Result<()> {
        let (link, _) = self.driver(record).link().await?;
        let processes = link
            .processes()
            .await
            .map_err(|error| from_link("look for terminals", error))?;
        for process in processes {
            if let Some(hub) = self.found(record, process)
                && self.inner.terminals.adopt(&hub)
            {
                if hub.program == TerminalProgram::Agent {
                    // It needs its doors answered, and turns are to wait for it.
                    self.driver(record).tell(Request::Interface).await?;
                }
                self.attend(hub, None);
            }
        }
        Ok(())
    }

    /// The terminal of a process, unless it is none or is known. One that has ended is nobody's: it is forgotten.
    fn found(&self, record: &SessionRecord, process: ProcessInfo) -> Option<Arc<Hub>> {
        let terminal = process.terminal?;
        let id: TerminalId = process.id.as_str().parse().ok()?;
        let session = record.info.id;
        if self.inner.terminals.knows(session, id) || matches!(process.state, ProcessState::Exited(_)) {
            return None;
        }
        let size = TerminalSize {
            rows: terminal.size.rows(),
            columns: terminal.size.columns(),
        };
        let shown = process.end.saturating_sub(REPLAY_BYTES as u64);
        let screen = Screen::new(size, process.start.max(shown));
        let opened_at = Timestamp::now() - process.age;
        Some(Hub::new(
            session,
            id,
            note::read(&terminal.note),
            opened_at,
            screen,
        ))
    }

    /// Has a task show the terminal.
    fn attend(&self, hub: Arc<Hub>, attached: Option<(Link, Process)>) {
        let task = HubTask {
            hub,
            manager: Arc::downgrade(&self.inner),
            stop: self.inner.terminals.stop(),
            _at_work: self.inner.foundation.work.token(),
        };
        self.inner.tasks.spawn(task.run(attached));
    }
}

/// What a terminal with a key comes to.
enum Keyed {
    /// It is there.
    Opened(TerminalInfo),
    /// It is to be opened, and then kept as having been started under this id.
    New(CommandId),
}

/// What is tried, in order; the first that is there runs.
fn commands(program: &TerminalProgram) -> Vec<CommandRequest> {
    let request = |argv: Vec<String>| CommandRequest {
        stdin: true,
        on_disconnect: OnDisconnect::Detach,
        ..CommandRequest::new(argv)
    };
    match program {
        TerminalProgram::Shell => SHELLS.map(|shell| request(vec![shell.to_owned()])).into(),
        TerminalProgram::Command { argv } => vec![request(argv.clone())],
        TerminalProgram::Agent => Vec::new(),
    }
}

fn terminal_of(hub: &Hub) -> Result<Terminal> {
    Ok(Terminal {
        size: window(hub.look(Screen::size))?,
        note: note::write(&hub.program),
    })
}

/// Starts the first program that is there.
async fn start(link: &Link, specs: Vec<SpawnSpec>, hub: &Hub) -> Result<Process> {
    let mut refused = Error::new(ErrorKind::ProgramNotFound, OPEN, "there is no such program");
    for mut spec in specs {
        if !spec.env.iter().any(|(name, _)| name == TERM.0) {
            spec.env.push((TERM.0.to_owned(), TERM.1.to_owned()));
        }
        spec.terminal = Some(terminal_of(hub)?);
        spec.spool = SPOOL;
        let id = spec.id.clone();
        let failed = |error| from_link(OPEN, error).with_context("session", hub.session);
        fail::fail_point!("manager.terminal.before", |_| crate::fault::link(
            "open a terminal"
        ));
        let mut process = link.run(spec).await.map_err(failed)?;
        fail::fail_point!("manager.terminal.spawned", |_| crate::fault::link(
            "open a terminal"
        ));
        if process.pid().is_some() {
            return Ok(process);
        }
        if let Some(ProcessEvent::Exited(report)) = process.next().await.map_err(failed)? {
            refused = why_not(report.cause);
        }
        link.forget(&id).await.map_err(failed)?;
    }
    Err(refused.with_context("session", hub.session))
}

/// Why a program did not start.
fn why_not(cause: ExitCause) -> Error {
    let (kind, message) = match cause {
        ExitCause::NotExecutable => (ErrorKind::ProgramNotExecutable, "the program cannot be executed"),
        ExitCause::BadWorkingDirectory => (ErrorKind::PathNotFound, "the workspace cannot be entered"),
        _ => (ErrorKind::ProgramNotFound, "there is no such program"),
    };
    Error::new(kind, OPEN, message).with_hint("name a program of the session's image")
}
