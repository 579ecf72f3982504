//! What an earlier process left: tasks that waited wait again, tasks that run are waited for, sessions that nobody waits
//! for are put away. Which those are, the journal says.

use std::collections::BTreeMap;
use std::sync::Arc;

use session_core::error::{ErrorKind, Result};
use session_core::id::SessionId;
use session_core::session::SessionInfo;
use session_core::state::SessionState;
use session_core::turn::TurnInfo;

use super::ledger::{Found, Kept, Task, TaskState};
use super::run::{Again, Job, put_away};
use super::{labels, stored};
use crate::compat::Compat;
use crate::compat::journal::{Entry, TaskWork, Work};
use crate::compat::queue::Priority;
use crate::state::AppState;

/// Looks once.
pub(in crate::compat) async fn recover(compat: Arc<Compat>, state: AppState) {
    let looked = tokio::select! {
        // A look that is broken off is made again by the next process.
        looked = look(&compat, &state) => looked,
        () = state.closing().cancelled() => Ok(()),
    };
    if let Err(error) = looked {
        tracing::warn!(%error, "tasks of earlier could not be looked for");
    }
    compat.tasks.set_found(Found::All);
}

async fn look(compat: &Arc<Compat>, state: &AppState) -> Result<()> {
    let mut left = Left::default();
    for entry in compat.journal.load().await? {
        let id = entry.id;
        // One that cannot be judged now is looked at by the next process.
        if let Err(error) = judge(compat, state, entry, &mut left).await {
            tracing::warn!(task = %id, %error, "what an earlier process took on cannot be looked at");
        }
    }
    // Newest first: the newest failures are those that are kept.
    for failed in left.failed.into_iter().rev() {
        if let Some(old) = compat.tasks.keep(failed, compat.options.keep_failed, true) {
            spawn_put_away(compat, state, old.task, old.session);
        }
    }
    for ((job, again), place) in compat.task_queue.enter_again(left.waiting) {
        state.tasks().spawn(job.run_again(again, place));
    }
    compat.tasks.set_found(Found::Going);
    count_ended(compat, state).await
}

/// What has to be seen together, in its order.
#[derive(Default)]
struct Left {
    waiting: Vec<(Priority, (Job, Again))>,
    failed: Vec<Kept>,
}

async fn judge(compat: &Arc<Compat>, state: &AppState, entry: Entry, left: &mut Left) -> Result<()> {
    let api = state.whole_api();
    let session = match entry.session {
        Some(session) => match api.session(&session).await {
            Ok(session) => Some(session),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                tracing::warn!(task = %entry.id, %session, "the store does not know the session of a task");
                compat.journal.remove(entry.id).await;
                return Ok(());
            }
            Err(error) => return Err(error),
        },
        None => None,
    };
    match entry.work {
        Work::Analysis => {
            // One that was made and not written down is known by an id that nobody else was told.
            let session = match session {
                Some(session) => Some(session),
                None => {
                    let id = entry.id.to_string();
                    stored::labelled(&**api, labels::ID, &id).await?.pop()
                }
            };
            match session {
                Some(session) => spawn_put_away(compat, state, entry.id, session.id),
                None => compat.journal.remove(entry.id).await,
            }
        }
        Work::Task(work) => {
            let turn = match &session {
                Some(session) => stored::first_turn(&**api, session).await?,
                None => None,
            };
            match (session, turn) {
                (Some(session), Some(turn)) => adopt(compat, state, entry.id, session, turn, left),
                // Nobody was asked to do it yet.
                _ => {
                    let again = Again {
                        session: entry.session,
                        attempt: entry.attempt,
                    };
                    wait_again(compat, state, entry.id, *work, again, left);
                }
            }
        }
    }
    Ok(())
}

fn wait_again(
    compat: &Arc<Compat>,
    state: &AppState,
    id: SessionId,
    work: TaskWork,
    again: Again,
    left: &mut Left,
) {
    let caller = work.by.caller();
    let task = Arc::new(Task::new(id, work, caller.name()));
    compat.tasks.add(task.clone());
    let priority = task.priority;
    let job = Job {
        compat: compat.clone(),
        api: caller.view(state),
        whole: state.whole_api().clone(),
        closing: state.closing().clone(),
        task,
    };
    left.waiting.push((priority, (job, again)));
}

fn adopt(
    compat: &Arc<Compat>,
    state: &AppState,
    id: SessionId,
    session: SessionInfo,
    turn: TurnInfo,
    left: &mut Left,
) {
    let task = Arc::new(stored::task(id, &session, Some(&turn)));
    let alive = session.state.may_have_container() && session.state != SessionState::Destroying;
    match task.state() {
        TaskState::Working => {
            compat.tasks.add(task.clone());
            let job = Job {
                compat: compat.clone(),
                api: state.whole_api().clone(),
                whole: state.whole_api().clone(),
                closing: state.closing().clone(),
                task,
            };
            let place = compat.task_queue.occupy();
            state.tasks().spawn(job.run_found(session, turn, place));
        }
        TaskState::Failed { .. } if alive => left.failed.push(Kept {
            task: id,
            session: session.id,
        }),
        // What was being put away is put away to the end.
        _ => spawn_put_away(compat, state, id, session.id),
    }
}

/// Counts the tasks that ended, as the store tells them.
async fn count_ended(compat: &Arc<Compat>, state: &AppState) -> Result<()> {
    let api = state.whole_api();
    let mut sessions: BTreeMap<SessionId, Vec<SessionInfo>> = BTreeMap::new();
    for session in stored::labelled(&**api, labels::KIND, labels::TASK).await? {
        if let Some(id) = session.labels.get(labels::ID).and_then(|id| id.parse().ok()) {
            sessions.entry(id).or_default().push(session);
        }
    }
    for id in compat.tasks.known() {
        sessions.remove(&id);
    }
    for (id, sessions) in sessions {
        let Some(session) = stored::the_one(sessions) else {
            continue;
        };
        let turn = stored::first_turn(&**api, &session).await?;
        compat.tasks.add_past(&stored::task(id, &session, turn.as_ref()));
    }
    Ok(())
}

fn spawn_put_away(compat: &Arc<Compat>, state: &AppState, task: SessionId, session: SessionId) {
    let (compat, api) = (compat.clone(), state.whole_api().clone());
    state
        .tasks()
        .spawn(async move { put_away(&compat, &*api, task, &session).await });
}
