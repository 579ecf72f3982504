//! Turns: taken from the store in order, handed to the agent, ended by its result or by what became of it.

use std::time::Duration;

use session_link::{ExitCause, ExitReport};
use tokio::time::Instant;

use super::Driver;
use super::interrupt::{Interrupt, Reason};
use super::told::Told;
use super::watchdog::Watch;
use crate::error::{Error, ErrorKind, ErrorReport, Result};
use crate::id::TurnId;
use crate::state::{InterruptCause, SessionState, StateName};
use crate::store::{AgentRecord, Batch, TurnUpdate};
use crate::turn::{TokenUsage, TurnFailure, TurnFailureCause, TurnInfo, TurnOutcome, TurnStatus};

/// The turn that the agent works on.
pub(super) struct ActiveTurn {
    pub(super) id: TurnId,
    started: Instant,
    limit: Option<Duration>,
    pub(super) interrupt: Option<Interrupt>,
    pub(super) watch: Watch,
    /// What is logged of it.
    span: tracing::Span,
}

impl ActiveTurn {
    pub(super) fn new(turn: &TurnInfo, watch: Watch) -> Self {
        Self {
            id: turn.id,
            started: Instant::now(),
            limit: turn.time_limit_ms.map(Duration::from_millis),
            interrupt: None,
            watch,
            span: tracing::info_span!("turn", turn = %turn.id),
        }
    }

    /// When it began, or was taken over.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// When something is to be done about it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.interrupt {
            Some(interrupt) => Some(interrupt.force_at),
            None => self.limit.map(|limit| self.started + limit),
        }
    }

    /// What the agent's own result becomes when we interrupted it.
    fn judge(&self, mut outcome: TurnOutcome) -> TurnOutcome {
        if let Some(interrupt) = self.interrupt
            && outcome.status != TurnStatus::Succeeded
        {
            outcome.failure = self.failure_by(interrupt.why);
            outcome.status = if outcome.failure.is_some() {
                TurnStatus::Failed
            } else {
                TurnStatus::Interrupted
            };
        }
        outcome
    }

    /// Why the turn failed that was interrupted for this reason; an interrupt that a caller wanted is no failure.
    fn failure_by(&self, why: Reason) -> Option<TurnFailure> {
        match why {
            Reason::Asked => None,
            Reason::TimedOut => Some(self.timed_out()),
            Reason::Stalled(stall) => Some(stall.failure()),
        }
    }

    fn timed_out(&self) -> TurnFailure {
        let limit = self.limit.unwrap_or_default().as_millis();
        failure(
            TurnFailureCause::TimedOut,
            ErrorKind::LimitExceeded,
            format!("the turn took longer than {limit} ms"),
        )
        .hint("raise the turn's time limit, or split the work; the conversation goes on with the next prompt")
    }

    /// The outcome of a turn whose agent ended in the middle.
    pub(super) fn outcome_of_dead_agent(
        &self,
        report: &ExitReport,
        cause: &str,
        last_words: &str,
    ) -> TurnOutcome {
        let said = if last_words.is_empty() {
            String::new()
        } else {
            format!("; it said: {last_words}")
        };
        let message = format!("the agent's process ended in the middle of the turn: {cause}{said}");
        let outcome = match (self.interrupt, report.cause) {
            (Some(interrupt), _) => match self.failure_by(interrupt.why) {
                None => ended(TurnStatus::Interrupted, None),
                failure => ended(TurnStatus::Failed, failure),
            },
            // Another process interrupted it, and ended it when it did not obey.
            (None, ExitCause::Cancelled) => ended(TurnStatus::Interrupted, None),
            (None, ExitCause::OutOfMemory) => ended(
                TurnStatus::Failed,
                Some(
                    failure(TurnFailureCause::OutOfMemory, ErrorKind::LimitExceeded, message)
                        .hint("raise the session's memory limit"),
                ),
            ),
            (None, _) => ended(
                TurnStatus::Failed,
                Some(
                    failure(TurnFailureCause::AgentDied, ErrorKind::AgentFailed, message)
                        .hint("the next prompt starts the agent again and resumes the conversation"),
                ),
            ),
        };
        TurnOutcome {
            duration_ms: millis(self.started.elapsed()),
            ..outcome
        }
    }
}

impl Driver {
    /// The turn that the agent works on, as far as this process owns it.
    pub(super) fn active_turn(&self) -> Option<&ActiveTurn> {
        self.agent.as_ref()?.turn.as_ref()
    }

    /// Where what happens now is logged: at the turn that the agent works on, if there is one.
    pub(super) fn turn_span(&self) -> tracing::Span {
        self.active_turn()
            .map_or_else(tracing::Span::current, |active| active.span.clone())
    }

    /// An owner whose agent has nothing to do looks for turns that other processes accepted, many times a second: it
    /// asks for the list that all share before it reads anything.
    pub(super) async fn look_for_work(&mut self) {
        if self.wants_work || self.agent.as_ref().is_none_or(|agent| agent.turn.is_some()) {
            return;
        }
        let listing = self.foundation.store.listing().await.ok();
        let latest = listing.and_then(|listing| Some(listing.get(&self.id)?.last_event));
        self.wants_work = latest.is_none() || latest != self.looked_at;
        self.looked_at = latest;
    }

    /// Whether there may be a turn to be taken, and nothing speaks against looking now.
    pub(super) fn has_time_for_work(&self) -> bool {
        self.wants_work && self.active_turn().is_none() && self.retry.is_due()
    }

    /// Takes up turns that wait in the store, or one that runs and has no owner any more.
    pub(super) async fn take_work(&mut self) {
        self.wants_work = false;
        match self.try_take_work().await {
            Ok(()) => self.retry.reset(),
            Err(error) => {
                tracing::warn!(session = %self.id, %error, "a turn could not be handed to the agent");
                self.work_failed(&error).await;
            }
        }
    }

    async fn try_take_work(&mut self) -> Result<()> {
        let store = self.foundation.store.clone();
        let running = store.running_turn(&self.id).await?;
        let queued = store.next_queued_turn(&self.id).await?;
        let state = self.record().await?.info.state;
        let again = self.start_again.take();
        let can_work = matches!(state, SessionState::Ready | SessionState::Busy);
        self.at_work =
            (can_work && (running.is_some() || queued.is_some())).then(|| self.foundation.work.token());
        if !can_work {
            return Ok(());
        }
        if running.is_none() && queued.is_none() {
            if !self.look_after_interface().await? {
                self.start_again(again).await;
            }
            return Ok(());
        }
        let tools = running
            .as_ref()
            .or(queued.as_ref())
            .map(|turn| turn.tools.clone())
            .unwrap_or_default();
        if self.agent.is_none() && !self.own_agent(&tools).await? {
            // Another process owns the agent and takes the turns, or a person sits at it; look again soon, in case that ends.
            self.wants_work = true;
            return Ok(());
        }
        // Only now is the truth stable: whoever owned the agent before may have ended the turn meanwhile.
        if self.take_running_turn().await? {
            return Ok(());
        }
        match store.next_queued_turn(&self.id).await? {
            Some(turn) => self.start_turn(turn).await,
            None => Ok(()),
        }
    }

    async fn start_turn(&mut self, turn: TurnInfo) -> Result<()> {
        self.settle_checkpoints().await;
        self.ensure_base_tree().await;
        self.allow_tools(&turn.tools).await?;
        let Some(agent) = &mut self.agent else {
            return Ok(());
        };
        agent.record.stdin_key = agent.next_key(false);
        agent.turn = Some(ActiveTurn::new(&turn, Watch::begin()));
        let batch = Batch {
            state: Some(SessionState::Busy),
            expect_state: Some(StateName::Ready),
            turn: Some(TurnUpdate {
                id: turn.id,
                status: TurnStatus::Running,
                outcome: None,
            }),
            agent: Some(agent.record.clone()),
            ..Batch::default()
        };
        fail::fail_point!("driver.turn.before");
        if let Err(error) = self.foundation.store.commit(&self.id, batch).await {
            agent.turn = None;
            if error.kind() == ErrorKind::StateConflict && !self.waits(&turn).await? {
                // Somebody took it back meanwhile, which is no failure of those that come after it.
                self.wants_work = true;
                return Ok(());
            }
            return Err(error);
        }
        fail::fail_point!("driver.turn.recorded");
        agent.write(self.foundation.agent.prompt(&turn.id, &turn.prompt));
        tracing::info!(session = %self.id, turn = %turn.id, "a turn begins");
        fail::fail_point!("driver.turn.written");
        Ok(())
    }

    async fn waits(&self, turn: &TurnInfo) -> Result<bool> {
        let turn = self.foundation.store.turn(&self.id, &turn.id).await?;
        Ok(turn.is_some_and(|turn| turn.status == TurnStatus::Queued))
    }

    /// Ends the active turn with the agent's result, in the transaction that settles the output that said so.
    pub(super) async fn finish_turn(&mut self, outcome: TurnOutcome, batch: Batch) -> Result<()> {
        let Some(active) = self.agent.as_mut().and_then(|agent| agent.turn.take()) else {
            return Ok(());
        };
        let earlier = match self.record().await {
            Ok(record) => record.info.cost_usd,
            Err(error) => {
                self.give_back(active);
                return Err(error);
            }
        };
        let mut outcome = active.judge(outcome);
        outcome.cost_usd = outcome.cost_usd.map(|total| own_cost(total, earlier));
        let finished = self.finish_turn_of(active.id, outcome, batch).await;
        if finished.is_err() {
            self.give_back(active);
        }
        finished
    }

    fn give_back(&mut self, active: ActiveTurn) {
        if let Some(agent) = &mut self.agent {
            agent.turn = Some(active);
        }
    }

    pub(super) async fn finish_turn_of(
        &mut self,
        turn: TurnId,
        outcome: TurnOutcome,
        batch: Batch,
    ) -> Result<()> {
        self.wants_work = true;
        let still_busy = self.record().await?.info.state == SessionState::Busy;
        let told = Told::of(&outcome);
        let batch = Batch {
            state: still_busy.then_some(SessionState::Ready),
            expect_state: still_busy.then_some(StateName::Busy),
            turn: Some(TurnUpdate {
                id: turn,
                status: outcome.status,
                outcome: Some(outcome),
            }),
            ..batch
        };
        fail::fail_point!("driver.turn.finish", |_| crate::fault::store("end the turn"));
        self.foundation.store.commit(&self.id, batch).await?;
        fail::fail_point!("driver.turn.finished");
        told.log(&self.id, &turn);
        self.checkpoint_after(turn).await;
        Ok(())
    }

    /// The session's container is gone: the turn that ran in it will not end by itself.
    pub(super) async fn end_of_running_turn(&self, cause: InterruptCause) -> Result<Option<TurnUpdate>> {
        let running = self.foundation.store.running_turn(&self.id).await?;
        Ok(running.map(|turn| {
            let outcome = lost_with_session(cause);
            Told::of(&outcome).log(&self.id, &turn.id);
            TurnUpdate {
                id: turn.id,
                status: outcome.status,
                outcome: Some(outcome),
            }
        }))
    }

    /// Nor will those that wait begin.
    pub(super) async fn fail_waiting_turns(&mut self, cause: InterruptCause) -> Result<()> {
        while let Some(turn) = self.foundation.store.next_queued_turn(&self.id).await? {
            self.end_unstarted(turn.id, lost_with_session(cause)).await?;
        }
        Ok(())
    }

    pub(super) async fn cancel_turns_of_destroyed_session(&mut self) -> Result<()> {
        self.end_all(|| ended(TurnStatus::Interrupted, None)).await
    }

    async fn end_all(&mut self, outcome: impl Fn() -> TurnOutcome) -> Result<()> {
        let store = self.foundation.store.clone();
        if let Some(turn) = store.running_turn(&self.id).await? {
            self.end_unstarted(turn.id, outcome()).await?;
        }
        while let Some(turn) = store.next_queued_turn(&self.id).await? {
            self.end_unstarted(turn.id, outcome()).await?;
        }
        Ok(())
    }

    pub(super) async fn end_unstarted(&self, turn: TurnId, outcome: TurnOutcome) -> Result<()> {
        let told = Told::of(&outcome);
        let update = TurnUpdate {
            id: turn,
            status: outcome.status,
            outcome: Some(outcome),
        };
        let batch = Batch {
            turn: Some(update),
            ..Batch::default()
        };
        match self.foundation.store.commit(&self.id, batch).await {
            // Another process ended it first.
            Err(error) if error.kind() == ErrorKind::StateConflict => Ok(()),
            Err(error) => Err(error),
            Ok(_) => {
                told.log(&self.id, &turn);
                Ok(())
            }
        }
    }

    /// Work could not be done: tries again later, or tells whoever waits for a turn why it cannot run.
    async fn work_failed(&mut self, error: &Error) {
        let store = self.foundation.store.clone();
        let (running, turn) = match store.running_turn(&self.id).await {
            Ok(None) => (false, store.next_queued_turn(&self.id).await),
            running => (true, running),
        };
        if self.is_frozen().await {
            // Whoever froze it lets it go on, and the turn with it.
            self.retry.wait();
            self.wants_work = true;
            return;
        }
        if turn.is_err() || self.retry.may_pass(error, running) {
            self.retry.pause();
            self.wants_work = true;
            return;
        }
        self.retry.reset();
        let Ok(Some(turn)) = turn else { return };
        if let Err(unsaid) = self.fail_turn(&turn, running, error).await {
            tracing::error!(session = %self.id, error = %unsaid, "the turn's failure could not be stored");
            self.retry.pause();
        }
    }

    async fn fail_turn(&mut self, turn: &TurnInfo, running: bool, error: &Error) -> Result<()> {
        let cause = match error.kind() {
            ErrorKind::ContainerLost | ErrorKind::LinkLost | ErrorKind::StateConflict => {
                TurnFailureCause::SessionLost
            }
            _ => TurnFailureCause::AgentError,
        };
        let failure = TurnFailure {
            cause,
            error: error.report(),
        };
        // The agent may be at it still: it is not the one that gets the next prompt.
        let agent = if running {
            let agent = self.record().await?.agent;
            Some(AgentRecord {
                process: None,
                offset: 0,
                ..agent
            })
        } else {
            None
        };
        let batch = Batch {
            agent,
            ..Batch::default()
        };
        self.finish_turn_of(turn.id, ended(TurnStatus::Failed, Some(failure)), batch)
            .await
    }
}

/// What becomes of a turn whose session lost its container.
fn lost_with_session(cause: InterruptCause) -> TurnOutcome {
    let kind = match cause {
        InterruptCause::OutOfMemory => TurnFailureCause::OutOfMemory,
        _ => TurnFailureCause::SessionLost,
    };
    let message = format!("the session's container went away: {}", cause.as_str());
    let hint = "what it did so far is not repeated; resume the session, and prompt it to go on";
    let failure = failure(kind, ErrorKind::ContainerLost, message).hint(hint);
    ended(TurnStatus::Failed, Some(failure))
}

pub(super) fn ended(status: TurnStatus, failure: Option<TurnFailure>) -> TurnOutcome {
    TurnOutcome {
        status,
        text: String::new(),
        usage: TokenUsage::default(),
        cost_usd: None,
        model_calls: 0,
        duration_ms: 0,
        permission_denials: Vec::new(),
        failure,
    }
}

/// What a turn cost by itself, of what the agent says its conversation has cost. A total below what earlier turns cost
/// belongs to a new conversation.
fn own_cost(total: f64, earlier: f64) -> f64 {
    if total >= earlier { total - earlier } else { total }
}

pub(super) fn failure(cause: TurnFailureCause, code: ErrorKind, message: String) -> TurnFailure {
    TurnFailure {
        cause,
        error: ErrorReport {
            code,
            message,
            hint: None,
            retryable: true,
        },
    }
}

impl TurnFailure {
    pub(super) fn hint(mut self, hint: &str) -> Self {
        self.error.hint = Some(hint.to_owned());
        self
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::own_cost;

    #[test]
    fn a_turn_costs_what_the_conversation_s_total_grew_by() {
        assert!((own_cost(0.5, 0.2) - 0.3).abs() < 1e-12);
        assert!((own_cost(0.5, 0.0) - 0.5).abs() < 1e-12);
        assert!(
            (own_cost(0.1, 0.4) - 0.1).abs() < 1e-12,
            "a new conversation counts from nothing"
        );
    }
}
