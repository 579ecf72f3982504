//! One task owns one live session (I8).
//!
//! Requests come in by a bounded queue, the link goes out by a watch. The task alone changes the session's state,
//! starts and reads the agent, and hands it turns. What it knows is in the store before anybody hears of it, so that
//! another process can go on where this one stopped:
//!
//! ```text
//!             connect             agent lock + attach
//!   idle ───────────────▶ linked ───────────────────▶ owning ──▶ turn ─▶ turn ─▶ …
//!    ▲                      │ ▲                          │
//!    └──── link lost ───────┘ └──── agent exited ────────┘
//! ```
//!
//! Only the process that holds the session's agent lock reads the agent's output and gives it prompts. Others may link
//! at the same time, run commands and copy files; a turn that they accept waits in the store until the owner takes it,
//! or until the lock is free.

mod adopt;
mod agent;
mod boot;
mod bring_back;
mod certificates;
mod checkpoints;
mod clone;
mod connect;
mod container;
mod create;
mod destroy;
mod doors;
mod handle;
mod inbox;
mod interface;
mod interrupt;
mod last_work;
mod ledger;
mod lines;
mod owned_agent;
mod recover;
mod retry;
mod sight;
mod snapshot;
mod told;
mod turns;
mod watchdog;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use session_link::{Link, Process};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::Instrument as _;

pub(crate) use self::agent::describe_exit;
pub(crate) use self::create::{LaunchPlan, send_archive};
pub(crate) use self::doors::mcp_plan;
pub(crate) use self::handle::DriverHandle;
pub(crate) use self::interface::InterfacePlan;
pub(crate) use self::sight::EngineSight;
use crate::activity::{Activity, StallCause, WatchdogPolicy};
use crate::agent::AgentDriver;
use crate::checkpoint::{Checkpoint, CheckpointPolicy};
use crate::driver::agent::process_id;
use crate::driver::checkpoints::Checkpoints;
use crate::driver::connect::{Connection, Linked};
use crate::driver::inbox::Inbox;
use crate::driver::interface::OpenInterface;
use crate::driver::interrupt::ForeignInterrupt;
use crate::driver::last_work::LastWork;
use crate::driver::owned_agent::OwnedAgent;
use crate::driver::recover::Comeback;
use crate::driver::retry::Retry;
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventKind;
use crate::gateway::{Admission, Gateway, ProviderAccount};
use crate::id::{ContainerId, ContainerName, SessionId, TurnId};
use crate::label::Signer;
use crate::lifetime::{ExpiryCause, RecoveryPolicy};
use crate::manager::Door;
use crate::policy::mounts::HostPaths;
use crate::runtime::{ContainerEventKind, ContainerRuntime};
use crate::session::Carrier;
use crate::state::{SessionState, Transition};
use crate::state_dir::StateDir;
use crate::store::{Batch, SessionRecord, Store};

/// How many requests may wait for a session's task.
const QUEUE: usize = 64;
/// How often a process that is not the owner looks whether the agent lock is free while turns wait.
const CONTEND_EVERY: Duration = Duration::from_millis(200);
/// How often an owner whose agent has nothing to do looks for turns that other processes accepted.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How often a step is judged again because another process made one in between.
const STEP_ATTEMPTS: u32 = 8;

/// What every session's task rests on.
#[derive(Clone)]
pub(crate) struct Foundation {
    pub(crate) state_dir: Arc<StateDir>,
    pub(crate) store: Store,
    pub(crate) runtime: Arc<dyn ContainerRuntime>,
    pub(crate) gateway: Arc<dyn Gateway>,
    pub(crate) agent: Arc<dyn AgentDriver>,
    pub(crate) signer: Signer,
    /// What is particular to this host: what a session may see of it is judged again when it comes back.
    pub(crate) host: HostPaths,
    /// What this process saw of the engine as a whole.
    pub(crate) sight: Arc<EngineSight>,
    /// How often and how soon a session is brought back.
    pub(crate) recovery: RecoveryPolicy,
    /// How many are made, or brought back, at once.
    pub(crate) door: Arc<Door>,
    /// How long a container may take to dial the socket before the bridge is tried.
    pub(crate) socket_patience: Duration,
    /// How long an interrupted agent may take before it is ended and started anew.
    pub(crate) interrupt_grace: Duration,
    /// What sessions are told to trust, judged.
    pub(crate) certificates: Option<Bytes>,
    /// When a turn is said to hang, and what is done about it.
    pub(crate) watchdog: WatchdogPolicy,
    /// When its work is kept.
    pub(crate) checkpoints: CheckpointPolicy,
    /// Who is at work holds a token of it; see [`crate::manager::SessionManager::at_work`].
    pub(crate) work: TaskTracker,
}

type Answer<T> = oneshot::Sender<Result<T>>;

pub(crate) enum Request {
    Create(Box<LaunchPlan>, Answer<()>),
    Link(Answer<(Link, Carrier)>),
    /// A link for programs, and what they find around them.
    Programs(Box<SessionRecord>, Answer<Linked>),
    /// Turns wait in the store.
    Work(Option<ProviderAccount>),
    Interrupt(Answer<bool>),
    InterruptTurn(TurnId, Answer<bool>),
    Snapshot(Answer<String>),
    /// Somebody wants the work to be kept now.
    Checkpoint(Answer<Option<Checkpoint>>),
    /// Somebody wants a checkpoint's work back.
    Restore(Box<Checkpoint>, Answer<()>),
    /// A person wants the agent's own interface.
    OpenInterface(Box<InterfacePlan>, Answer<(Link, Process)>),
    /// It was found running, or it ended.
    Interface,
    Pause(Answer<()>),
    Resume(Answer<()>),
    Destroy(Answer<()>),
    /// It has outlived what it was given, as judged by this lease; answers whether it ended.
    Expire(ExpiryCause, Option<Timestamp>, Answer<bool>),
    /// The engine reported a fact.
    Container(ContainerEventKind),
    /// What is recorded and what the engine says do not agree.
    Look,
    /// Its last owner is gone: everything that it had of the session is taken up again.
    Adopt(Box<SessionRecord>, Answer<()>),
    /// Somebody wants the truth about the container.
    Refresh(Answer<()>),
    /// Somebody wants to know what the agent does, and on what it hangs.
    Activity(Answer<(Option<Activity>, Option<StallCause>)>),
}

/// The task's own state.
struct Driver {
    id: SessionId,
    container: ContainerName,
    foundation: Foundation,
    link_out: watch::Sender<Option<Linked>>,
    connection: Option<Connection>,
    agent: Option<OwnedAgent>,
    /// Open instead of it.
    interface: Option<OpenInterface>,
    /// The caller's own account, when this process knows it.
    account: Option<ProviderAccount>,
    /// What the session was admitted to at this process's gateway.
    admission: Option<Admission>,
    /// Turns may wait in the store and nobody here has looked since.
    wants_work: bool,
    /// The session's latest event when work was looked for last. A turn that another process accepts is an event.
    looked_at: Option<u64>,
    /// Why and when work that could not be done is tried again.
    retry: Retry,
    /// An interrupt that another process's agent should obey.
    foreign_interrupt: Option<ForeignInterrupt>,
    /// The tools of an agent that was ended to be started again.
    start_again: Option<Vec<String>>,
    checkpoints: Checkpoints,
    last_work: LastWork,
    /// It was said that there will be neither diff nor checkpoints.
    told_of_no_git: bool,
    /// Held while a turn of it runs or waits, as far as this task knows.
    at_work: Option<TaskTrackerToken>,
    /// Whether and when it is brought back.
    comeback: Comeback,
    /// The engine's id of a container that was made here and is not recorded yet.
    launched: Option<ContainerId>,
    ended: bool,
}

impl Driver {
    fn new(
        foundation: Foundation,
        record: &SessionRecord,
        link_out: watch::Sender<Option<Linked>>,
        coming: Arc<AtomicBool>,
    ) -> Self {
        Self {
            id: record.info.id,
            container: record.container.clone(),
            foundation,
            link_out,
            connection: None,
            agent: None,
            interface: None,
            account: None,
            admission: None,
            wants_work: false,
            looked_at: None,
            retry: Retry::default(),
            foreign_interrupt: None,
            start_again: None,
            checkpoints: Checkpoints::default(),
            last_work: LastWork::default(),
            told_of_no_git: false,
            at_work: None,
            comeback: Comeback::new(coming),
            launched: None,
            ended: false,
        }
    }

    async fn run(mut self, mut inbox: Inbox, shutdown: tokio_util::sync::CancellationToken) {
        while !self.ended {
            if !self.wants_work && self.active_turn().is_none() {
                self.at_work = None;
            }
            if self.has_time_for_work() {
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => break,
                    request = inbox.urgent() => {
                        // Broken off anywhere, as a kill would: what counts is in the store, and is looked at again.
                        self.agent = None;
                        self.wants_work = true;
                        self.handle(request, &mut inbox).await;
                        continue;
                    }
                    () = self.take_work() => {}
                }
            }
            if self.comeback.is_due() {
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => break,
                    request = inbox.cannot_wait_for_comeback() => {
                        // As above; the attempt is due still.
                        self.comeback_broken_off().await;
                        self.handle(request, &mut inbox).await;
                    }
                    () = self.come_back() => {}
                }
                continue;
            }
            let deadline = self.next_deadline();
            // Every arm may be cancelled by another: requests, `cancelled` and `closed` lose nothing when dropped, the
            // agent's reader hands out each chunk once and keeps it until asked again, and a timer is a timer.
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                request = inbox.next() => match request {
                    Some(request) => self.handle(request, &mut inbox).await,
                    None => break,
                },
                output = owned_agent::next(&mut self.agent) => {
                    let turn = self.turn_span();
                    self.agent_output(output).instrument(turn).await;
                }
                () = connect::closed(&self.connection) => self.link_lost().await,
                () = wait_until(deadline) => {
                    let turn = self.turn_span();
                    self.deadline_passed().instrument(turn).await;
                }
            }
        }
        if !self.ended {
            self.settle_checkpoints_for_good().await;
        }
        self.disconnect().await;
        if self.admission.is_some() {
            // What was cut off is on the account when this is done.
            self.dismiss().await;
        }
    }

    async fn handle(&mut self, request: Request, inbox: &mut Inbox) {
        let _at_work = self.foundation.work.token();
        match request {
            Request::Create(plan, answer) => drop(answer.send(self.create(*plan, inbox).await)),
            Request::Link(answer) => tokio::select! {
                biased;
                // A link that is broken off in the making leaves nothing behind; it is made again afterwards.
                urgent = inbox.urgent() => inbox.put_back(Request::Link(answer), urgent),
                outcome = self.connect() => drop(answer.send(outcome)),
            },
            Request::Programs(record, answer) => tokio::select! {
                biased;
                // As above: what was opened for it is opened again, or is open still.
                urgent = inbox.urgent() => inbox.put_back(Request::Programs(record, answer), urgent),
                outcome = self.ready_for_programs(&record) => drop(answer.send(outcome)),
            },
            Request::Work(account) => {
                if account.is_some() {
                    // With it the session may be admitted to something else.
                    self.account = account;
                    self.admission = None;
                }
                self.wants_work = true;
                // Given back when there turns out to be no turn.
                self.at_work = Some(self.foundation.work.token());
            }
            Request::Interrupt(answer) => {
                let outcome = self.interrupt().await;
                let _ = answer.send(outcome);
            }
            Request::InterruptTurn(turn, answer) => {
                let outcome = self.interrupt_turn(turn).await;
                let _ = answer.send(outcome);
            }
            Request::Snapshot(answer) => tokio::select! {
                biased;
                // What git has begun goes on in the session, and is found again afterwards.
                urgent = inbox.urgent() => inbox.put_back(Request::Snapshot(answer), urgent),
                outcome = self.snapshot() => drop(answer.send(outcome)),
            },
            Request::Checkpoint(answer) => tokio::select! {
                biased;
                // Nothing was begun but, perhaps, the tree with which it is compared: that is found again.
                urgent = inbox.urgent() => inbox.put_back(Request::Checkpoint(answer), urgent),
                job = self.asked_job() => self.begin_asked(job, answer),
            },
            Request::Restore(checkpoint, answer) => tokio::select! {
                biased;
                // What was brought back by then is no change of the workspace to the one who does it again.
                urgent = inbox.urgent() => inbox.put_back(Request::Restore(checkpoint, answer), urgent),
                outcome = self.restore(&checkpoint) => drop(answer.send(outcome)),
            },
            Request::OpenInterface(plan, answer) => tokio::select! {
                biased;
                // One that was started by then is found under its id afterwards.
                urgent = inbox.urgent() => inbox.put_back(Request::OpenInterface(plan, answer), urgent),
                outcome = self.open_interface(&plan) => drop(answer.send(outcome)),
            },
            Request::Interface => tokio::select! {
                biased;
                urgent = inbox.urgent() => inbox.put_back(Request::Interface, urgent),
                () = self.interface_heard_of() => {}
            },
            Request::Pause(answer) => {
                let outcome = self.pause().await;
                let _ = answer.send(outcome);
            }
            Request::Resume(answer) => self.resume_asked(answer, inbox).await,
            Request::Destroy(answer) => {
                let outcome = self.destroy().await;
                self.ended = outcome.is_ok();
                let _ = answer.send(outcome);
            }
            Request::Expire(cause, lease, answer) => {
                let outcome = self.expire(cause, lease).await;
                self.ended = matches!(outcome, Ok(true));
                let _ = answer.send(outcome);
            }
            Request::Container(event) => self.container_event(event).await,
            Request::Look => self.look().await,
            Request::Adopt(record, answer) => tokio::select! {
                biased;
                // As a kill would: nothing of it is begun that is not found again.
                urgent = inbox.urgent() => inbox.put_back(Request::Adopt(record, answer), urgent),
                outcome = self.adopt(&record) => drop(answer.send(outcome)),
            },
            Request::Refresh(answer) => {
                let outcome = self.refresh().await;
                let _ = answer.send(outcome);
            }
            Request::Activity(answer) => {
                let outcome = self.activity().await;
                let _ = answer.send(outcome);
            }
        }
    }

    /// The record as it is stored now: other processes may have changed it.
    async fn record(&self) -> Result<SessionRecord> {
        self.foundation.store.session(&self.id).await?.ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                "read the session",
                "there is no such session",
            )
            .with_context("session", self.id)
        })
    }

    /// Makes one step of the state machine, durable when it returns.
    async fn transition(&self, transition: Transition) -> Result<SessionState> {
        self.transition_with(transition, Batch::default()).await
    }

    /// The same, and what becomes true with it.
    async fn transition_with(&self, transition: Transition, with: Batch) -> Result<SessionState> {
        let mut attempts = 0;
        loop {
            let record = self.record().await?;
            let next = record.info.state.after(transition.clone())?;
            if next == record.info.state {
                return Ok(next);
            }
            let batch = Batch {
                state: Some(next.clone()),
                expect_state: Some(record.info.state.name()),
                ..with.clone()
            };
            fail::fail_point!("driver.state.before", |_| crate::fault::store(
                "change the session's state"
            ));
            attempts += 1;
            match self.foundation.store.commit(&self.id, batch).await {
                Ok(_) => {
                    fail::fail_point!("driver.state.after");
                    tracing::info!(session = %self.id, state = next.name().as_str(), "the session's state changed");
                    return Ok(next);
                }
                // Another process made a step in between: this one is judged again from there.
                Err(error) if error.kind() == ErrorKind::StateConflict && attempts < STEP_ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn log(&self, kind: EventKind) {
        let batch = Batch {
            events: vec![(None, kind)],
            ..Batch::default()
        };
        if let Err(error) = self.foundation.store.commit(&self.id, batch).await {
            tracing::warn!(session = %self.id, %error, "an event could not be stored");
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let now = Instant::now();
        let look = match &self.agent {
            Some(agent) if agent.turn.is_none() => Some(now + LOOK_EVERY),
            None if self.wants_work => Some(now + CONTEND_EVERY),
            _ => None,
        };
        // Nothing is looked for before it may be tried again.
        let look = look.map(|at| self.retry.next().map_or(at, |next| next.max(now)));
        let turn = self.agent.as_ref().and_then(OwnedAgent::deadline);
        let foreign = self.foreign_interrupt.map(|foreign| foreign.force_at);
        let comeback = self.comeback.deadline();
        [
            look,
            turn,
            foreign,
            comeback,
            self.look_at(),
            self.egress_deadline(),
            self.checkpoint_due(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    async fn deadline_passed(&mut self) {
        self.attend_health().await;
        self.look_for_work().await;
        self.enforce().await;
        self.checkpoint_if_due().await;
        self.watch().await;
        self.take_over_egress().await;
    }
}

async fn wait_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
