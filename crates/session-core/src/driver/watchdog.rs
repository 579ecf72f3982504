//! The watchdog of a session's turn: who holds it up, and what is done about it.
//!
//! It runs in the session's own task (I8), only while a turn runs and only where its agent is owned. It looks every
//! second at most, sees what the agent says as the task stores it, and asks the gateway what goes on at the model door.
//! What it finds is an event before anything is done, so that an owner who dies in between is followed by one that
//! knows:
//!
//! ```text
//!   looks ──▶ a stall, told ──▶ lasts: interrupted or restarted ──▶ the turn fails, its outcome names the cause
//!     ▲              │
//!     └── recovered ─┘
//! ```
//!
//! A tool call that was under way when an agent is restarted is never made again: the turn ends, its conversation is
//! resumed, and the next prompt goes on.

#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Driver;
use super::interrupt::{Interrupt, Reason};
use super::owned_agent::OwnedAgent;
use super::turns::{ActiveTurn, failure};
use crate::activity::{Activity, Course, Facts, StallAction, StallCause, Suspicion, Told, WatchdogPolicy};
use crate::error::{ErrorKind, Result};
use crate::event::{Event, EventKind};
use crate::gateway::ModelActivity;
use crate::id::TurnId;
use crate::runtime::ContainerState;
use crate::session::EventQuery;
use crate::state::{SessionState, StateName};
use crate::store::Batch;
use crate::turn::{TurnFailure, TurnFailureCause, TurnInfo};

/// How often a turn that runs is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// And how often at most.
const LOOK_LEAST: Duration = Duration::from_millis(10);
/// How many of a turn's events are read to learn where it stands.
const RECALLED: usize = 500;

/// A stall and what is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stall {
    pub(super) cause: StallCause,
    for_ms: u64,
    action: StallAction,
}

/// What a look came to.
#[derive(Debug, Default, PartialEq)]
struct Findings {
    recovered: Option<EventKind>,
    stall: Option<Stall>,
}

/// What is known of a turn that runs, and when to look at it.
#[derive(Debug)]
pub(super) struct Watch {
    course: Course,
    /// The moment of `zero_ms`, which is a time of day: so that ages go on across processes, and clocks that are set
    /// change none within one.
    zero: Instant,
    zero_ms: u64,
    queued_since: Option<u64>,
    /// What was so before this moment counts from it: the turn's beginning at first, because a request that an earlier
    /// turn left behind may take a while to go.
    from: u64,
    look_at: Instant,
}

impl Watch {
    /// Of a turn that is handed to the agent now.
    pub(super) fn begin() -> Self {
        let (zero, zero_ms) = (Instant::now(), of_day(Timestamp::now()));
        Self {
            course: Course::begun_at(zero_ms),
            zero,
            zero_ms,
            queued_since: None,
            from: zero_ms,
            look_at: zero,
        }
    }

    /// Of a turn that runs already, elsewhere: these are events of its session, the latest among them. It is as old as they
    /// are, by the time of day.
    pub(super) fn recall(turn: &TurnId, events: &[Event]) -> Self {
        Self::since(turn, events, |event, _| of_day(event.at))
    }

    /// Of a turn whose owner died and that is ours now. How long nothing had happened before is not known, for the clock may
    /// have been set meanwhile: nobody is called silent who was not watched for so long. What was told goes on from there.
    pub(super) fn taken_over(turn: &TurnId, events: &[Event]) -> Self {
        let told = told_last(turn, events);
        Self::since(turn, events, |event, now| match told {
            Some((told, for_ms)) if event.seq < told => now.saturating_sub(for_ms),
            _ => now,
        })
    }

    fn since(turn: &TurnId, events: &[Event], moment: impl Fn(&Event, u64) -> u64) -> Self {
        let mut watch = Self::begin();
        let now = watch.zero_ms;
        let mut events = events
            .iter()
            .filter(|event| event.turn == Some(*turn))
            .map(|event| (moment(event, now).min(now), &event.kind))
            .peekable();
        if let Some((first, _)) = events.peek() {
            watch.course = Course::begun_at(*first);
            watch.from = *first;
        }
        for (at, kind) in events {
            watch.course.note(at, kind);
        }
        watch
    }

    fn now(&self) -> u64 {
        self.zero_ms.saturating_add(millis(self.zero.elapsed()))
    }

    /// The agent gave a sign of life.
    pub(super) fn heard(&mut self) {
        self.course.heard(self.now());
    }

    /// An event of the turn.
    pub(super) fn note(&mut self, kind: &EventKind) {
        self.course.note(self.now(), kind);
    }

    /// The stall that was told last and did not end, and what was done about it.
    pub(super) fn told(&self) -> Option<Stall> {
        let Told { cause, action, .. } = self.course.told()?;
        let for_ms = self.course.told()?.for_ms(self.now());
        Some(Stall {
            cause,
            for_ms,
            action,
        })
    }

    /// What it is about now.
    fn judge(&self, model: Option<ModelActivity>) -> (Activity, Option<Suspicion>) {
        let now = self.now();
        let known = now.saturating_sub(self.from);
        let model = model.map(|model| ModelActivity {
            silent_ms: model.silent_ms.map(|silent| silent.min(known)),
            ..model
        });
        let facts = Facts {
            turn: Some(self.course.facts(now)),
            model,
            queued_ms: self.queued_since.map_or(0, |since| now.saturating_sub(since)),
        };
        let (activity, suspicion) = facts.judge();
        let suspicion = suspicion.map(|suspicion| Suspicion {
            for_ms: suspicion.for_ms.min(known),
            ..suspicion
        });
        (activity, suspicion)
    }

    /// What so far was not the agent's fault counts from now on only.
    fn forgive(&mut self) {
        self.from = self.now();
    }

    /// Looks, and says when to look again.
    fn look(&mut self, model: ModelActivity, policy: &WatchdogPolicy) -> Findings {
        let now = self.now();
        let queues = model.queued > 0 && model.under_way == 0;
        self.queued_since = queues.then(|| self.queued_since.unwrap_or(now));
        let (_, suspicion) = self.judge(Some(model));
        self.look_at = Instant::now() + pause(policy, suspicion);
        let told = self.course.told();
        let due = suspicion.and_then(|suspicion| Some((suspicion, policy.due(suspicion)?)));
        let lasts = told.filter(|told| due.is_some_and(|(suspicion, _)| suspicion.cause == told.cause));
        Findings {
            recovered: told.filter(|_| lasts.is_none()).map(|told| {
                let (cause, for_ms) = (told.cause, told.for_ms(now));
                EventKind::AgentRecovered { cause, for_ms }
            }),
            stall: due
                .filter(|(_, action)| lasts.is_none_or(|told| told.action < *action))
                .map(|(Suspicion { cause, for_ms }, action)| Stall {
                    cause,
                    for_ms,
                    action,
                }),
        }
    }
}

/// How long until the next look: not longer than anything takes to become worth a word.
fn pause(policy: &WatchdogPolicy, suspicion: Option<Suspicion>) -> Duration {
    let next = suspicion.and_then(|suspicion| policy.next(suspicion));
    let all = [policy.shortest(), next];
    let shortest = all.into_iter().flatten().fold(LOOK_EVERY, Duration::min);
    shortest.max(LOOK_LEAST)
}

impl OwnedAgent {
    /// When its turn is to be looked at. A turn that is being ended is not watched any more.
    pub(super) fn look_at(&self, policy: &WatchdogPolicy) -> Option<Instant> {
        policy.shortest()?;
        let active = self.turn.as_ref()?;
        active.interrupt.is_none().then_some(active.watch.look_at)
    }

    /// Whether it ended because it was to be started again, and with which tools.
    pub(super) fn restarts_with(&self) -> Option<Vec<String>> {
        let why = self.turn.as_ref()?.interrupt?.why;
        matches!(why, Reason::Stalled(stall) if stall.action == StallAction::Restart)
            .then(|| self.record.tools.clone())
    }
}

impl Driver {
    /// When the turn that runs is to be looked at.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.agent.as_ref()?.look_at(&self.foundation.watchdog)
    }

    /// Looks at the turn that runs, if it is time.
    pub(super) async fn watch(&mut self) {
        if self.look_at().is_none_or(|at| at > Instant::now()) {
            return;
        }
        let model = self.foundation.gateway.activity(&self.id);
        let Some(active) = self.agent.as_mut().and_then(|agent| agent.turn.as_mut()) else {
            return;
        };
        let findings = active.watch.look(model, &self.foundation.watchdog);
        if let Err(error) = self.follow_up(findings).await {
            // Nothing was noted, so the next look finds it again.
            tracing::warn!(session = %self.id, %error, "what the watchdog found could not be followed up");
        }
    }

    async fn follow_up(&mut self, findings: Findings) -> Result<()> {
        if findings.stall.is_some() && self.is_frozen().await {
            // Somebody froze the container behind our back: nobody hangs but by their will.
            if let Some(active) = self.agent.as_mut().and_then(|agent| agent.turn.as_mut()) {
                active.watch.forgive();
            }
            return Ok(());
        }
        let mut events: Vec<_> = findings.recovered.into_iter().collect();
        let Some(stall) = findings.stall else {
            return self.tell(events).await;
        };
        let Stall {
            cause,
            for_ms,
            action,
        } = stall;
        tracing::info!(session = %self.id, cause = cause.as_str(), for_ms, ?action, "the turn does not get on");
        events.push(EventKind::AgentStalled {
            cause,
            for_ms,
            action,
        });
        match action {
            StallAction::Tell => self.tell(events).await,
            StallAction::Interrupt => self.interrupt_active(Reason::Stalled(stall), events).await,
            StallAction::Restart => {
                self.tell(events).await?;
                self.end_stalled(stall);
                Ok(())
            }
        }
    }

    /// Stores what the watchdog says of the turn.
    async fn tell(&mut self, events: Vec<EventKind>) -> Result<()> {
        let Some(agent) = self.agent.as_ref().filter(|_| !events.is_empty()) else {
            return Ok(());
        };
        let Some(turn) = agent.turn.as_ref().map(|turn| turn.id) else {
            return Ok(());
        };
        let batch = Batch {
            events: events.iter().map(|kind| (Some(turn), kind.clone())).collect(),
            // Nothing is said by one who does not own the agent any more, or of a turn that was ended meanwhile.
            agent: Some(agent.record.clone()),
            expect_state: Some(StateName::Busy),
            ..Batch::default()
        };
        self.foundation.store.commit(&self.id, batch).await?;
        self.noted(&events);
        Ok(())
    }

    /// These events of the turn that runs were stored.
    pub(super) fn noted(&mut self, events: &[EventKind]) {
        if let Some(active) = self.agent.as_mut().and_then(|agent| agent.turn.as_mut()) {
            for kind in events {
                active.watch.note(kind);
            }
        }
    }

    /// Ends the agent of a turn that hangs; what follows is done when it has ended.
    fn end_stalled(&mut self, stall: Stall) {
        let force_at = self.force_at();
        let Some(agent) = &mut self.agent else { return };
        let Some(active) = &mut agent.turn else { return };
        active.interrupt = Some(Interrupt {
            why: Reason::Stalled(stall),
            force_at,
        });
        agent.kill();
    }

    /// An owner that died in the middle of a restart is followed by one that goes on with it.
    pub(super) fn repeat_restart(&mut self) {
        let told = self.active_turn().and_then(|active| active.watch.told());
        if let Some(stall) = told.filter(|stall| stall.action == StallAction::Restart) {
            self.end_stalled(stall);
        }
    }

    /// Starts an agent again that was ended for its silence, so that the next prompt does not wait for it.
    pub(super) async fn start_again(&mut self, tools: Option<Vec<String>>) {
        let Some(tools) = tools.filter(|_| self.agent.is_none()) else {
            return;
        };
        if let Err(error) = self.own_agent(&tools).await {
            tracing::debug!(session = %self.id, %error, "the agent will be started by the next prompt");
        }
    }

    pub(super) async fn is_frozen(&self) -> bool {
        let status = self.foundation.runtime.inspect(&self.container).await;
        status.is_ok_and(|status| status.state == ContainerState::Paused)
    }

    /// What the agent is doing, and the stall that was told of. Exact where the agent is owned; elsewhere it is what the
    /// stored events tell, without what the gateway of the owner sees.
    pub(super) async fn activity(&self) -> Result<(Option<Activity>, Option<StallCause>)> {
        if let Some(active) = self.active_turn() {
            let model = self.foundation.gateway.activity(&self.id);
            return Ok(observed(&active.watch, Some(model)));
        }
        if !matches!(
            self.record().await?.info.state,
            SessionState::Ready | SessionState::Busy
        ) {
            return Ok((None, None));
        }
        let store = &self.foundation.store;
        if let Some(turn) = store.running_turn(&self.id).await? {
            let watch = Watch::recall(&turn.id, &self.events_of(&turn).await);
            return Ok(observed(&watch, None));
        }
        let waits = store.next_queued_turn(&self.id).await?.is_some();
        let activity = if waits { Activity::Starting } else { Activity::Idle };
        Ok((Some(activity), None))
    }

    /// What is known of a turn that another process began.
    pub(super) async fn events_of(&self, turn: &TurnInfo) -> Vec<Event> {
        let query = EventQuery {
            after: turn.first_event.saturating_sub(1),
            limit: RECALLED,
            tail: true,
        };
        let events = self.foundation.store.events(&self.id, query).await;
        events.unwrap_or_else(|error| {
            tracing::debug!(session = %self.id, %error, "what the turn did so far is not known");
            Vec::new()
        })
    }
}

/// The number of the event that told of a stall which has not ended, and how long it had lasted by then.
fn told_last(turn: &TurnId, events: &[Event]) -> Option<(u64, u64)> {
    let of_turn = events.iter().rev().filter(|event| event.turn == Some(*turn));
    of_turn
        .map(|event| match event.kind {
            EventKind::AgentStalled { for_ms, .. } => Some(Some((event.seq, for_ms))),
            EventKind::AgentRecovered { .. } => Some(None),
            _ => None,
        })
        .find_map(|told| told)
        .flatten()
}

fn observed(watch: &Watch, model: Option<ModelActivity>) -> (Option<Activity>, Option<StallCause>) {
    let (activity, _) = watch.judge(model);
    (Some(activity), watch.told().map(|stall| stall.cause))
}

impl ActiveTurn {
    /// Why the turn is interrupted that an earlier owner interrupted.
    pub(super) fn recalled_reason(&self) -> Reason {
        let stall = self.watch.told();
        stall
            .filter(|stall| stall.action == StallAction::Interrupt)
            .map_or(Reason::Asked, Reason::Stalled)
    }
}

impl Stall {
    /// What the turn ended with.
    pub(super) fn failure(&self) -> TurnFailure {
        let (cause, what, hint) = match self.cause {
            StallCause::ModelUnreachable => (
                TurnFailureCause::ModelUnreachable,
                "the model's provider did not answer",
                "check the network of the host and the provider; then prompt again",
            ),
            StallCause::ModelOverloaded => (
                TurnFailureCause::ModelOverloaded,
                "the model's provider had too much to do",
                "prompt again in a few minutes",
            ),
            StallCause::AgentSilent => (
                TurnFailureCause::AgentSilent,
                "the agent said nothing and waited for nobody",
                "see the log and the diff for what it did; the next prompt goes on with the conversation",
            ),
            StallCause::WaitingForPermission => (
                TurnFailureCause::WaitingForPermission,
                "the agent asked whether it may use a tool and nobody answered",
                "allow the tool when you prompt again",
            ),
            StallCause::ToolRunning => (
                TurnFailureCause::ToolRunning,
                "a tool ran for too long",
                "what it did so far stays done and is not repeated; see the diff before you prompt again",
            ),
        };
        let done = match self.action {
            StallAction::Restart => "the agent was started again",
            _ => "the agent was interrupted",
        };
        let message = format!("{what} for {} s; {done}", self.for_ms / 1000);
        failure(cause, ErrorKind::AgentFailed, message).hint(hint)
    }
}

/// Milliseconds since 1970.
fn of_day(at: Timestamp) -> u64 {
    u64::try_from(at.as_millisecond()).unwrap_or_default()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
