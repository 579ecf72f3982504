//! A task at work: its session, its turn, its results.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use serde_json::{Value, json};
use session_core::api::{SessionApi, SessionApiExt};
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::SessionId;
use session_core::session::{CreateSession, PromptRequest, SessionInfo, WorkspaceDiff, WorkspaceSource};
use session_core::turn::{TurnInfo, TurnOutcome, TurnStatus};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::ledger::{Task, TaskState};
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
    pub(super) closing: CancellationToken,
    pub(super) task: Arc<Task>,
}

/// How a task went wrong, and where one can look inside.
struct Failed {
    error: String,
    session: Option<SessionId>,
}

impl Failed {
    fn early(error: &Error) -> Self {
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
            let Ok(_place) = place.await else {
                return Err(Failed {
                    error: "the queue is gone".to_owned(),
                    session: None,
                });
            };
            self.task.set(TaskState::Working);
            let (session, turn) = self.start(&project).await?;
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
            // What was begun goes on in its session; the next process finds it there. What only waited is told off.
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
        if let Some(session) = failed.session
            && let Some(old) = self
                .compat
                .tasks
                .keep(session, self.compat.options.keep_failed, false)
        {
            destroy(&*self.api, &old).await;
        }
        TaskState::Failed {
            at: Timestamp::now(),
            error: failed.error,
            session: failed.session,
        }
    }

    async fn start(&self, project: &Project) -> Result<(SessionInfo, TurnInfo), Failed> {
        let session = self
            .session(project)
            .await
            .map_err(|error| Failed::early(&error))?;
        if !project.is_of(&session) {
            destroy(&*self.api, &session.id).await;
            return Err(Failed {
                error: "the project directory was replaced while its session was made".to_owned(),
                session: None,
            });
        }
        let request = PromptRequest {
            prompt: prompt::together(&self.task.description, &self.task.context),
            time_limit: Some(self.compat.options.timeout),
            idempotency_key: Some(self.task.id.clone()),
            ..PromptRequest::default()
        };
        match self.api.prompt(&session.id, request).await {
            Ok(turn) => Ok((session, turn)),
            Err(error) => Err(Failed {
                error: error.to_string(),
                session: Some(session.id),
            }),
        }
    }

    /// A session in the project itself or, where that cannot be, in a copy.
    async fn session(&self, project: &Project) -> Result<SessionInfo> {
        let path = project.path.clone();
        let mounted = self
            .api
            .create(self.request(WorkspaceSource::Mount { path: path.clone() }))
            .await;
        match mounted {
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WorkspaceNotWritable | ErrorKind::Unsupported
                ) =>
            {
                tracing::info!(task = %self.task.id, %error, "the task works on a copy of its project");
                self.api
                    .create(self.request(WorkspaceSource::Copy { path }))
                    .await
            }
            made => made,
        }
    }

    fn request(&self, workspace: WorkspaceSource) -> CreateSession {
        let task = &self.task;
        let labels = [
            (labels::KIND, labels::TASK.to_owned()),
            (labels::ID, task.id.clone()),
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
        destroy(&*self.api, &session.id).await;
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

/// Destroys a session that nobody asks for any more.
pub(in crate::compat) async fn destroy(api: &dyn SessionApi, session: &SessionId) {
    for pause in [0, 1, 3] {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        match api.destroy(session).await {
            Ok(()) => return,
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(error) => tracing::warn!(%session, %error, "a session could not be put away"),
        }
    }
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
