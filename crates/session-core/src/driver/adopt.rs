//! A session whose last owner is gone, taken up by a process that serves it from now on.
//!
//! The link is made, and an agent that runs is attached at the offset that is stored: its doors are answered again, so that what
//! it asks of its model succeeds when it tries again, and a turn that runs goes on. Nothing is started that did not run.

use super::Driver;
use super::owned_agent::OwnedAgent;
use crate::error::Result;
use crate::state::SessionState;
use crate::store::SessionRecord;

impl Driver {
    pub(super) async fn adopt(&mut self, record: &SessionRecord) -> Result<()> {
        self.watch_health(record);
        match record.info.state {
            SessionState::Interrupted { .. } => self.found_interrupted(record).await,
            SessionState::Ready | SessionState::Busy => {
                self.connect_in(&record.info.state).await?;
                if record.agent.process.is_some() && self.agent.is_none() {
                    self.own_running_agent().await?;
                }
                self.wants_work = true;
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
        if let Some((process, agent)) = taken.attached {
            self.agent = Some(OwnedAgent::new(taken.lock, taken.link, process, agent, false));
        }
        Ok(())
    }
}
