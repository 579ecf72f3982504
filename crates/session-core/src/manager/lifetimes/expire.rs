//! The end of a session whose time has come, looked at once more before it is final.

use jiff::Timestamp;

use crate::driver::Request;
use crate::error::Result;
use crate::id::SessionId;
use crate::lifetime::ExpiryCause;
use crate::manager::SessionManager;
use crate::store::SessionRecord;
use crate::turn::TurnStatus;

/// What became of a session whose time had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    /// It is gone, or somebody else ended it.
    Ended,
    /// It works after all, was renewed, or is kept for somebody to look at.
    Kept,
}

impl SessionManager {
    /// `lease` is the one by which it was judged.
    pub(super) async fn expire(
        &self,
        session: &SessionId,
        cause: ExpiryCause,
        lease: Option<Timestamp>,
    ) -> Result<Expiry> {
        let record = self.record(session, "end the session").await?;
        if record.info.state.has_ended() {
            return Ok(Expiry::Ended);
        }
        if cause != ExpiryCause::Idle {
            return self.end_expired(&record, cause, lease).await;
        }
        // Nobody begins to work from here on; who does already is seen.
        let Some(_nobody) = self.inner.foundation.state_dir.try_end_work(session)? else {
            return Ok(Expiry::Kept);
        };
        if self.is_kept_for_its_failure(&record).await? {
            return Ok(Expiry::Kept);
        }
        if self.runs_commands(&record).await? {
            drop(_nobody);
            self.adopt_commands(session).await?;
            return Ok(Expiry::Kept);
        }
        self.end_expired(&record, cause, lease).await
    }

    async fn end_expired(
        &self,
        record: &SessionRecord,
        cause: ExpiryCause,
        lease: Option<Timestamp>,
    ) -> Result<Expiry> {
        let driver = self.driver(record);
        match driver.ask(|answer| Request::Expire(cause, lease, answer)).await {
            Ok(true) => {
                self.forget(&record.info.id);
                Ok(Expiry::Ended)
            }
            Ok(false) => Ok(Expiry::Kept),
            Err(error) => {
                // The task may have ended because somebody destroyed the session meanwhile.
                let now = self.record(&record.info.id, "end the session").await?;
                if now.info.state.has_ended() {
                    return Ok(Expiry::Ended);
                }
                Err(error)
            }
        }
    }

    /// Whether somebody shall be able to look at what went wrong.
    async fn is_kept_for_its_failure(&self, record: &SessionRecord) -> Result<bool> {
        if !record.info.lifetime.keep_on_failure {
            return Ok(false);
        }
        let turns = self.inner.foundation.store.turns(&record.info.id).await?;
        Ok(turns.last().is_some_and(|turn| turn.status == TurnStatus::Failed))
    }
}
