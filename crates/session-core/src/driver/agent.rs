//! The agent's process: owned by whoever holds the session's agent lock, one for the whole session.
//!
//! Every prompt is written with a key that grows and is stored before the write; `session-init` writes each key once.
//! So a manager that died between storing and writing is followed by one that writes again, and the agent reads each
//! prompt exactly once. Prompts have even keys and interrupts odd ones: the parity of the last key says what may have to
//! be written again.

use session_link::{
    ErrorKind as LinkKind, ExitCause, ExitReport, Link, LinkError, OnDisconnect, Process, ProcessEvent,
    ProcessId, SpawnSpec, StdinMode,
};

use super::Driver;
use super::lines::Piece;
use super::owned_agent::{LAST_WORDS, OwnedAgent};
use crate::agent::AgentSignal;
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventKind;
use crate::id::TurnId;
use crate::link_error::from_link;
use crate::runtime::ContainerSpec;
use crate::state::StateName;
use crate::state_dir::AgentLock;
use crate::store::{AgentRecord, Batch, SessionRecord};

/// What the ids of agents' processes start with.
const AGENT_PREFIX: &str = "agent-";

/// The place of whoever owns the agent.
pub(super) struct Taken {
    pub(super) lock: AgentLock,
    pub(super) link: Link,
    record: SessionRecord,
    /// The agent's process, when it runs.
    pub(super) attached: Option<(Process, AgentRecord)>,
}

impl Driver {
    /// Starts the agent if it does not run, so that the first prompt does not wait for it.
    pub(super) async fn warm(&mut self) -> Result<()> {
        if self.agent.is_none() {
            self.own_agent(&[]).await?;
        }
        Ok(())
    }

    /// Takes the agent lock and the agent. `false` when another process holds it, or a person sits at its own interface.
    ///
    /// An agent that runs already is taken as it is; one that has to be started may use `tools` only.
    pub(super) async fn own_agent(&mut self, tools: &[String]) -> Result<bool> {
        let Some(taken) = self.take_agent().await? else {
            return Ok(false);
        };
        let Taken {
            lock,
            link,
            record,
            attached,
        } = taken;
        let (process, agent) = match attached {
            Some(attached) => attached,
            None => {
                // Before there is another one: whoever finds that takes it for the one that has the turn.
                self.end_turn_of_lost_agent().await?;
                self.start_agent(&link, &record, tools).await?
            }
        };
        fail::fail_point!("driver.agent.owned", |_| crate::fault::link("take the agent"));
        self.own(OwnedAgent::new(lock, link, process, agent)).await?;
        Ok(true)
    }

    /// The agent's lock with what belongs to it, and the agent's process if it runs. `None` as for [`Driver::own_agent`].
    pub(super) async fn take_agent(&mut self) -> Result<Option<Taken>> {
        if self.look_after_interface().await? {
            return Ok(None);
        }
        let Some(lock) = self.foundation.state_dir.try_lock_agent(&self.id)? else {
            return Ok(None);
        };
        fail::fail_point!("driver.agent.locked", |_| crate::fault::link("take the agent"));
        let (link, _) = self.connect().await?;
        // After the lock is taken: whoever held it before may have changed the record until then, and what it still has on
        // its way to the disk must not come after this.
        let record = self.foundation.store.take_agent(&self.id).await?;
        fail::fail_point!("driver.agent.taken", |_| crate::fault::link("take the agent"));
        self.open_doors(&link, &record).await?;
        let Some((lock, record)) = self.past_interface(&link, lock, record).await? else {
            return Ok(None);
        };
        let attached = self.attach_agent(&link, &record).await?;
        Ok(Some(Taken {
            lock,
            link,
            record,
            attached,
        }))
    }

    /// Sees to it that the agent may use `tools` only. They are fixed when its process starts, so another set means
    /// another process, which goes on with the same conversation.
    pub(super) async fn allow_tools(&mut self, tools: &[String]) -> Result<()> {
        let Some(agent) = self.agent.take_if(|agent| agent.record.tools != tools) else {
            return Ok(());
        };
        // Forgetting ends it first.
        let operation = "start the agent with other tools";
        let forgotten = agent.link.forget(agent.process.id()).await;
        forgotten.map_err(|error| from_link(operation, error))?;
        let record = self.record().await?;
        let (process, record) = self.start_agent(&agent.link, &record, tools).await?;
        self.agent = Some(OwnedAgent::new(agent.lock, agent.link, process, record));
        Ok(())
    }

    /// The agent's process, if it runs.
    async fn attach_agent(
        &self,
        link: &Link,
        record: &SessionRecord,
    ) -> Result<Option<(Process, AgentRecord)>> {
        let Some(process) = &record.agent.process else {
            return Ok(None);
        };
        match link.attach(&process_id(process)?, record.agent.offset).await {
            Ok(process) => Ok(Some((process, record.agent.clone()))),
            // Stored and never started, or the container has started anew since.
            Err(error) if error.kind() == LinkKind::NoSuchProcess => Ok(None),
            Err(error) => Err(from_link("attach to the agent", error)),
        }
    }

    async fn start_agent(
        &self,
        link: &Link,
        record: &SessionRecord,
        tools: &[String],
    ) -> Result<(Process, AgentRecord)> {
        forget_agents(link).await?;
        let id = process_id(&format!("{AGENT_PREFIX}{:016x}", rand::random::<u64>()))?;
        let agent = AgentRecord {
            process: Some(id.as_str().to_owned()),
            offset: 0,
            tools: tools.to_vec(),
            ..record.agent.clone()
        };
        let batch = Batch {
            agent: Some(agent.clone()),
            ..Batch::default()
        };
        self.foundation.store.commit(&self.id, batch).await?;
        let launch = self.foundation.agent.launch(&self.agent_context(record, tools));
        fail::fail_point!("driver.agent.recorded", |_| crate::fault::link("start the agent"));
        let mut spec = SpawnSpec::new(id, launch.argv);
        spec.env = launch.env.into_iter().collect();
        spec.cwd = Some(ContainerSpec::WORKSPACE_DIR.to_owned());
        spec.stdin = StdinMode::Piped;
        spec.on_disconnect = OnDisconnect::KeepRunning;
        let process = link
            .run(spec)
            .await
            .map_err(|error| from_link("start the agent", error))?;
        fail::fail_point!("driver.agent.spawned", |_| crate::fault::link("start the agent"));
        Ok((process, agent))
    }

    /// Turns output into events. Events and the offset behind them are stored in one transaction, so each piece of
    /// output becomes events exactly once, whoever reads it.
    pub(super) async fn agent_output(&mut self, output: Result<Option<ProcessEvent>, LinkError>) {
        let Some(agent) = &mut self.agent else { return };
        let outcome = match output {
            Ok(Some(ProcessEvent::Output {
                stream,
                offset,
                bytes,
            })) => {
                let pieces = match stream {
                    session_link::OutputStream::Stdout => agent.lines.stdout(offset, bytes),
                    session_link::OutputStream::Stderr => agent.lines.stderr(offset, bytes),
                };
                self.settle(pieces, Vec::new()).await
            }
            Ok(Some(ProcessEvent::Gap { from, to })) => {
                let pieces = agent.lines.gap(to);
                self.settle(
                    pieces,
                    vec![EventKind::AgentOutputLost {
                        bytes: to.saturating_sub(from),
                    }],
                )
                .await
            }
            Ok(Some(ProcessEvent::Exited(report))) => self.agent_exited(&report).await,
            Ok(None) => {
                self.agent = None;
                Ok(())
            }
            Err(error) => {
                tracing::debug!(session = %self.id, %error, "the agent's output broke off");
                self.link_lost().await;
                Ok(())
            }
        };
        if let Err(error) = outcome {
            // What could not be stored was not acknowledged either: owning the agent again reads it again.
            tracing::warn!(session = %self.id, %error, "the agent's output could not be stored");
            self.agent = None;
            self.retry.pause();
            self.wants_work = true;
        }
    }

    async fn settle(&mut self, pieces: Vec<Piece>, extra: Vec<EventKind>) -> Result<()> {
        let Some(agent) = &mut self.agent else {
            return Ok(());
        };
        let mut turn = agent.turn.as_ref().map(|turn| turn.id);
        let mut events: Vec<(Option<TurnId>, EventKind)> =
            extra.into_iter().map(|kind| (turn, kind)).collect();
        let mut ended = None;
        let mut signals = Vec::new();
        if let Some(active) = &mut agent.turn {
            active.watch.heard();
        }
        for piece in pieces {
            signals.extend(translate(&*self.foundation.agent, agent, piece));
        }
        for signal in signals {
            match signal {
                AgentSignal::Event(kind) => events.push((turn, kind)),
                AgentSignal::Ready { conversation } => {
                    agent.record.conversation = conversation.or(agent.record.conversation.take());
                }
                AgentSignal::ConversationLost => {
                    agent.record.conversation = None;
                    agent.conversation_lost = true;
                    events.push((turn, conversation_lost()));
                }
                // What comes after the result belongs to no turn, a second result least of all.
                AgentSignal::TurnEnded(outcome) if turn.is_some() => {
                    ended = Some(outcome);
                    turn = None;
                }
                AgentSignal::TurnEnded(_) | AgentSignal::Interrupted => {}
            }
        }
        if let Some(active) = &mut agent.turn {
            let own = events.iter().filter(|(turn, _)| *turn == Some(active.id));
            own.for_each(|(_, kind)| active.watch.note(kind));
        }
        let settled = agent.lines.settled();
        if events.is_empty() && ended.is_none() && settled == agent.record.offset {
            return Ok(());
        }
        fail::fail_point!("driver.output.before", |_| crate::fault::store(
            "settle the agent's output"
        ));
        agent.record.offset = settled;
        let batch = Batch {
            events,
            agent: Some(agent.record.clone()),
            // Another process may have ended the session and its turn meanwhile: nothing is said of them after that.
            expect_state: agent.turn.as_ref().map(|_| StateName::Busy),
            ..Batch::default()
        };
        match ended {
            Some(outcome) => self.finish_turn(outcome, batch).await?,
            None => drop(self.foundation.store.commit(&self.id, batch).await?),
        }
        fail::fail_point!("driver.output.settled");
        if let Some(agent) = &mut self.agent {
            agent.acknowledge();
        }
        Ok(())
    }

    async fn agent_exited(&mut self, report: &ExitReport) -> Result<()> {
        let Some(agent) = &mut self.agent else {
            return Ok(());
        };
        fail::fail_point!("driver.agent.exited", |_| crate::fault::store(
            "settle the agent's end"
        ));
        let rest = agent.lines.finish();
        self.settle(rest, Vec::new()).await?;
        let Some(mut agent) = self.agent.take() else {
            return Ok(());
        };
        self.start_again = agent.restarts_with();
        let cause = describe_exit(report);
        let gone = agent.record.process.take();
        agent.record.offset = 0;
        let turn = agent.turn.as_ref().map(|turn| turn.id);
        let batch = Batch {
            events: vec![(turn, EventKind::AgentExited { cause: cause.clone() })],
            agent: Some(agent.record.clone()),
            ..Batch::default()
        };
        match &agent.turn {
            Some(_) if agent.conversation_lost => {
                self.foundation.store.commit(&self.id, batch).await?;
                return self.begin_anew(agent).await;
            }
            Some(active) => {
                let outcome = active.outcome_of_dead_agent(report, &cause, &agent.last_words());
                self.finish_turn_of(active.id, outcome, batch).await?;
            }
            None => drop(self.foundation.store.commit(&self.id, batch).await?),
        }
        fail::fail_point!("driver.agent.ended");
        if let Some(id) = gone.and_then(|id| ProcessId::new(id).ok()) {
            let _ = agent.link.forget(&id).await;
        }
        self.wants_work = true;
        Ok(())
    }

    /// An agent that could not resume has not begun with the turn: a new one, with a new conversation, gets its prompt.
    async fn begin_anew(&mut self, agent: OwnedAgent) -> Result<()> {
        let Some(active) = agent.turn else { return Ok(()) };
        let Some(turn) = self.foundation.store.turn(&self.id, &active.id).await? else {
            return Ok(());
        };
        let started = self
            .start_agent(&agent.link, &self.record().await?, &turn.tools)
            .await;
        // Should it fail, the turn is found running without an agent, and ends.
        self.wants_work = started.is_err();
        let (process, record) = started?;
        let mut anew = OwnedAgent::new(agent.lock, agent.link, process, record);
        anew.record.stdin_key = anew.next_key(false);
        let batch = Batch {
            agent: Some(anew.record.clone()),
            ..Batch::default()
        };
        self.foundation.store.commit(&self.id, batch).await?;
        anew.turn = Some(active);
        anew.write(self.foundation.agent.prompt(&turn.id, &turn.prompt));
        self.agent = Some(anew);
        Ok(())
    }
}

/// An agent keeps its conversation from its first answer on: one that is killed before has none to resume.
fn conversation_lost() -> EventKind {
    let message = "the agent's conversation is not there, so a new one is begun";
    let error = Error::new(ErrorKind::AgentFailed, "resume the conversation", message);
    EventKind::Problem {
        error: error.report(),
    }
}

/// Ends agents of this session that nobody knows any more: one that was given up may be working still.
pub(super) async fn forget_agents(link: &Link) -> Result<()> {
    let operation = "end an earlier agent";
    let all = link
        .processes()
        .await
        .map_err(|error| from_link(operation, error))?;
    for process in all
        .iter()
        .filter(|process| process.id.as_str().starts_with(AGENT_PREFIX))
    {
        let forgotten = link.forget(&process.id).await;
        forgotten.map_err(|error| from_link(operation, error))?;
    }
    Ok(())
}

pub(super) fn process_id(text: &str) -> Result<ProcessId> {
    ProcessId::new(text).map_err(|error| {
        Error::new(ErrorKind::Internal, "name the agent's process", "bad id").with_source(error)
    })
}

fn translate(
    driver: &dyn crate::agent::AgentDriver,
    agent: &mut OwnedAgent,
    piece: Piece,
) -> Vec<AgentSignal> {
    match piece {
        Piece::Line(line) if line.iter().all(u8::is_ascii_whitespace) => Vec::new(),
        Piece::Line(line) => driver.parse(&line),
        Piece::LongLine(start) => {
            let text = String::from_utf8_lossy(&start[..start.len().min(LAST_WORDS)]).into_owned();
            vec![AgentSignal::Event(EventKind::AgentOther {
                raw: serde_json::Value::String(text),
            })]
        }
        Piece::Stderr(bytes) => {
            agent.remember(&bytes);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            vec![AgentSignal::Event(EventKind::AgentStderr { text })]
        }
    }
}

/// How a process ended, in one line.
pub(crate) fn describe_exit(report: &ExitReport) -> String {
    match (report.cause, report.code, report.signal) {
        (ExitCause::OutOfMemory, ..) => "the kernel ended it for lack of memory".to_owned(),
        (ExitCause::NotFound, ..) => "its program is not in the session".to_owned(),
        (ExitCause::NotExecutable, ..) => "its program cannot be executed in this image".to_owned(),
        (_, Some(code), _) => format!("it ended with exit code {code}"),
        (_, None, Some(signal)) => format!("signal {signal} ended it"),
        (cause, None, None) => format!("it ended: {cause:?}"),
    }
}
