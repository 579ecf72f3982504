//! Interrupts: asked for by a caller or by a time limit, obeyed by the agent or enforced.
//!
//! Whoever owns the agent writes the interrupt under a key, as it writes prompts: it is stored first, so an owner that
//! dies is followed by one that writes it again. A process that does not own the agent writes it past the owner, who
//! sees the agent's result, or its end when it does not obey.

use tokio::time::Instant;

use super::Driver;
use super::turns::ended;
use crate::error::Result;
use crate::id::TurnId;
use crate::link_error::from_link;
use crate::store::Batch;
use crate::turn::TurnStatus;

/// Why a turn is being interrupted, and when the agent is ended if it does not obey.
#[derive(Debug, Clone, Copy)]
pub(super) struct Interrupt {
    pub(super) timed_out: bool,
    pub(super) force_at: Instant,
}

/// An interrupt of a turn that another process owns.
#[derive(Debug, Clone, Copy)]
pub(super) struct ForeignInterrupt {
    pub(super) turn: TurnId,
    pub(super) force_at: Instant,
}

impl Driver {
    fn force_at(&self) -> Instant {
        Instant::now() + self.foundation.interrupt_grace
    }

    /// Interrupts the running turn and takes back those that wait.
    pub(super) async fn interrupt(&mut self) -> Result<bool> {
        let store = self.foundation.store.clone();
        let mut anything = false;
        while let Some(turn) = store.next_queued_turn(&self.id).await? {
            self.end_unstarted(turn.id, ended(TurnStatus::Interrupted, None))
                .await?;
            anything = true;
        }
        if self.active_turn().is_none()
            && let Some(turn) = store.running_turn(&self.id).await?
        {
            // Whoever ran it may have died, and then it is ours, prompt and all.
            if self.agent.is_some() || self.own_agent(&turn.tools).await? {
                self.take_running_turn().await?;
            } else {
                return self.interrupt_foreign(turn.id).await.map(|()| true);
            }
        }
        if self.active_turn().is_some() {
            self.interrupt_active(false).await?;
            anything = true;
        }
        Ok(anything)
    }

    pub(super) async fn interrupt_active(&mut self, timed_out: bool) -> Result<()> {
        let force_at = self.force_at();
        let Some(agent) = &mut self.agent else {
            return Ok(());
        };
        let before = agent.record.stdin_key;
        let key = agent.next_key(true);
        let Some(active) = agent.turn.as_mut().filter(|active| active.interrupt.is_none()) else {
            return Ok(());
        };
        active.interrupt = Some(Interrupt { timed_out, force_at });
        agent.record.stdin_key = key;
        let batch = Batch {
            agent: Some(agent.record.clone()),
            ..Batch::default()
        };
        if let Err(error) = self.foundation.store.commit(&self.id, batch).await {
            active.interrupt = None;
            agent.record.stdin_key = before;
            return Err(error);
        }
        agent.write(self.foundation.agent.interrupt(key));
        Ok(())
    }

    /// An interrupt that was stored by an owner who died is written again: the key makes sure that the agent reads it
    /// once.
    pub(super) fn repeat_interrupt(&mut self) {
        let force_at = self.force_at();
        let Some(agent) = &mut self.agent else { return };
        let Some(active) = &mut agent.turn else { return };
        active.interrupt = Some(Interrupt {
            timed_out: false,
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
            } else if let Err(error) = self.interrupt_active(true).await {
                tracing::warn!(session = %self.id, %error, "the turn could not be interrupted; its agent is ended");
                if let Some(active) = self.agent.as_mut().and_then(|agent| agent.turn.as_mut()) {
                    active.interrupt = Some(Interrupt {
                        timed_out: true,
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
