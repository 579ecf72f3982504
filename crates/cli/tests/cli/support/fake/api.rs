//! The calls, each written down before it is answered.

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use session_core::activity::StallCause;
use session_core::api::{ArchiveStream, ByteStream, EventStream, SessionApi};
use session_core::audit::{AuditLine, AuditQuery, AuditVerdict};
use session_core::budget::Spent;
use session_core::checkpoint::{Checkpoint, RestoreRequest};
use session_core::command::{CommandRequest, RunningCommand};
use session_core::egress::{DecideEgress, EgressDecision, EgressRequest};
use session_core::error::{Error, ErrorKind, Result};
use session_core::event::Event;
use session_core::garbage::GarbageReport;
use session_core::id::{CheckpointId, CommandId, SessionId, TerminalId, TurnId};
use session_core::mcp::McpStatus;
use session_core::session::{
    Carrier, CopyReport, CreateSession, EventQuery, PromptRequest, ResourceUse, SessionDetails,
    SessionFilter, SessionInfo, WorkspaceDiff,
};
use session_core::terminal::{AttachedTerminal, OpenTerminal, TerminalInfo, TerminalSize};
use session_core::turn::TurnInfo;

use super::Fake;
use crate::support::fixtures;

#[async_trait]
impl SessionApi for Fake {
    async fn create(&self, request: CreateSession) -> Result<SessionInfo> {
        self.called(
            "create",
            format_args!(
                "{:?} {:?}{}",
                request.workspace,
                request.network,
                keyed(request.idempotency_key.as_deref())
            ),
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
        info.lifetime = request.lifetime;
        info.on_interrupt = request.on_interrupt;
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

    async fn session(&self, session: &SessionId) -> Result<SessionInfo> {
        self.called("session", session)?;
        Ok(self.sessions[0].clone())
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
            format_args!(
                "{session} {:?} {:?}{}",
                request.prompt,
                request.time_limit,
                keyed(request.idempotency_key.as_deref())
            ),
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
        Ok(self.playing(*session))
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

    async fn open_terminal(&self, session: &SessionId, request: OpenTerminal) -> Result<TerminalInfo> {
        self.called("open_terminal", format_args!("{session} {:?}", request.program))?;
        Ok(self.terminals.open(session, request))
    }

    async fn terminals(&self, _session: &SessionId) -> Result<Vec<TerminalInfo>> {
        Ok(self.terminals.list())
    }

    async fn attach_terminal(
        &self,
        session: &SessionId,
        terminal: &TerminalId,
        size: TerminalSize,
    ) -> Result<AttachedTerminal> {
        self.called("attach_terminal", format_args!("{session} {terminal} {size:?}"))?;
        self.terminals.attach(terminal)
    }

    async fn close_terminal(&self, session: &SessionId, terminal: &TerminalId) -> Result<()> {
        self.called("close_terminal", format_args!("{session} {terminal}"))?;
        self.terminals.close(terminal);
        Ok(())
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

    async fn renew_lease(&self, session: &SessionId) -> Result<SessionInfo> {
        self.called("renew_lease", session)?;
        Ok(self.sessions[0].clone())
    }

    async fn checkpoint(&self, session: &SessionId) -> Result<Option<Checkpoint>> {
        self.called("checkpoint", session)?;
        Ok(self.kept.checkpoints.first().cloned())
    }

    async fn checkpoints(&self, session: &SessionId) -> Result<Vec<Checkpoint>> {
        self.called("checkpoints", session)?;
        Ok(self.kept.checkpoints.clone())
    }

    async fn checkpoint_patch(&self, session: &SessionId, checkpoint: &CheckpointId) -> Result<ByteStream> {
        self.called("checkpoint_patch", format_args!("{session} {checkpoint}"))?;
        let mut pieces: Vec<Result<Bytes>> = vec![Ok(Bytes::from(self.diff.patch.clone()))];
        if self.kept.breaks_off {
            pieces.push(Err(Error::new(
                ErrorKind::StoreFailed,
                "read the checkpoint",
                "its content is not what was kept",
            )));
        }
        Ok(stream::iter(pieces).boxed())
    }

    async fn restore(&self, request: RestoreRequest) -> Result<SessionInfo> {
        let RestoreRequest {
            session,
            checkpoint,
            idempotency_key,
            ..
        } = request;
        let key = keyed(idempotency_key.as_deref());
        self.called("restore", format_args!("{session} {checkpoint:?}{key}"))?;
        Ok(self
            .kept
            .restored
            .clone()
            .unwrap_or_else(|| self.sessions[0].clone()))
    }

    async fn collect_garbage(&self, dry_run: bool) -> Result<GarbageReport> {
        self.called("collect_garbage", dry_run)?;
        Ok(GarbageReport {
            dry_run,
            ..self.kept.garbage.clone()
        })
    }

    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditLine>> {
        self.called(
            "audit",
            format_args!("{} {} {}", query.after, query.limit, query.tail),
        )?;
        let mut lines: Vec<AuditLine> = self
            .kept
            .audit
            .iter()
            .filter(|line| line.seq > query.after)
            .filter(|line| query.session.is_none() || line.session == query.session)
            .cloned()
            .collect();
        if query.tail {
            lines.drain(..lines.len().saturating_sub(query.limit));
        }
        lines.truncate(query.limit);
        Ok(lines)
    }

    async fn verify_audit(&self) -> Result<AuditVerdict> {
        self.called("verify_audit", "")?;
        Ok(AuditVerdict {
            lines: self.kept.audit.len() as u64,
            broken_at: self.kept.broken_at,
        })
    }

    async fn destroy(&self, session: &SessionId) -> Result<()> {
        self.called("destroy", session)
    }
}

/// The key of a request, when it has one.
fn keyed(key: Option<&str>) -> String {
    key.map(|key| format!(" key {key}")).unwrap_or_default()
}
