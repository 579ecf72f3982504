//! Tasks: each is a turn of a session of its own.
//!
//! A task is known by its id from the moment on which it is accepted, and that is when it is in the journal. From there a
//! later process takes it up again, waiting or running ([`recover`]); it has one session and one prompt, whose
//! idempotency keys come from its id, so that it is done once. What ended is told from the store, by its session's labels
//! and its turn. What only a running process knows, the diff of a session that is gone and a failure before there was one,
//! is told as long as that process lives.

mod ledger;
pub(super) mod prompt;
mod recovery;
pub(super) mod run;
mod stored;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use session_core::id::SessionId;

pub(super) use self::ledger::{Found, Task, TaskState, Tasks};
pub(super) use self::recovery::recover;
use super::Compat;
use super::answer::{Refusal, time};
use super::journal::{By, Entry, TaskWork, Work};
use super::projects::Project;
use super::request::Execute;
use crate::caller::Caller;
use crate::problem::Failure;
use crate::state::AppState;

/// Labels of sessions of tasks and analyses, for whoever lists sessions, and to tell of tasks that ended. Whoever makes a
/// session under them by other ways is told of it as of a task; nothing is done to it.
pub(super) mod labels {
    /// What it is for: [`TASK`] or [`ANALYSIS`].
    pub(crate) const KIND: &str = "compat.cofferdam/kind";
    pub(crate) const TASK: &str = "task";
    pub(crate) const ANALYSIS: &str = "analysis";
    /// The task's id.
    pub(crate) const ID: &str = "compat.cofferdam/task";
    pub(crate) const PRIORITY: &str = "compat.cofferdam/priority";
    /// The project as the client wrote it.
    pub(crate) const PROJECT: &str = "compat.cofferdam/project";
    /// How the prompt is put together, see [`super::prompt`].
    pub(crate) const PROMPT: &str = "compat.cofferdam/prompt";
    /// When it was accepted.
    pub(crate) const STARTED: &str = "compat.cofferdam/started";
}

/// Finds a project, on a thread that may wait for files.
pub(super) async fn find_project(state: &AppState, compat: &Compat, asked: &str) -> Result<Project, Refusal> {
    let (projects, asked) = (compat.options.projects_dir.clone(), asked.to_owned());
    let found = state.blocking(move || Ok(Project::find(&projects, &asked))).await;
    found.map_err(Refusal::from)?
}

/// Accepts a task. It goes on by itself.
pub(super) async fn begin(
    state: &AppState,
    compat: &Arc<Compat>,
    caller: &Caller,
    asked: Execute,
    project: Project,
) -> Result<Arc<Task>, Refusal> {
    let (beside, compat, caller) = (state.clone(), compat.clone(), caller.clone());
    // Whole, also for a client that leaves meanwhile: a task is in the journal and at work, or neither.
    let accepted = state.detached::<_, Failure, _>(async move {
        Ok(accept(&beside, &compat, &caller, asked, project).await)
    });
    accepted.await?
}

async fn accept(
    state: &AppState,
    compat: &Arc<Compat>,
    caller: &Caller,
    asked: Execute,
    project: Project,
) -> Result<Arc<Task>, Refusal> {
    // Those who waited in an earlier process come first.
    compat.tasks.found(Found::Going).await;
    let Ok(place) = compat.task_queue.enter(asked.priority) else {
        return Err(Refusal::failed("too many tasks wait already; try again later"));
    };
    let work = TaskWork {
        description: asked.task_description,
        context: asked.context,
        project_path: asked.project_path,
        priority: asked.priority,
        started_at: Timestamp::now(),
        by: By::of(caller),
    };
    let id = SessionId::new();
    let entry = Entry::new(id, Work::Task(Box::new(work.clone())));
    compat.journal.add(entry).await?;
    let task = Arc::new(Task::new(id, work, caller.name()));
    compat.tasks.add(task.clone());
    let job = run::Job {
        compat: compat.clone(),
        api: caller.view(state),
        whole: state.whole_api().clone(),
        closing: state.closing().clone(),
        task: task.clone(),
    };
    state.tasks().spawn(job.run_new(project, place));
    Ok(task)
}

/// Waits for the results.
pub(super) async fn wait(state: &AppState, task: &Task) -> Result<Value, Refusal> {
    let more = json!({ "task_id": task.id });
    let ended = tokio::select! {
        // Both only wait.
        ended = task.ended() => ended,
        () = state.closing().cancelled() => {
            let text = "the server ends; the task goes on where it has begun, ask for it by its id";
            return Err(Refusal::Failed(text.to_owned(), more));
        }
    };
    match ended {
        TaskState::Completed { results, .. } => Ok((*results).clone()),
        TaskState::Failed { error, .. } => Err(Refusal::Failed(error, more)),
        TaskState::Queued | TaskState::Working => {
            Err(Refusal::Failed("the task was given up".to_owned(), more))
        }
    }
}

/// What there is to tell of a task; `None` when there is none for this caller.
pub(super) async fn look_up(
    state: &AppState,
    compat: &Compat,
    caller: &Caller,
    id: &str,
) -> Result<Option<Value>, Refusal> {
    // Everything else is no id of ours, and none of the store's business.
    let Ok(id) = id.parse::<SessionId>() else {
        return Ok(None);
    };
    compat.tasks.found(Found::Going).await;
    if let Some(task) = compat.tasks.get(id, caller) {
        return Ok(Some(told(&task)));
    }
    let api = caller.view(state);
    let stored = stored::find(&*api, id).await?;
    Ok(stored.map(|task| told(&task)))
}

fn told(task: &Task) -> Value {
    let mut told = json!({
        "task_id": task.id,
        "task_description": task.description,
        "project_path": task.project_path,
        "context": task.context,
        "priority": task.priority.as_str(),
        "status": "running",
        "started_at": time(task.started_at),
        "timestamp": super::answer::now(),
    });
    match task.state() {
        TaskState::Queued => told["phase"] = json!("queued"),
        TaskState::Working => told["phase"] = json!("working"),
        TaskState::Completed { at, results } => {
            told["status"] = json!("completed");
            told["completed_at"] = json!(time(at));
            told["results"] = (*results).clone();
        }
        TaskState::Failed { at, error, session } => {
            told["status"] = json!("failed");
            told["failed_at"] = json!(time(at));
            told["error"] = json!(error);
            if let Some(session) = session {
                told["session_id"] = json!(session.to_string());
            }
        }
    }
    told
}
