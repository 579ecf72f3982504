//! A session whose last owner is gone, taken up by a process that serves it from now on.
//!
//! The link is made, and an agent that runs is attached at the offset that is stored: its doors are answered again, so that what
//! it asks of its model succeeds when it tries again, and a turn that runs goes on. Nothing is started that did not run.

use super::Driver;
use super::owned_agent::OwnedAgent;
use super::turns::{ActiveTurn, ended, failure};
use super::watchdog::Watch;
use crate::error::{ErrorKind, Result};
use crate::state::SessionState;
use crate::store::{Batch, SessionRecord};
use crate::turn::{TurnFailureCause, TurnInfo, TurnStatus};

impl Driver {
    pub(super) async fn adopt(&mut self, record: &SessionRecord) -> Result<()> {
        self.watch_health(record);
        match record.info.state {
            SessionState::Interrupted { .. } => self.found_interrupted(record).await,
            SessionState::Ready | SessionState::Busy => {
                self.connect_in(&record.info.state).await?;
                // Also when the agent cannot be taken now.
                self.wants_work = true;
                if record.agent.process.is_some() && self.agent.is_none() {
                    self.own_running_agent().await?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Takes the agent if it runs and nobody has it.
    async fn own_running_agent(&mut self) -> Result<()> {
        let Some(taken) = self.take_agent().await? else {
            return Ok(());
        };
        match taken.attached {
            Some((process, agent)) => {
                let agent = OwnedAgent::new(taken.lock, taken.link, process, agent);
                self.own(agent).await
            }
            None => Ok(()),
        }
    }

    /// The agent is this process's from here on, together with the turn that runs in it: what is read without it belongs to
    /// no turn, its result least of all, and is not read again.
    pub(super) async fn own(&mut self, agent: OwnedAgent) -> Result<()> {
        let running = self.recall_running_turn().await?;
        self.agent = Some(agent);
        if let Some((turn, watch)) = running {
            self.go_on(&turn, watch);
        }
        Ok(())
    }

    /// Goes on with the turn that runs, if one does; this process owns the agent.
    pub(super) async fn take_running_turn(&mut self) -> Result<bool> {
        if self.active_turn().is_some() {
            return Ok(true);
        }
        let running = self.recall_running_turn().await?;
        Ok(running.is_some_and(|(turn, watch)| {
            self.go_on(&turn, watch);
            true
        }))
    }

    /// The turn that was running when its owner died, and what is known of it.
    async fn recall_running_turn(&self) -> Result<Option<(TurnInfo, Watch)>> {
        let Some(turn) = self.foundation.store.running_turn(&self.id).await? else {
            return Ok(None);
        };
        fail::fail_point!("driver.turn.recalled", |_| crate::fault::store(
            "go on with the turn"
        ));
        let watch = Watch::taken_over(&turn.id, &self.events_of(&turn).await);
        Ok(Some((turn, watch)))
    }

    /// The agent's process is gone: what it had done of the turn that ran in it is unknown, so that is not run again. Some of its
    /// tool calls may have happened.
    pub(super) async fn end_turn_of_lost_agent(&mut self) -> Result<()> {
        let Some(turn) = self.foundation.store.running_turn(&self.id).await? else {
            return Ok(());
        };
        let message = "the agent's process is gone, and with it the turn that was running in it";
        let failure = failure(
            TurnFailureCause::OwnerLost,
            ErrorKind::AgentFailed,
            message.to_owned(),
        )
        .hint("see what it did in the log and the diff; the next prompt goes on with the conversation");
        let outcome = ended(TurnStatus::Failed, Some(failure));
        self.finish_turn_of(turn.id, outcome, Batch::default()).await
    }

    /// A turn that was running when its owner died. What was written last, its prompt or an interrupt, is written again:
    /// the key makes sure that the agent reads it once.
    fn go_on(&mut self, turn: &TurnInfo, watch: Watch) {
        let Some(agent) = &mut self.agent else { return };
        agent.turn = Some(ActiveTurn::new(turn, watch));
        if agent.record.stdin_key % 2 == 0 {
            agent.write(self.foundation.agent.prompt(&turn.id, &turn.prompt));
        } else {
            self.repeat_interrupt();
        }
        self.repeat_restart();
    }
}
