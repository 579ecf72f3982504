//! What the store knows of tasks: their sessions by label, and their turns.

use std::collections::BTreeMap;
use std::sync::Arc;

use session_core::api::SessionApi;
use session_core::error::Result;
use session_core::id::SessionId;
use session_core::session::{SessionFilter, SessionInfo};
use session_core::state::SessionState;
use session_core::turn::{TurnInfo, TurnStatus};

use super::ledger::{Task, TaskState};
use super::{labels, prompt, run};
use crate::compat::queue::Priority;

/// The sessions that bear a label.
pub(super) async fn labelled(api: &dyn SessionApi, label: &str, value: &str) -> Result<Vec<SessionInfo>> {
    let filter = SessionFilter {
        all: true,
        labels: BTreeMap::from([(label.to_owned(), value.to_owned())]),
        ..SessionFilter::default()
    };
    api.list(filter).await
}

/// The task of that id. Only told of: what is done about a session, the journal knows.
pub(super) async fn find(api: &dyn SessionApi, id: SessionId) -> Result<Option<Arc<Task>>> {
    let mut sessions = labelled(api, labels::ID, &id.to_string()).await?;
    sessions.retain(|session| {
        session
            .labels
            .get(labels::KIND)
            .is_some_and(|kind| kind == labels::TASK)
    });
    let Some(session) = the_one(sessions) else {
        return Ok(None);
    };
    let turn = first_turn(api, &session).await?;
    Ok(Some(Arc::new(task(id, &session, turn.as_ref()))))
}

/// Of the sessions that bear an id, newest first, the task's: the first that was asked anything. Before it come those that
/// were begun in vain, after it those of whoever repeats an id.
pub(super) fn the_one(mut sessions: Vec<SessionInfo>) -> Option<SessionInfo> {
    sessions.reverse();
    let asked = sessions.iter().position(|session| session.turns > 0);
    sessions.into_iter().nth(asked.unwrap_or_default())
}

pub(super) async fn first_turn(api: &dyn SessionApi, session: &SessionInfo) -> Result<Option<TurnInfo>> {
    Ok(api.turns(&session.id).await?.into_iter().next())
}

/// The task of a session.
pub(super) fn task(id: SessionId, session: &SessionInfo, turn: Option<&TurnInfo>) -> Task {
    let label = |name: &str| session.labels.get(name).map(String::as_str).unwrap_or_default();
    let (description, context) = match turn {
        Some(turn) => prompt::apart(label(labels::PROMPT), &turn.prompt),
        None => (String::new(), serde_json::Value::Null),
    };
    Task::stored(
        id,
        description,
        label(labels::PROJECT).to_owned(),
        context,
        label(labels::PRIORITY).parse().unwrap_or(Priority::Medium),
        label(labels::STARTED).parse().unwrap_or(session.created_at),
        session.owner.clone(),
        state(session, turn),
    )
}

fn state(session: &SessionInfo, turn: Option<&TurnInfo>) -> TaskState {
    let failed = |error: &str| TaskState::Failed {
        at: session.updated_at,
        error: error.to_owned(),
        session: Some(session.id),
    };
    let gone = matches!(
        session.state,
        SessionState::Failed { .. }
            | SessionState::Interrupted { .. }
            | SessionState::Destroying
            | SessionState::Destroyed
    );
    match turn {
        Some(turn) => match &turn.outcome {
            Some(outcome) if outcome.status == TurnStatus::Succeeded => TaskState::Completed {
                at: session.updated_at,
                results: Arc::new(run::results(session, outcome, None)),
            },
            Some(outcome) => failed(&run::failure(outcome)),
            None if gone => failed("its session ended before it did"),
            None => TaskState::Working,
        },
        None => match &session.state {
            SessionState::Failed { cause } => failed(cause),
            _ if gone => failed("its session ended before it began"),
            _ => TaskState::Working,
        },
    }
}
