//! Interrupts: asked for by a caller, a time limit or the watchdog, obeyed by the agent or enforced.
//!
//! Whoever owns the agent writes the interrupt under a key, as it writes prompts: it is stored first, so an owner that
//! dies is followed by one that writes it again. A process that does not own the agent writes it past the owner, who
//! sees the agent's result, or its end when it does not obey.

use tokio::time::Instant;

use super::Driver;
use super::turns::ended;
use super::watchdog::Stall;
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventKind;
use crate::id::TurnId;
use crate::link_error::from_link;
use crate::state::StateName;
use crate::store::{Batch, TurnUpdate};
use crate::turn::{TurnInfo, TurnStatus};

/// Why a turn is being interrupted, and when the agent is ended if it does not obey.
#[derive(Debug, Clone, Copy)]
pub(super) struct Interrupt {
    pub(super) why: Reason,
    pub(super) force_at: Instant,
}

/// Why a turn is being interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// A caller wants it.
    Asked,
    /// Its time limit passed.
    TimedOut,
    /// It hangs.
    Stalled(Stall),
}

/// An interrupt of a turn that another process owns.
#[derive(Debug, Clone, Copy)]
pub(super) struct ForeignInterrupt {
    pub(super) turn: TurnId,
    pub(super) force_at: Instant,
}

impl Driver {
    pub(super) fn force_at(&self) -> Instant {
        Instant::now() + self.foundation.interrupt_grace
    }

    /// Interrupts the running turn and takes back those that wait.
    pub(super) async fn interrupt(&mut self) -> Result<bool> {
        let store = self.foundation.store.clone();
        let mut anything = false;
        while let Some(turn) = store.next_queued_turn(&self.id).await? {
            anything |= self.take_back(turn.id).await?;
        }
        if let Some(turn) = self.turn_at_work().await? {
            anything |= self.interrupt_running(&turn).await?;
        }
        Ok(anything)
    }

    /// Takes one turn back that waits, or interrupts it if it runs; the others stay.
    pub(super) async fn interrupt_turn(&mut self, id: TurnId) -> Result<bool> {
        loop {
            let turn = self.foundation.store.turn(&self.id, &id).await?;
            let turn = turn.ok_or_else(|| {
                let message = "this session has no such turn";
                Error::new(ErrorKind::NotFound, "interrupt the turn", message)
                    .with_context("session", self.id)
                    .with_context("turn", id)
            })?;
            return match turn.status {
                // A turn begins once and ends once, so this comes round twice at most.
                TurnStatus::Queued if !self.take_back(id).await? => continue,
                TurnStatus::Queued => Ok(true),
                TurnStatus::Running => self.interrupt_running(&turn).await,
                _ => Ok(false),
            };
        }
    }

    /// Ends a turn that waits. `false` when it was started or ended meanwhile.
    async fn take_back(&self, turn: TurnId) -> Result<bool> {
        let batch = Batch {
            turn: Some(TurnUpdate {
                id: turn,
                status: TurnStatus::Interrupted,
                outcome: Some(ended(TurnStatus::Interrupted, None)),
            }),
            expect_turn: Some(TurnStatus::Queued),
            ..Batch::default()
        };
        match self.foundation.store.commit(&self.id, batch).await {
            Err(error) if error.kind() == ErrorKind::StateConflict => Ok(false),
            outcome => outcome.map(|_| true),
        }
    }

    /// The turn that runs, here or elsewhere.
    async fn turn_at_work(&self) -> Result<Option<TurnInfo>> {
        let store = &self.foundation.store;
        match self.active_turn() {
            Some(active) => store.turn(&self.id, &active.id).await,
            None => store.running_turn(&self.id).await,
        }
    }

    /// Interrupts a turn that runs. `false` when it has ended meanwhile.
    async fn interrupt_running(&mut self, turn: &TurnInfo) -> Result<bool> {
        if self.active_turn().is_none() {
            // Whoever ran it may have died, and then it is ours, prompt and all.
            if self.agent.is_some() || self.own_agent(&turn.tools).await? {
                self.take_running_turn().await?;
            } else {
                return self.interrupt_foreign(turn.id).await.map(|()| true);
            }
        }
        if self.active_turn().is_none_or(|active| active.id != turn.id) {
            return Ok(false);
        }
        self.interrupt_active(Reason::Asked, Vec::new()).await?;
        Ok(true)
    }

    /// Interrupts the turn that the agent works on; `events` say why, and are stored with it.
    pub(super) async fn interrupt_active(&mut self, why: Reason, events: Vec<EventKind>) -> Result<()> {
        let force_at = self.force_at();
        let Some(agent) = &mut self.agent else {
            return Ok(());
        };
        let before = agent.record.stdin_key;
        let key = agent.next_key(true);
        let Some(active) = agent.turn.as_mut().filter(|active| active.interrupt.is_none()) else {
            return Ok(());
        };
        active.interrupt = Some(Interrupt { why, force_at });
        agent.record.stdin_key = key;
        let turn = Some(active.id);
        let batch = Batch {
            events: events.iter().map(|kind| (turn, kind.clone())).collect(),
            agent: Some(agent.record.clone()),
            // Another process may have ended the session and its turn meanwhile: nothing is said of them after that.
            expect_state: (!events.is_empty()).then_some(StateName::Busy),
            ..Batch::default()
        };
        if let Err(error) = self.foundation.store.commit(&self.id, batch).await {
            active.interrupt = None;
            agent.record.stdin_key = before;
            return Err(error);
        }
        fail::fail_point!("driver.interrupt.recorded");
        agent.write(self.foundation.agent.interrupt(key));
        fail::fail_point!("driver.interrupt.written");
        self.noted(&events);
        Ok(())
    }

    /// An interrupt that was stored by an owner who died is written again: the key makes sure that the agent reads it
    /// once.
    pub(super) fn repeat_interrupt(&mut self) {
        let force_at = self.force_at();
        let Some(agent) = &mut self.agent else { return };
        let Some(active) = &mut agent.turn else { return };
        active.interrupt = Some(Interrupt {
            why: active.recalled_reason(),
            force_at,
        });
        agent.write(self.foundation.agent.interrupt(agent.record.stdin_key));
    }

    /// Interrupts an agent that another process owns: the bytes go in without a key, and the owner sees the result.
    async fn interrupt_foreign(&mut self, turn: TurnId) -> Result<()> {
        let operation = "interrupt the agent";
        // If the owner dies now, somebody has to take the turn.
        self.wants_work = true;
        let record = self.record().await?;
        let Some(process) = &record.agent.process else {
            return Ok(());
        };
        let (link, _) = self.connect().await?;
        let id = super::agent::process_id(process)?;
        let all = link
            .processes()
            .await
            .map_err(|error| from_link(operation, error))?;
        let Some(info) = all.into_iter().find(|info| info.id == id) else {
            return Ok(());
        };
        let mut attached = link
            .attach(&id, info.end)
            .await
            .map_err(|error| from_link(operation, error))?;
        let bytes = self.foundation.agent.interrupt(rand::random::<u32>().into());
        attached
            .write(bytes)
            .await
            .map_err(|error| from_link(operation, error))?;
        self.foreign_interrupt = Some(ForeignInterrupt {
            turn,
            force_at: self.force_at(),
        });
        Ok(())
    }

    /// The running turn reached its limit, or an interrupt was not obeyed.
    pub(super) async fn enforce(&mut self) {
        let now = Instant::now();
        let force_at = self.force_at();
        if let Some(agent) = &mut self.agent
            && let Some(active) = &mut agent.turn
            && active.deadline().is_some_and(|deadline| deadline <= now)
        {
            if let Some(interrupt) = &mut active.interrupt {
                interrupt.force_at = force_at;
                agent.kill();
            } else if let Err(error) = self.interrupt_active(Reason::TimedOut, Vec::new()).await {
                tracing::warn!(session = %self.id, %error, "the turn could not be interrupted; its agent is ended");
                if let Some(active) = self.agent.as_mut().and_then(|agent| agent.turn.as_mut()) {
                    active.interrupt = Some(Interrupt {
                        why: Reason::TimedOut,
                        force_at,
                    });
                }
            }
        }
        if let Some(foreign) = self.foreign_interrupt.take_if(|foreign| foreign.force_at <= now)
            && let Err(error) = self.enforce_foreign(foreign.turn).await
        {
            tracing::warn!(session = %self.id, %error, "the agent of another process could not be ended");
        }
    }

    async fn enforce_foreign(&mut self, turn: TurnId) -> Result<()> {
        let running = self.foundation.store.running_turn(&self.id).await?;
        if self.agent.is_some() || running.is_none_or(|running| running.id != turn) {
            return Ok(());
        }
        let record = self.record().await?;
        let Some(process) = &record.agent.process else {
            return Ok(());
        };
        let (link, _) = self.connect().await?;
        link.signal(&super::agent::process_id(process)?, session_link::Signal::Kill)
            .await
            .map_err(|error| from_link("end the agent", error))
    }
}
