//! What an earlier process left: tasks that run are waited for, sessions that nobody waits for are put away.

use std::sync::Arc;

use session_core::error::Result;
use session_core::session::SessionInfo;
use session_core::state::SessionState;

use super::ledger::TaskState;
use super::run::Job;
use super::{labels, stored};
use crate::compat::Compat;
use crate::state::AppState;

/// Looks through the store once.
pub(in crate::compat) async fn recover(compat: Arc<Compat>, state: AppState) {
    let looked = tokio::select! {
        // A look that is broken off is made again by the next process.
        looked = look(&compat, &state) => looked,
        () = state.closing().cancelled() => Ok(()),
    };
    if let Err(error) = looked {
        tracing::warn!(%error, "tasks of earlier could not be looked for");
    }
    compat.tasks.set_found();
}

async fn look(compat: &Arc<Compat>, state: &AppState) -> Result<()> {
    let api = state.whole_api();
    for session in stored::labelled(&**api, labels::KIND, labels::ANALYSIS).await? {
        if session.state.may_have_container() && session.created_at < compat.begun_at {
            put_away(state, session);
        }
    }
    // Newest first: the newest failures are those that are kept.
    for session in stored::labelled(&**api, labels::KIND, labels::TASK).await? {
        let id = session.labels.get(labels::ID).cloned().unwrap_or_default();
        if !compat.tasks.knows(&id) {
            adopt(compat, state, &id, session).await?;
        }
    }
    Ok(())
}

async fn adopt(compat: &Arc<Compat>, state: &AppState, id: &str, session: SessionInfo) -> Result<()> {
    let api = state.whole_api().clone();
    let turn = stored::first_turn(&*api, &session).await?;
    let task = Arc::new(stored::task(id, &session, turn.as_ref()));
    let alive = session.state.may_have_container();
    match (task.state(), turn) {
        (TaskState::Working, Some(turn)) => {
            compat.tasks.add(task.clone());
            let job = Job {
                compat: compat.clone(),
                api,
                closing: state.closing().clone(),
                task,
            };
            let place = compat.task_queue.occupy();
            state.tasks().spawn(job.run_found(session, turn, place));
        }
        // Its process died between the session and the prompt: nobody knows any more what was to be done.
        (TaskState::Working, None) => {
            task.set(TaskState::Failed {
                at: session.updated_at,
                error: "the server ended before the task began".to_owned(),
                session: None,
            });
            compat.tasks.add_past(&task);
            put_away(state, session);
        }
        // What was being put away is put away to the end.
        (TaskState::Failed { .. }, _) if alive && session.state != SessionState::Destroying => {
            compat.tasks.add_past(&task);
            if let Some(old) = compat.tasks.keep(session.id, compat.options.keep_failed, true) {
                put_away_id(state, old);
            }
        }
        (_, _) => {
            compat.tasks.add_past(&task);
            if alive {
                put_away(state, session);
            }
        }
    }
    Ok(())
}

fn put_away(state: &AppState, session: SessionInfo) {
    put_away_id(state, session.id);
}

fn put_away_id(state: &AppState, session: session_core::id::SessionId) {
    let api = state.whole_api().clone();
    state
        .tasks()
        .spawn(async move { super::run::destroy(&*api, &session).await });
}
