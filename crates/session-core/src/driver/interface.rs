//! The agent's own interface: a person in front of it instead of prompts.
//!
//! One of both has the conversation at a time. While the interface is open, its process stands in the agent's record where
//! that of the long-lived one stands otherwise, and whoever opened it, or finds it running, holds the agent's lock: turns
//! wait. When it ends the conversation goes on where the person left it. Which that is the interface says itself in a note
//! inside, since a person may begin another one or go back to an older one; a conversation in which nothing was said is
//! none.

use std::time::Duration;

use session_link::{
    Link, OnDisconnect, Process, ProcessEvent, ProcessId, ProcessState, SpawnSpec, SpoolLimits, StdinMode,
    Terminal,
};

use super::agent::forget_agents;
use super::{Driver, process_id};
use crate::agent::AgentContext;
use crate::error::{Error, ErrorKind, Result};
use crate::gateway::MODEL_PORT;
use crate::id::TerminalId;
use crate::link_error::from_link;
use crate::runtime::ContainerSpec;
use crate::state::Operation;
use crate::state_dir::AgentLock;
use crate::store::{AgentRecord, Batch, SessionRecord};

const OPERATION: &str = "open the agent's own interface";
/// What stands before the terminal's id in the agent's record.
const PREFIX: &str = "terminal-";
/// The longest note of an interface that is read.
const MAX_NOTE: usize = 16 << 10;
/// How long reading it may take.
const NOTE_PATIENCE: Duration = Duration::from_secs(10);
/// The same as seen from outside, where nobody stands still.
const READ_PATIENCE: Duration = Duration::from_secs(20);

/// What is asked for.
pub(crate) struct InterfacePlan {
    /// Also the id of its process.
    pub(crate) id: TerminalId,
    pub(crate) terminal: Terminal,
    pub(crate) spool: SpoolLimits,
    /// Added to the environment, where that says nothing else.
    pub(crate) env: (&'static str, &'static str),
}

/// An interface that is open.
pub(super) struct OpenInterface {
    /// Held for as long as it is.
    _lock: AgentLock,
    id: TerminalId,
}

/// The interface that has the conversation, as far as the record says.
fn recorded(agent: &AgentRecord) -> Option<TerminalId> {
    agent.process.as_deref()?.strip_prefix(PREFIX)?.parse().ok()
}

/// Where an interface leaves its note.
fn note_path(id: &TerminalId) -> String {
    format!("{}/.claude/cofferdam-{id}.json", ContainerSpec::HOME_DIR)
}

fn busy(message: &'static str) -> Error {
    Error::new(ErrorKind::Busy, OPERATION, message)
}

impl Driver {
    /// Lets go of the agent's process and starts its interface in the same conversation.
    /// It may be broken off anywhere and called again.
    pub(super) async fn open_interface(&mut self, plan: &InterfacePlan) -> Result<(Link, Process)> {
        self.record().await?.info.state.permits(Operation::Command)?;
        let store = self.foundation.store.clone();
        let turn = store.running_turn(&self.id).await?.is_some();
        if turn || store.next_queued_turn(&self.id).await?.is_some() {
            return Err(busy("a turn runs or waits").with_hint("wait for it or interrupt it first"));
        }
        let open = || busy("it is open already").with_hint("attach to that terminal, or close it first");
        if self.look_after_interface().await? {
            return Err(open());
        }
        self.ensure_base_tree().await;
        let lock = match self.agent.take() {
            Some(agent) => Some(agent.lock),
            None => self.foundation.state_dir.try_lock_agent(&self.id)?,
        };
        let lock = lock.ok_or_else(|| {
            busy("another process works with the agent").with_hint("open it there, or try again later")
        })?;
        let (link, _) = self.connect().await?;
        let mut record = store.take_agent(&self.id).await?;
        self.open_doors(&link, &record).await?;
        if let Some(id) = recorded(&record.agent) {
            if runs(&link, &id).await? {
                // Started before this was broken off, or somebody else's.
                let process = if id == plan.id {
                    Some(attach(&link, &id).await?)
                } else {
                    None
                };
                self.interface = Some(OpenInterface { _lock: lock, id });
                return process.map(|process| (link, process)).ok_or_else(open);
            }
            self.settle_interface(&link, id).await?;
            record = self.record().await?;
        }
        let process = self.start_interface(&link, &record, plan).await?;
        self.interface = Some(OpenInterface {
            _lock: lock,
            id: plan.id,
        });
        Ok((link, process))
    }

    async fn start_interface(
        &self,
        link: &Link,
        record: &SessionRecord,
        plan: &InterfacePlan,
    ) -> Result<Process> {
        let context = self.agent_context(record, &[]);
        let agent = &self.foundation.agent;
        let launch = agent.interface(&context, &note_path(&plan.id)).ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                OPERATION,
                "this agent has none of its own",
            )
            .with_hint("open a shell instead")
        })?;
        forget_agents(link).await?;
        self.record_interface(AgentRecord {
            process: Some(format!("{PREFIX}{}", plan.id)),
            offset: 0,
            tools: Vec::new(),
            ..record.agent.clone()
        })
        .await?;
        let mut spec = SpawnSpec::new(link_id(&plan.id)?, launch.argv);
        spec.env = launch.env.into_iter().collect();
        let (name, value) = plan.env;
        if !spec.env.iter().any(|(known, _)| known == name) {
            spec.env.push((name.to_owned(), value.to_owned()));
        }
        spec.cwd = Some(ContainerSpec::WORKSPACE_DIR.to_owned());
        spec.stdin = StdinMode::Piped;
        spec.terminal = Some(plan.terminal.clone());
        spec.spool = plan.spool;
        spec.on_disconnect = OnDisconnect::KeepRunning;
        let process = link
            .run(spec)
            .await
            .map_err(|error| from_link(OPERATION, error))?;
        if process.pid().is_some() {
            return Ok(process);
        }
        // Not started: what the record says of it is put right by whoever wants the agent next.
        let _ = link.forget(process.id()).await;
        Err(Error::new(
            ErrorKind::AgentFailed,
            OPERATION,
            "its program cannot be started in this session",
        ))
    }

    async fn record_interface(&self, agent: AgentRecord) -> Result<()> {
        let batch = Batch {
            agent: Some(agent),
            ..Batch::default()
        };
        self.foundation.store.commit(&self.id, batch).await.map(drop)
    }

    /// Whether the interface is open. One that ended gives the conversation back; one that is open has its doors answered.
    pub(super) async fn look_after_interface(&mut self) -> Result<bool> {
        let Some(id) = self.interface.as_ref().map(|open| open.id) else {
            return Ok(false);
        };
        let (link, _) = self.connect().await?;
        if runs(&link, &id).await? {
            if !self.answers_all_doors() {
                let record = self.record().await?;
                self.open_doors(&link, &record).await?;
            }
            return Ok(true);
        }
        self.settle_interface(&link, id).await?;
        self.interface = None;
        self.wants_work = true;
        Ok(false)
    }

    /// Somebody heard of an interface: that it runs, or that it ended.
    pub(super) async fn interface_heard_of(&mut self) {
        let outcome = async {
            if self.interface.is_some() {
                self.look_after_interface().await.map(drop)
            } else if recorded(&self.record().await?.agent).is_some() && self.agent.is_none() {
                self.own_agent(&[]).await.map(drop)
            } else {
                Ok(())
            }
        };
        if let Err(error) = outcome.await {
            tracing::warn!(session = %self.id, %error, "the agent's own interface could not be looked after");
        }
        self.wants_work = true;
    }

    /// For whoever has just taken the agent: an interface that runs keeps it. `None` when there is one.
    pub(super) async fn past_interface(
        &mut self,
        link: &Link,
        lock: AgentLock,
        record: SessionRecord,
    ) -> Result<Option<(AgentLock, SessionRecord)>> {
        let Some(id) = recorded(&record.agent) else {
            return Ok(Some((lock, record)));
        };
        if runs(link, &id).await? {
            self.interface = Some(OpenInterface { _lock: lock, id });
            return Ok(None);
        }
        self.settle_interface(link, id).await?;
        Ok(Some((lock, self.record().await?)))
    }

    /// The conversation is where the interface left it.
    async fn settle_interface(&self, link: &Link, id: TerminalId) -> Result<()> {
        let record = self.record().await?;
        if recorded(&record.agent) != Some(id) {
            return Ok(());
        }
        let path = note_path(&id);
        let note = read(link, &["sh", "-c", "cat \"$0\"", &path]).await?;
        let left = self.foundation.agent.interface_left(&note.unwrap_or_default());
        let conversation = match left {
            // It never got so far as to say anything.
            None => record.agent.conversation.clone(),
            Some(left) => read(link, &["test", "-s", &left.transcript])
                .await?
                .map(|_| left.conversation),
        };
        self.record_interface(AgentRecord {
            process: None,
            offset: 0,
            conversation,
            ..record.agent
        })
        .await?;
        // What is left of it harms nobody.
        let _ = read(link, &["rm", "-f", &path]).await;
        Ok(())
    }

    /// How the agent is started, by whichever of its two ways.
    pub(super) fn agent_context(&self, record: &SessionRecord, tools: &[String]) -> AgentContext {
        AgentContext {
            model_url: format!("http://127.0.0.1:{MODEL_PORT}"),
            model_api: self.model_api(),
            token: record.token.clone(),
            model: record.info.model.clone(),
            small_model: record.info.small_model.clone(),
            permissions: record.info.permissions,
            mcp_url: self.mcp_url(),
            allowed_tools: tools.to_vec(),
            env: self.environment(record),
            resume: record.agent.conversation.clone(),
        }
    }
}

fn link_id(id: &TerminalId) -> Result<ProcessId> {
    process_id(&id.to_string())
}

async fn attach(link: &Link, id: &TerminalId) -> Result<Process> {
    let attached = link.attach(&link_id(id)?, 0).await;
    attached.map_err(|error| from_link(OPERATION, error))
}

async fn runs(link: &Link, id: &TerminalId) -> Result<bool> {
    let id = link_id(id)?;
    let all = link
        .processes()
        .await
        .map_err(|error| from_link("look for the agent's own interface", error))?;
    Ok(all
        .iter()
        .any(|process| process.id == id && process.state == ProcessState::Running))
}

/// What a small program says, if it succeeds. In a container that somebody froze not even its time limit passes.
async fn read(link: &Link, argv: &[&str]) -> Result<Option<Vec<u8>>> {
    let operation = "read what the agent's own interface left";
    let read = tokio::time::timeout(READ_PATIENCE, read_in_time(operation, link, argv)).await;
    read.unwrap_or_else(|_late| {
        Err(Error::new(
            ErrorKind::LinkLost,
            operation,
            "the session does not answer",
        ))
    })
}

async fn read_in_time(operation: &'static str, link: &Link, argv: &[&str]) -> Result<Option<Vec<u8>>> {
    let id = process_id(&format!("note-{:016x}", rand::random::<u64>()))?;
    let mut spec = SpawnSpec::new(id.clone(), argv);
    spec.env = vec![("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())];
    spec.time_limit = Some(NOTE_PATIENCE);
    spec.output_limit = Some(MAX_NOTE as u64);
    let failed = |error| from_link(operation, error);
    let mut process = link.run(spec).await.map_err(failed)?;
    let mut said = Vec::new();
    let mut success = false;
    while let Some(event) = process.next().await.map_err(failed)? {
        match event {
            ProcessEvent::Output { bytes, .. } => said.extend_from_slice(&bytes),
            ProcessEvent::Gap { .. } => {}
            ProcessEvent::Exited(report) => success = report.success(),
        }
    }
    link.forget(&id).await.map_err(failed)?;
    Ok(success.then_some(said))
}
