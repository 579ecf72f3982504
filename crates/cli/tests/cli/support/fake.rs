//! A scripted lifecycle API: it answers what a test put in, remembers what it was asked, and nothing more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use cli::interrupts::Interrupt;
use futures::{StreamExt, TryStreamExt, stream};
use session_core::activity::{Activity, StallCause};
use session_core::api::{ArchiveStream, EventStream, SessionApi};
use session_core::budget::Spent;
use session_core::command::{
    CommandControl, CommandEvent, CommandExit, CommandRequest, ExitCause, OutputStream, RunningCommand,
};
use session_core::egress::{DecideEgress, EgressDecision, EgressRequest};
use session_core::error::{Error, ErrorKind, Result};
use session_core::event::{Event, EventKind};
use session_core::id::{CommandId, SessionId, TurnId};
use session_core::mcp::McpStatus;
use session_core::session::{
    Carrier, CopyReport, CreateSession, EventQuery, PromptRequest, ResourceUse, SessionDetails,
    SessionFilter, SessionInfo, WorkspaceDiff,
};
use session_core::turn::{TurnInfo, TurnOutcome, TurnStatus};
use tokio::sync::{broadcast, watch};

use super::fixtures;

/// One step of a turn or of a command.
#[derive(Clone)]
pub(crate) enum Step {
    /// An event of the turn.
    Event(EventKind),
    /// The end of the turn.
    End(TurnOutcome),
    /// The user presses keys, or somebody sends us a signal.
    Signal(Interrupt),
    /// Goes on when the turn was interrupted.
    UntilInterrupted,
    /// The command writes.
    Write(OutputStream, &'static [u8]),
    /// Output of the command is gone.
    Gap(u64, u64),
    /// Goes on when the command got this signal.
    UntilSignalled(i32),
    /// Goes on when the command's input was ended.
    UntilInputEnds,
    /// The command ends.
    Exit(ExitCause, Option<i32>, Option<i32>),
    /// Nothing more ever happens.
    Hang,
}

pub(crate) struct Fake {
    pub(crate) sessions: Vec<SessionInfo>,
    pub(crate) stored: Vec<Event>,
    pub(crate) turn: Vec<Step>,
    pub(crate) command: Vec<Step>,
    pub(crate) diff: WorkspaceDiff,
    /// Archives by the path inside.
    pub(crate) files: HashMap<String, Vec<u8>>,
    pub(crate) waiting_hosts: Vec<EgressRequest>,
    pub(crate) decisions: Vec<EgressDecision>,
    pub(crate) spent: Spent,
    /// What its agent is doing; it hangs then.
    pub(crate) activity: Option<Activity>,
    /// How MCP servers are.
    pub(crate) servers: Option<McpStatus>,
    created: Mutex<Vec<CreateSession>>,
    failures: HashMap<&'static str, ErrorKind>,
    calls: Mutex<Vec<String>>,
    received: Mutex<Vec<u8>>,
    signals: broadcast::Sender<Interrupt>,
    interrupted: watch::Sender<bool>,
    steered: Arc<Steered>,
}

/// What a command got.
#[derive(Default)]
struct Steered {
    input: Mutex<Vec<u8>>,
    signals: watch::Sender<Vec<i32>>,
    input_ended: watch::Sender<bool>,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self {
            sessions: vec![fixtures::ready('f', Some("fix-it"))],
            stored: Vec::new(),
            turn: Vec::new(),
            command: Vec::new(),
            diff: WorkspaceDiff {
                patch: String::new(),
                files: Vec::new(),
                truncated: false,
            },
            files: HashMap::new(),
            waiting_hosts: Vec::new(),
            decisions: Vec::new(),
            spent: Spent::default(),
            activity: None,
            servers: None,
            created: Mutex::default(),
            failures: HashMap::new(),
            calls: Mutex::default(),
            received: Mutex::default(),
            signals: broadcast::channel(16).0,
            interrupted: watch::Sender::new(false),
            steered: Arc::default(),
        }
    }

    /// A turn that does what [`fixtures::work`] says and ends well.
    pub(crate) fn working() -> Self {
        let mut fake = Self::new();
        fake.turn = fixtures::work().into_iter().map(Step::Event).collect();
        fake.turn
            .push(Step::End(fixtures::outcome(TurnStatus::Succeeded)));
        fake.diff = fixtures::diff();
        fake
    }

    pub(crate) fn commanding(steps: impl IntoIterator<Item = Step>) -> Self {
        let mut fake = Self::new();
        fake.command = steps.into_iter().collect();
        fake
    }

    pub(crate) fn failing(mut self, call: &'static str, kind: ErrorKind) -> Self {
        self.failures.insert(call, kind);
        self
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    /// What sessions were asked for.
    pub(crate) fn created(&self) -> Vec<CreateSession> {
        self.created.lock().unwrap().clone()
    }

    /// The archive that a copy brought in.
    pub(crate) fn received(&self) -> Vec<u8> {
        self.received.lock().unwrap().clone()
    }

    /// What a command read.
    pub(crate) fn input(&self) -> Vec<u8> {
        self.steered.input.lock().unwrap().clone()
    }

    /// The signals that a command got.
    pub(crate) fn signalled(&self) -> Vec<i32> {
        self.steered.signals.borrow().clone()
    }

    pub(crate) fn signals(&self) -> broadcast::Sender<Interrupt> {
        self.signals.clone()
    }

    pub(crate) fn fail(&self, call: &'static str) -> Result<()> {
        match self.failures.get(call) {
            None => Ok(()),
            Some(kind) => Err(Error::new(*kind, "do what was asked", "the script says so")
                .with_context("call", call)
                .with_hint("change the script")
                .with_source(std::io::Error::other("a cause inside"))),
        }
    }

    fn called(&self, call: &'static str, detail: impl std::fmt::Display) -> Result<()> {
        self.calls
            .lock()
            .unwrap()
            .push(format!("{call} {detail}").trim().to_owned());
        self.fail(call)
    }

    fn turn_info(&self, session: SessionId, prompt: String) -> TurnInfo {
        serde_json::from_value(serde_json::json!({
            "id": fixtures::turn_id(),
            "session": session,
            "status": "queued",
            "prompt": prompt,
            "first_event": 1,
            "created_at": fixtures::start(),
        }))
        .unwrap()
    }

    fn running(&self, id: CommandId) -> RunningCommand {
        let script = CommandScript {
            steps: self.command.clone().into_iter(),
            offset: 0,
            signals: self.signals.clone(),
            steered: self.steered.clone(),
        };
        let events = stream::unfold(script, |mut script| async move {
            let event = script.next().await?;
            Some((Ok(event), script))
        });
        RunningCommand {
            id,
            events: events.boxed(),
            control: Box::new(Control(self.steered.clone())),
        }
    }
}

/// The events of a turn, played step by step.
struct TurnScript {
    session: SessionId,
    steps: std::vec::IntoIter<Step>,
    seq: u64,
    signals: broadcast::Sender<Interrupt>,
    interrupted: watch::Receiver<bool>,
}

impl TurnScript {
    async fn next(&mut self) -> Option<Event> {
        loop {
            let kind = match self.steps.next()? {
                Step::Event(kind) => kind,
                Step::End(outcome) => EventKind::TurnFinished { outcome },
                Step::Signal(signal) => {
                    self.signals.send(signal).unwrap();
                    tokio::task::yield_now().await;
                    continue;
                }
                Step::UntilInterrupted => {
                    self.interrupted.wait_for(|done| *done).await.unwrap();
                    continue;
                }
                _ => std::future::pending().await,
            };
            self.seq += 1;
            return Some(fixtures::event(
                self.session,
                self.seq,
                Some(fixtures::turn_id()),
                kind,
            ));
        }
    }
}

/// The events of a command, played step by step.
struct CommandScript {
    steps: std::vec::IntoIter<Step>,
    offset: u64,
    signals: broadcast::Sender<Interrupt>,
    steered: Arc<Steered>,
}

impl CommandScript {
    async fn next(&mut self) -> Option<CommandEvent> {
        loop {
            match self.steps.next()? {
                Step::Write(stream, bytes) => {
                    let offset = self.offset;
                    self.offset += u64::try_from(bytes.len()).unwrap();
                    let bytes = Bytes::from_static(bytes);
                    return Some(CommandEvent::Output {
                        stream,
                        offset,
                        bytes,
                    });
                }
                Step::Gap(from, to) => {
                    self.offset = to;
                    return Some(CommandEvent::Gap { from, to });
                }
                Step::Exit(cause, code, signal) => {
                    return Some(CommandEvent::Exited(CommandExit {
                        cause,
                        code,
                        signal,
                        duration_ms: 12,
                        output_bytes: self.offset,
                    }));
                }
                Step::Signal(signal) => {
                    self.signals.send(signal).unwrap();
                    tokio::task::yield_now().await;
                }
                Step::UntilSignalled(number) => {
                    let mut signals = self.steered.signals.subscribe();
                    signals.wait_for(|seen| seen.contains(&number)).await.unwrap();
                }
                Step::UntilInputEnds => {
                    let mut ended = self.steered.input_ended.subscribe();
                    ended.wait_for(|ended| *ended).await.unwrap();
                }
                _ => std::future::pending().await,
            }
        }
    }
}

struct Control(Arc<Steered>);

#[async_trait]
impl CommandControl for Control {
    async fn write(&self, bytes: Bytes) -> Result<()> {
        self.0.input.lock().unwrap().extend_from_slice(&bytes);
        Ok(())
    }

    async fn close_stdin(&self) -> Result<()> {
        self.0.input_ended.send_replace(true);
        Ok(())
    }

    async fn signal(&self, signal: i32) -> Result<()> {
        self.0.signals.send_modify(|signals| signals.push(signal));
        Ok(())
    }
}

#[async_trait]
impl SessionApi for Fake {
    async fn create(&self, request: CreateSession) -> Result<SessionInfo> {
        self.called(
            "create",
            format_args!("{:?} {:?}", request.workspace, request.network),
        )?;
        self.created.lock().unwrap().push(request.clone());
        let mut info = self.sessions[0].clone();
        info.name = request.name;
        info.workspace = request.workspace;
        info.network = request.network;
        info.env = request.env;
        info.labels = request.labels;
        info.model = request.model;
        info.small_model = request.small_model;
        info.allow = request.allow;
        info.budget = request.budget;
        if let Some(limits) = request.limits {
            info.limits = limits;
        }
        Ok(info)
    }

    async fn list(&self, filter: SessionFilter) -> Result<Vec<SessionInfo>> {
        self.called("list", if filter.all { "all" } else { "" })?;
        let gone = |info: &SessionInfo| !info.state.may_have_container();
        Ok(self
            .sessions
            .iter()
            .filter(|info| filter.all || !gone(info))
            .filter(|info| {
                filter
                    .labels
                    .iter()
                    .all(|(key, value)| info.labels.get(key) == Some(value))
            })
            .cloned()
            .collect())
    }

    async fn inspect(&self, session: &SessionId) -> Result<SessionDetails> {
        self.called("inspect", session)?;
        Ok(SessionDetails {
            info: self.sessions[0].clone(),
            container: format!("cofferdam-{session}"),
            carrier: Some(Carrier::Socket),
            resources: Some(ResourceUse {
                memory_bytes: 300 << 20,
                cpu_ms: 4200,
                pids: 23,
                oom_kills: 0,
                uptime_ms: 185_000,
            }),
            activity: self.activity.clone(),
            stall: self.activity.as_ref().map(|_| StallCause::ModelUnreachable),
            mcp_status: self.servers.clone().filter(|_| self.sessions[0].mcp.is_some()),
            model_usage: session_core::gateway::ModelUsage::default(),
        })
    }

    async fn prompt(&self, session: &SessionId, request: PromptRequest) -> Result<TurnInfo> {
        self.called(
            "prompt",
            format_args!("{session} {:?} {:?}", request.prompt, request.time_limit),
        )?;
        Ok(self.turn_info(*session, request.prompt))
    }

    async fn turn(&self, session: &SessionId, _turn: &TurnId) -> Result<TurnInfo> {
        Ok(self.turn_info(*session, String::new()))
    }

    async fn turns(&self, _session: &SessionId) -> Result<Vec<TurnInfo>> {
        Ok(Vec::new())
    }

    async fn interrupt(&self, session: &SessionId) -> Result<bool> {
        self.called("interrupt", session)?;
        Ok(!self.interrupted.send_replace(true))
    }

    async fn interrupt_turn(&self, session: &SessionId, turn: &TurnId) -> Result<bool> {
        self.called("interrupt_turn", format_args!("{session} {turn}"))?;
        Ok(!self.interrupted.send_replace(true))
    }

    async fn events(&self, session: &SessionId, after: u64) -> Result<EventStream> {
        self.called("events", format_args!("{session} {after}"))?;
        let script = TurnScript {
            session: *session,
            steps: self.turn.clone().into_iter(),
            seq: 0,
            signals: self.signals.clone(),
            interrupted: self.interrupted.subscribe(),
        };
        let events = stream::unfold(script, |mut script| async move {
            let event = script.next().await?;
            Some((Ok(event), script))
        });
        Ok(events.boxed())
    }

    async fn event_page(&self, session: &SessionId, query: EventQuery) -> Result<Vec<Event>> {
        self.called("event_page", session)?;
        let after: Vec<Event> = self
            .stored
            .iter()
            .filter(|event| event.seq > query.after)
            .cloned()
            .collect();
        let skipped = if query.tail {
            after.len().saturating_sub(query.limit)
        } else {
            0
        };
        Ok(after.into_iter().skip(skipped).take(query.limit).collect())
    }

    async fn command(&self, session: &SessionId, request: CommandRequest) -> Result<RunningCommand> {
        let argv: Vec<_> = request
            .argv
            .iter()
            .map(|arg| String::from_utf8_lossy(arg))
            .collect();
        self.called(
            "command",
            format_args!("{session} {argv:?} {:?}", request.on_disconnect),
        )?;
        Ok(self.running(fixtures::command_id()))
    }

    async fn attach_command(
        &self,
        session: &SessionId,
        command: &CommandId,
        offset: u64,
    ) -> Result<RunningCommand> {
        self.called("attach_command", format_args!("{session} {command} {offset}"))?;
        Ok(self.running(*command))
    }

    async fn copy_in(&self, session: &SessionId, dest: &str, archive: ArchiveStream) -> Result<CopyReport> {
        self.called("copy_in", format_args!("{session} {dest}"))?;
        let chunks: Vec<Bytes> = archive.try_collect().await?;
        *self.received.lock().unwrap() = chunks.concat();
        Ok(CopyReport {
            entries: 2,
            bytes: 2048,
        })
    }

    async fn copy_out(&self, session: &SessionId, path: &str) -> Result<ArchiveStream> {
        self.called("copy_out", format_args!("{session} {path}"))?;
        match self.files.get(path) {
            Some(archive) => Ok(stream::iter([Ok(Bytes::from(archive.clone()))]).boxed()),
            None => Err(Error::new(
                ErrorKind::PathNotFound,
                "copy out of the session",
                "there is no such path",
            )
            .with_context("path", path)),
        }
    }

    async fn diff(&self, session: &SessionId) -> Result<WorkspaceDiff> {
        self.called("diff", session)?;
        Ok(self.diff.clone())
    }

    async fn egress_requests(&self, session: Option<&SessionId>) -> Result<Vec<EgressRequest>> {
        self.called("egress_requests", format_args!("{session:?}"))?;
        let asked = self.waiting_hosts.iter().cloned();
        Ok(asked
            .filter(|request| session.is_none_or(|session| request.session == *session))
            .collect())
    }

    async fn decide_egress(&self, decision: DecideEgress) -> Result<EgressDecision> {
        let DecideEgress { session, rule, allow } = &decision;
        self.called("decide_egress", format_args!("{session:?} {rule} {allow}"))?;
        Ok(decision.given(fixtures::start()))
    }

    async fn egress_decisions(&self, session: Option<&SessionId>) -> Result<Vec<EgressDecision>> {
        self.called("egress_decisions", format_args!("{session:?}"))?;
        Ok(self.decisions.clone())
    }

    async fn usage(&self, session: Option<&SessionId>) -> Result<Spent> {
        self.called("usage", format_args!("{session:?}"))?;
        Ok(self.spent)
    }

    async fn mcp_status(&self, session: Option<&SessionId>) -> Result<McpStatus> {
        match session {
            Some(session) => self.called("mcp_status", session)?,
            None => self.called("mcp_status", "all")?,
        }
        Ok(self.servers.clone().unwrap_or_default())
    }

    async fn pause(&self, session: &SessionId) -> Result<()> {
        self.called("pause", session)
    }

    async fn resume(&self, session: &SessionId) -> Result<()> {
        self.called("resume", session)
    }

    async fn destroy(&self, session: &SessionId) -> Result<()> {
        self.called("destroy", session)
    }
}
