//! A task at work: its session, its turn, its results.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use serde_json::{Value, json};
use session_core::api::{SessionApi, SessionApiExt};
use session_core::error::{ErrorKind, Result};
use session_core::id::SessionId;
use session_core::session::{CreateSession, PromptRequest, SessionInfo, WorkspaceDiff, WorkspaceSource};
use session_core::state::Operation;
use session_core::turn::{TurnInfo, TurnOutcome, TurnStatus};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::ledger::{Kept, Task, TaskState};
use super::{labels, prompt};
use crate::compat::answer::time;
use crate::compat::projects::Project;
use crate::compat::queue::Place;
use crate::compat::{Compat, CompatOptions};

/// The longest patch in an answer, in bytes; the most changed paths.
const MAX_PATCH: usize = 256 << 10;
const MAX_CHANGED: usize = 500;
/// How long it may take to see what changed.
const DIFF_PATIENCE: Duration = Duration::from_secs(60);

/// A task and what it takes to work on it.
pub(super) struct Job {
    pub(super) compat: Arc<Compat>,
    pub(super) api: Arc<dyn SessionApi>,
    /// For what goes beyond its caller: the sessions of others that are kept no longer.
    pub(super) whole: Arc<dyn SessionApi>,
    pub(super) closing: CancellationToken,
    pub(super) task: Arc<Task>,
}

/// What an earlier process did for a task before it was asked of any agent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Again {
    pub(super) session: Option<SessionId>,
    pub(super) attempt: u32,
}

/// How a task went wrong, and where one can look inside.
struct Failed {
    error: String,
    session: Option<SessionId>,
}

impl Failed {
    fn early(error: impl ToString) -> Self {
        Self {
            error: error.to_string(),
            session: None,
        }
    }
}

impl Job {
    /// Works on a task that was just accepted.
    pub(super) async fn run_new(self, project: Project, place: oneshot::Receiver<Place>) {
        let work = async {
            let _place = self.take(place).await?;
            let session = self.create(&project, 0).await.map_err(Failed::early)?;
            let turn = self.start(&project, &session, 0).await?;
            self.finish(&session, turn).await
        };
        self.guard(work).await;
    }

    /// Works on a task that waited in an earlier process.
    pub(super) async fn run_again(self, again: Again, place: oneshot::Receiver<Place>) {
        let work = async {
            let _place = self.take(place).await?;
            let project = self.project().await?;
            let (session, attempt) = self.create_again(&project, again).await.map_err(Failed::early)?;
            let turn = self.start(&project, &session, attempt).await?;
            self.finish(&session, turn).await
        };
        self.guard(work).await;
    }

    /// Works on with a task that an earlier process began.
    pub(super) async fn run_found(self, session: SessionInfo, turn: TurnInfo, place: Place) {
        let work = async {
            let _place = place;
            self.finish(&session, turn).await
        };
        self.guard(work).await;
    }

    /// A task has an end, whatever becomes of the work.
    async fn guard(&self, work: impl Future<Output = Result<Value, Failed>>) {
        let ended = tokio::select! {
            ended = AssertUnwindSafe(work).catch_unwind() => ended,
            // What was begun goes on in its session, what waited is in the journal: the next process takes it up.
            () = self.closing.cancelled() => return,
        };
        let end = match ended {
            Ok(Ok(results)) => TaskState::Completed {
                at: Timestamp::now(),
                results: Arc::new(results),
            },
            Ok(Err(failed)) => self.failed(failed).await,
            Err(_) => TaskState::Failed {
                at: Timestamp::now(),
                error: "the server failed at this task".to_owned(),
                session: None,
            },
        };
        self.compat.tasks.end(&self.task, end);
    }

    async fn failed(&self, failed: Failed) -> TaskState {
        tracing::warn!(task = %self.task.id, error = %failed.error, "a task failed");
        let (task, compat) = (self.task.id, &self.compat);
        match failed.session {
            Some(session) => {
                let failed = Kept { task, session };
                if let Some(old) = compat.tasks.keep(failed, compat.options.keep_failed, false) {
                    put_away(compat, &*self.whole, old.task, &old.session).await;
                }
            }
            None => compat.journal.remove(task).await,
        }
        TaskState::Failed {
            at: Timestamp::now(),
            error: failed.error,
            session: failed.session,
        }
    }

    async fn take(&self, place: oneshot::Receiver<Place>) -> Result<Place, Failed> {
        let place = place.await.map_err(|_| Failed::early("the queue is gone"))?;
        self.task.set(TaskState::Working);
        Ok(place)
    }

    /// The project as it is now, where an earlier process found it.
    async fn project(&self) -> Result<Project, Failed> {
        let (projects, asked) = (
            self.compat.options.projects_dir.clone(),
            self.task.project_path.clone(),
        );
        let found = tokio::task::spawn_blocking(move || Project::find(&projects, &asked)).await;
        let found = found.map_err(|_| Failed::early("the server failed at this task"))?;
        found.map_err(|refusal| Failed::early(refusal.message()))
    }

    /// Asks the agent.
    async fn start(
        &self,
        project: &Project,
        session: &SessionInfo,
        attempt: u32,
    ) -> Result<TurnInfo, Failed> {
        let written = self
            .compat
            .journal
            .set_session(self.task.id, Some(session.id), attempt);
        if let Err(error) = written.await {
            // The next process comes by the session all the same, by its key.
            tracing::warn!(task = %self.task.id, %error, "the session of a task could not be written down");
        }
        if !project.is_of(session) {
            let gone = destroy(&*self.api, &session.id).await;
            return Err(Failed {
                error: "the project directory was replaced while its session was made".to_owned(),
                session: (!gone).then_some(session.id),
            });
        }
        let request = PromptRequest {
            prompt: prompt::together(&self.task.description, &self.task.context),
            time_limit: Some(self.compat.options.timeout),
            idempotency_key: Some(self.task.id.to_string()),
            ..PromptRequest::default()
        };
        self.api
            .prompt(&session.id, request)
            .await
            .map_err(|error| Failed {
                error: error.to_string(),
                session: Some(session.id),
            })
    }

    /// The session that an earlier process made, as far as it can be used; another one otherwise.
    async fn create_again(&self, project: &Project, again: Again) -> Result<(SessionInfo, u32)> {
        let unused = match self.create(project, again.attempt).await {
            // One that was asked is the task's, whatever became of it.
            Ok(session) if session.turns > 0 || session.state.permits(Operation::Prompt).is_ok() => {
                return Ok((session, again.attempt));
            }
            Ok(session) => Some(session.id),
            Err(error) => {
                tracing::info!(task = %self.task.id, %error, "the session of a task is made anew");
                again.session
            }
        };
        if let Some(unused) = unused {
            destroy(&*self.api, &unused).await;
        }
        let attempt = again.attempt.saturating_add(1);
        self.compat
            .journal
            .set_session(self.task.id, None, attempt)
            .await?;
        Ok((self.create(project, attempt).await?, attempt))
    }

    /// A session in the project itself or, where that cannot be, in a copy. The same attempt has the same session.
    async fn create(&self, project: &Project, attempt: u32) -> Result<SessionInfo> {
        let path = project.path().to_owned();
        let key = format!("compat-task-{}-{attempt}", self.task.id);
        let mut request = self.request(WorkspaceSource::Mount { path: path.clone() });
        request.idempotency_key = Some(key.clone());
        match self.api.create(request).await {
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WorkspaceNotWritable | ErrorKind::Unsupported
                ) =>
            {
                tracing::info!(task = %self.task.id, %error, "the task works on a copy of its project");
                let mut request = self.request(WorkspaceSource::Copy { path });
                request.idempotency_key = Some(format!("{key}-copy"));
                self.api.create(request).await
            }
            made => made,
        }
    }

    fn request(&self, workspace: WorkspaceSource) -> CreateSession {
        let task = &self.task;
        let labels = [
            (labels::KIND, labels::TASK.to_owned()),
            (labels::ID, task.id.to_string()),
            (labels::PRIORITY, task.priority.as_str().to_owned()),
            (labels::PROJECT, task.project_path.clone()),
            (labels::PROMPT, prompt::label(&task.description, &task.context)),
            (labels::STARTED, time(task.started_at)),
        ];
        request(
            &self.compat.options,
            &format!("task {}", task.id),
            workspace,
            labels,
        )
    }

    /// Waits for the turn, and puts the session away.
    async fn finish(&self, session: &SessionInfo, turn: TurnInfo) -> Result<Value, Failed> {
        let outcome = match turn.outcome.clone() {
            Some(outcome) => Ok(outcome),
            None => self.api.wait_turn(&turn).await,
        };
        let failed = |error: String| Failed {
            error,
            session: Some(session.id),
        };
        let outcome = outcome.map_err(|error| failed(error.to_string()))?;
        if outcome.status != TurnStatus::Succeeded {
            return Err(failed(failure(&outcome)));
        }
        // A diff that cannot be had is no failure of the task.
        let diff = tokio::time::timeout(DIFF_PATIENCE, self.api.diff(&session.id)).await;
        let results = results(session, &outcome, diff.ok().and_then(Result::ok).as_ref());
        put_away(&self.compat, &*self.api, self.task.id, &session.id).await;
        Ok(results)
    }
}

/// A request for a session of this interface.
pub(in crate::compat) fn request<const N: usize>(
    options: &CompatOptions,
    name: &str,
    workspace: WorkspaceSource,
    labels: [(&str, String); N],
) -> CreateSession {
    CreateSession {
        name: Some(name.to_owned()),
        workspace,
        limits: Some(options.limits),
        labels: labels
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect::<BTreeMap<_, _>>(),
        ..CreateSession::default()
    }
}

/// Destroys a session that nobody asks for any more, and forgets what it was for. What cannot be destroyed is tried again by
/// the next process.
pub(in crate::compat) async fn put_away(
    compat: &Compat,
    api: &dyn SessionApi,
    task: SessionId,
    session: &SessionId,
) {
    if destroy(api, session).await {
        compat.journal.remove(task).await;
    }
}

/// Destroys a session; whether it is gone.
async fn destroy(api: &dyn SessionApi, session: &SessionId) -> bool {
    for pause in [0, 1, 3] {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        match api.destroy(session).await {
            Ok(()) => return true,
            Err(error) if error.kind() == ErrorKind::NotFound => return true,
            Err(error) => tracing::warn!(%session, %error, "a session could not be put away"),
        }
    }
    false
}

/// Why a turn did not succeed.
pub(in crate::compat) fn failure(outcome: &TurnOutcome) -> String {
    match &outcome.failure {
        Some(failure) => failure.error.message.clone(),
        None if outcome.status == TurnStatus::Interrupted => "the task was interrupted".to_owned(),
        None => "the task failed".to_owned(),
    }
}

/// What a task brought. Without a diff its changes are not known (any more).
pub(super) fn results(session: &SessionInfo, outcome: &TurnOutcome, diff: Option<&WorkspaceDiff>) -> Value {
    let workspace = match session.workspace {
        WorkspaceSource::Mount { .. } => "mount",
        _ => "copy",
    };
    json!({
        "text": outcome.text,
        "session_id": session.id,
        "workspace": workspace,
        "usage": outcome.usage,
        "cost_usd": outcome.cost_usd,
        "model_calls": outcome.model_calls,
        "duration_ms": outcome.duration_ms,
        "permission_denials": outcome.permission_denials,
        "changes": diff.map(changes),
    })
}

fn changes(diff: &WorkspaceDiff) -> Value {
    let files: Vec<Value> = diff
        .files
        .iter()
        .take(MAX_CHANGED)
        .map(|file| json!({ "status": file.status, "path": file.path }))
        .collect();
    let mut end = diff.patch.len().min(MAX_PATCH);
    while !diff.patch.is_char_boundary(end) {
        end -= 1;
    }
    json!({
        "total": diff.files.len(),
        "files": files,
        "patch": &diff.patch[..end],
        "truncated": diff.truncated || end < diff.patch.len() || diff.files.len() > MAX_CHANGED,
    })
}
