//! What the log says of turns.

use crate::id::{SessionId, TurnId};
use crate::turn::{TurnFailureCause, TurnOutcome, TurnStatus};

/// What the log says of a turn that ended. Words of the agent or its model are no part of it: they are in its events.
pub(super) struct Told {
    status: TurnStatus,
    cause: Option<TurnFailureCause>,
    duration_ms: u64,
    model_calls: u64,
}

impl Told {
    pub(super) fn of(outcome: &TurnOutcome) -> Self {
        Self {
            status: outcome.status,
            cause: outcome.failure.as_ref().map(|failure| failure.cause),
            duration_ms: outcome.duration_ms,
            model_calls: outcome.model_calls,
        }
    }

    pub(super) fn log(&self, session: &SessionId, turn: &TurnId) {
        let Self {
            status,
            cause,
            duration_ms,
            model_calls,
        } = self;
        tracing::info!(%session, %turn, ?status, ?cause, duration_ms, model_calls, "a turn ended");
    }
}
