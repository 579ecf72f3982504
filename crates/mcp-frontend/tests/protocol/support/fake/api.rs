//! The lifecycle API over the fake.

use async_trait::async_trait;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use session_core::activity::StallCause;
use session_core::api::{ArchiveStream, ByteStream, EventStream, SessionApi};
use session_core::audit::{AuditLine, AuditQuery, AuditVerdict};
use session_core::budget::Spent;
use session_core::checkpoint::{Checkpoint, RestoreRequest};
use session_core::command::{CommandRequest, OnDisconnect, RunningCommand};
use session_core::egress::{DecideEgress, EgressDecision, EgressRequest};
use session_core::error::{Error, ErrorKind, Result};
use session_core::event::{Event, EventKind};
use session_core::garbage::GarbageReport;
use session_core::gateway::ModelUsage;
use session_core::id::{CheckpointId, CommandId, ContainerName, SessionId, TerminalId, TurnId};
use session_core::mcp::McpStatus;
use session_core::session::{
    ChangedFile, CopyReport, CreateSession, EventQuery, PromptRequest, SessionDetails, SessionFilter,
    SessionInfo, WorkspaceDiff,
};
use session_core::state::{Operation, SessionState};
use session_core::terminal::{AttachedTerminal, OpenTerminal, TerminalInfo, TerminalSize};
use session_core::turn::{TurnInfo, TurnStatus};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::files;
use super::super::script::{answers, exit, out};
use super::{Command, Shared};

/// The fake as tests share it; the tasks that it starts hold it, too.
#[async_trait]
impl SessionApi for Shared {
    async fn create(&self, request: CreateSession) -> Result<SessionInfo> {
        let fake = &self.0;
        fake.enter("create", "").await?;
        let known = {
            let state = fake.state();
            let key = &request.idempotency_key;
            state
                .sessions
                .values()
                .find(|s| key.is_some() && s.key == *key)
                .map(|session| session.info.clone())
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let info = fake.insert(&request);
        fake.state().created.push(request);
        Ok(info)
    }

    async fn list(&self, filter: SessionFilter) -> Result<Vec<SessionInfo>> {
        let fake = &self.0;
        fake.enter("list", "").await?;
        let state = fake.state();
        let mut sessions: Vec<_> = state
            .sessions
            .values()
            .map(|session| session.info.clone())
            .filter(|info| {
                filter.all || !matches!(info.state, SessionState::Destroyed | SessionState::Failed { .. })
            })
            .filter(|info| {
                filter
                    .labels
                    .iter()
                    .all(|(key, value)| info.labels.get(key) == Some(value))
            })
            .collect();
        sessions.sort_by_key(|info| std::cmp::Reverse(info.created_at));
        Ok(sessions)
    }

    async fn session(&self, id: &SessionId) -> Result<SessionInfo> {
        let fake = &self.0;
        fake.enter("session", "").await?;
        fake.with(id, |session| session.info.clone())
    }

    async fn inspect(&self, id: &SessionId) -> Result<SessionDetails> {
        let fake = &self.0;
        fake.enter("inspect", "").await?;
        let info = fake.with(id, |session| session.info.clone())?;
        let activity = fake.state().activity.clone();
        Ok(SessionDetails {
            container: ContainerName::of(id).to_string(),
            carrier: None,
            resources: None,
            stall: activity.as_ref().map(|_| StallCause::ModelOverloaded),
            activity,
            mcp_status: info.mcp.as_ref().map(|_| fake.state().servers.clone()),
            model_usage: ModelUsage::default(),
            info,
        })
    }

    async fn prompt(&self, id: &SessionId, request: PromptRequest) -> Result<TurnInfo> {
        let fake = &self.0;
        session_core::policy::limits::validate_prompt_request(&request)?;
        fake.enter("prompt", "").await?;
        fake.permit(id, Operation::Prompt)?;
        let known = fake.with(id, |session| {
            let key = request.idempotency_key.as_ref()?;
            let turn = session.turn_keys.get(key)?;
            session.turns.iter().find(|other| other.id == *turn).cloned()
        })?;
        if let Some(known) = known {
            return Ok(known);
        }
        let turn = TurnId::new();
        let first_event = fake.emit(
            id,
            Some(turn),
            EventKind::TurnQueued {
                prompt: request.prompt.clone(),
            },
        );
        let info = TurnInfo {
            id: turn,
            session: *id,
            status: TurnStatus::Queued,
            prompt: request.prompt.clone(),
            tools: request.tools.clone(),
            first_event,
            created_at: Timestamp::now(),
            time_limit_ms: None,
            outcome: None,
        };
        fake.with(id, |session| {
            session.turns.push(info.clone());
            session.info.turns += 1;
            let interrupt = session.interrupt.child_token();
            session.interrupts.insert(turn, interrupt);
            if let Some(key) = &request.idempotency_key {
                session.turn_keys.insert(key.clone(), turn);
            }
        })?;
        let acts = {
            let mut state = fake.state();
            state.prompts.push(request);
            state.acts.pop_front().unwrap_or_else(|| vec![answers("done")])
        };
        tokio::spawn(fake.clone().play(*id, turn, acts));
        Ok(info)
    }

    async fn turn(&self, id: &SessionId, turn: &TurnId) -> Result<TurnInfo> {
        let fake = &self.0;
        fake.with(id, |session| {
            session.turns.iter().find(|other| other.id == *turn).cloned()
        })?
        .ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                "read the turn",
                "this session has no such turn",
            )
            .with_context("turn", turn)
        })
    }

    async fn turns(&self, id: &SessionId) -> Result<Vec<TurnInfo>> {
        self.0.with(id, |session| session.turns.clone())
    }

    async fn interrupt(&self, id: &SessionId) -> Result<bool> {
        let fake = &self.0;
        fake.enter("interrupt", &id.to_string()).await?;
        fake.permit(id, Operation::Interrupt)?;
        fake.with(id, |session| {
            let open = session.turns.iter().any(|turn| !turn.status.is_ended());
            std::mem::replace(&mut session.interrupt, CancellationToken::new()).cancel();
            open
        })
    }

    async fn interrupt_turn(&self, id: &SessionId, turn: &TurnId) -> Result<bool> {
        let fake = &self.0;
        fake.enter("interrupt_turn", &format!("{id} {turn}")).await?;
        fake.permit(id, Operation::Interrupt)?;
        fake.with(id, |session| {
            session.interrupts[turn].cancel();
            let open = |other: &&TurnInfo| other.id == *turn && !other.status.is_ended();
            session.turns.iter().any(|other| open(&other))
        })
    }

    async fn events(&self, id: &SessionId, after: u64) -> Result<EventStream> {
        let fake = self.0.clone();
        fake.enter("events", "").await?;
        fake.with(id, |_| ())?;
        let (id, changed) = (*id, fake.changed.subscribe());
        Ok(stream::unfold(
            (fake, changed, after),
            move |(fake, mut changed, after)| async move {
                loop {
                    changed.borrow_and_update();
                    let (event, over) = fake
                        .with(&id, |session| {
                            let at = usize::try_from(after).unwrap();
                            (
                                session.events.get(at).cloned(),
                                session.info.state == SessionState::Destroyed,
                            )
                        })
                        .ok()?;
                    match event {
                        Some(event) => return Some((Ok(event), (fake, changed, after + 1))),
                        None if over => return None,
                        None => changed.changed().await.ok()?,
                    }
                }
            },
        )
        .boxed())
    }

    async fn event_page(&self, id: &SessionId, query: EventQuery) -> Result<Vec<Event>> {
        let fake = &self.0;
        fake.enter("event_page", "").await?;
        fake.with(id, |session| {
            let events = session.events.iter().filter(|event| event.seq > query.after);
            let limit = query.limit.min(10_000);
            if query.tail {
                let skip = events.clone().count().saturating_sub(limit);
                events.skip(skip).cloned().collect()
            } else {
                events.take(limit).cloned().collect()
            }
        })
    }

    async fn command(&self, id: &SessionId, request: CommandRequest) -> Result<RunningCommand> {
        let fake = &self.0;
        session_core::policy::limits::validate_command(&request)?;
        fake.enter("command", "").await?;
        fake.permit(id, Operation::Command)?;
        let key = request.idempotency_key.clone();
        let known = fake.with(id, |session| {
            let command = *session.command_keys.get(key.as_ref()?)?;
            Some((command, session.running.get(&command)?.clone()))
        })?;
        if let Some((command, running)) = known {
            return Ok(fake.watch(command, running, 0));
        }
        let command = CommandId::new();
        if let Some(key) = key {
            fake.with(id, |session| session.command_keys.insert(key, command))?;
        }
        let running = Command {
            done: watch::Sender::new(Vec::new()),
            stdin: watch::Sender::new((Vec::new(), false)),
            killed: CancellationToken::new(),
            detached: request.on_disconnect == OnDisconnect::Detach,
        };
        let argv = request
            .argv
            .iter()
            .map(|arg| String::from_utf8_lossy(arg).into_owned())
            .collect();
        fake.emit(id, None, EventKind::CommandStarted { command, argv });
        let steps = {
            let mut state = fake.state();
            state.commands.push(request);
            state
                .steps
                .pop_front()
                .unwrap_or_else(|| vec![out("hello\n"), exit(0)])
        };
        fake.with(id, |session| session.running.insert(command, running.clone()))?;
        tokio::spawn(fake.clone().run(*id, command, running.clone(), steps));
        Ok(fake.watch(command, running, 0))
    }

    async fn attach_command(
        &self,
        id: &SessionId,
        command: &CommandId,
        offset: u64,
    ) -> Result<RunningCommand> {
        let fake = &self.0;
        fake.enter("attach_command", "").await?;
        fake.permit(id, Operation::Command)?;
        match fake.with(id, |session| session.running.get(command).cloned())? {
            Some(running) => Ok(fake.watch(*command, running, offset)),
            None => Err(Error::new(
                ErrorKind::NotFound,
                "attach to a command",
                "no process has that id",
            )
            .with_context("command", command)),
        }
    }

    async fn open_terminal(&self, id: &SessionId, _request: OpenTerminal) -> Result<TerminalInfo> {
        Err(no_terminals(id))
    }

    async fn terminals(&self, _id: &SessionId) -> Result<Vec<TerminalInfo>> {
        Ok(Vec::new())
    }

    async fn attach_terminal(
        &self,
        id: &SessionId,
        _terminal: &TerminalId,
        _size: TerminalSize,
    ) -> Result<AttachedTerminal> {
        Err(no_terminals(id))
    }

    async fn close_terminal(&self, id: &SessionId, _terminal: &TerminalId) -> Result<()> {
        Err(no_terminals(id))
    }

    async fn copy_in(&self, id: &SessionId, dest: &str, mut archive: ArchiveStream) -> Result<CopyReport> {
        let fake = &self.0;
        session_core::policy::limits::validate_copy_path(dest)?;
        fake.enter("copy_in", dest).await?;
        fake.permit(id, Operation::Files)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = archive.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        let report = files::report(&bytes);
        fake.state().files.insert(dest.into(), bytes);
        Ok(report)
    }

    async fn copy_out(&self, id: &SessionId, path: &str) -> Result<ArchiveStream> {
        let fake = &self.0;
        session_core::policy::limits::validate_copy_path(path)?;
        fake.enter("copy_out", path).await?;
        fake.permit(id, Operation::Files)?;
        match fake.archive(path) {
            Some(bytes) => {
                let chunks: Vec<_> = bytes
                    .chunks(700)
                    .map(|chunk| Ok(bytes::Bytes::copy_from_slice(chunk)))
                    .collect();
                Ok(stream::iter(chunks).boxed())
            }
            None => Err(Error::new(
                ErrorKind::PathNotFound,
                "copy out of the session",
                "there is no such path",
            )
            .with_context("path", path)),
        }
    }

    async fn diff(&self, id: &SessionId) -> Result<WorkspaceDiff> {
        let fake = &self.0;
        fake.enter("diff", "").await?;
        fake.permit(id, Operation::Files)?;
        let patch = fake.state().patch.clone();
        let files = if patch.is_empty() {
            vec![]
        } else {
            vec![ChangedFile {
                status: 'M',
                path: "src/a.rs".into(),
            }]
        };
        Ok(WorkspaceDiff {
            patch,
            files,
            truncated: false,
        })
    }

    async fn egress_requests(&self, id: Option<&SessionId>) -> Result<Vec<EgressRequest>> {
        let waiting = self.0.state().waiting.clone();
        let of = |request: &EgressRequest| id.is_none_or(|id| request.session == *id);
        Ok(waiting.into_iter().filter(of).collect())
    }

    async fn decide_egress(&self, decision: DecideEgress) -> Result<EgressDecision> {
        self.0.enter("decide_egress", "").await?;
        Ok(decision.given(Timestamp::now()))
    }

    async fn egress_decisions(&self, _: Option<&SessionId>) -> Result<Vec<EgressDecision>> {
        Ok(Vec::new())
    }

    async fn usage(&self, _: Option<&SessionId>) -> Result<Spent> {
        Ok(self.0.state().spent)
    }

    async fn mcp_status(&self, session: Option<&SessionId>) -> Result<McpStatus> {
        if let Some(session) = session {
            self.0.with(session, |_| ())?;
        }
        Ok(self.0.state().servers.clone())
    }

    async fn pause(&self, _: &SessionId) -> Result<()> {
        Ok(())
    }

    async fn resume(&self, id: &SessionId) -> Result<()> {
        let fake = &self.0;
        fake.enter("resume", &id.to_string()).await?;
        fake.with(id, |session| session.info.state = SessionState::Ready)
    }

    async fn renew_lease(&self, id: &SessionId) -> Result<SessionInfo> {
        self.session(id).await
    }

    async fn checkpoint(&self, _: &SessionId) -> Result<Option<Checkpoint>> {
        Ok(self.0.state().checkpoints.first().cloned())
    }

    async fn checkpoints(&self, id: &SessionId) -> Result<Vec<Checkpoint>> {
        let fake = &self.0;
        fake.enter("checkpoints", &id.to_string()).await?;
        fake.with(id, |_| ())?;
        Ok(fake.state().checkpoints.clone())
    }

    async fn checkpoint_patch(&self, _: &SessionId, _: &CheckpointId) -> Result<ByteStream> {
        let patch = self.0.state().patch.clone();
        Ok(stream::iter([Ok(patch.into())]).boxed())
    }

    async fn restore(&self, request: RestoreRequest) -> Result<SessionInfo> {
        let fake = &self.0;
        let RestoreRequest {
            session, checkpoint, ..
        } = &request;
        fake.enter("restore", &format!("{session} {checkpoint:?}"))
            .await?;
        let info = fake.with(session, |session| session.info.clone())?;
        if info.state == SessionState::Destroyed {
            return Ok(fake.insert(&CreateSession::default()));
        }
        Ok(info)
    }

    async fn collect_garbage(&self, dry_run: bool) -> Result<GarbageReport> {
        Ok(GarbageReport {
            dry_run,
            ..GarbageReport::default()
        })
    }

    async fn audit(&self, _: AuditQuery) -> Result<Vec<AuditLine>> {
        Ok(Vec::new())
    }

    async fn verify_audit(&self) -> Result<AuditVerdict> {
        Ok(AuditVerdict {
            lines: 0,
            broken_at: None,
        })
    }

    async fn destroy(&self, id: &SessionId) -> Result<()> {
        let fake = &self.0;
        fake.enter("destroy", &id.to_string()).await?;
        fake.with(id, |session| {
            session.info.state = SessionState::Destroyed;
            session.interrupt.cancel();
        })?;
        fake.emit(
            id,
            None,
            EventKind::StateChanged {
                to: SessionState::Destroyed,
            },
        );
        Ok(())
    }
}

/// Nothing that is tested here opens a terminal.
fn no_terminals(session: &SessionId) -> Error {
    Error::new(ErrorKind::Unsupported, "open a terminal", "the fake has none")
        .with_context("session", session)
}
