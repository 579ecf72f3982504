//! The interface that existed before (claude-code-docker-mcp), for its clients: every field, default and status code.
//!
//! ```text
//!  execute ─▶ project beneath the projects directory ─▶ queue (critical first) ─▶ sealed session ─▶ turn ─▶ results
//!  analyze ─▶ project beneath the projects directory ─▶ queue ─▶ sealed session (copy) ─▶ project-analysis ─▶ results
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`options`] | settings |
//! | `handlers`, `request`, `answer` | the routes; bodies in, answers out, in that interface's own forms |
//! | `projects` | from a `project_path` to a directory that cannot lie elsewhere |
//! | `queue` | who is next, and how many at once |
//! | `journal` | what was taken on, durably: it outlives the process |
//! | `tasks` | tasks: turns of sessions of their own, found again after a restart |
//! | `analysis` | analyses by the program of every session's toolbox |
//!
//! A task works in the project itself (a mount), as its clients expect: the interface before ran in the mounted projects
//! directory, and whoever uses it looks there for the result. Where that cannot be (the user inside may not write the
//! directory, or the engine is on another machine) the task works on a copy, the directory stays as it is, and the patch
//! in the answer is the result; `results.workspace` says which it was. An analysis always works on a copy.

mod analysis;
mod answer;
mod handlers;
mod journal;
mod options;
mod projects;
mod queue;
mod request;
mod tasks;

use std::sync::{Arc, Once};
use std::time::Instant;

use axum::routing::{get, post};
use axum::{Extension, Router};

pub(crate) use self::handlers::not_found;
use self::journal::Journal;
pub use self::options::CompatOptions;
use self::queue::Queue;
use self::tasks::Tasks;
use crate::state::AppState;

/// The most that may wait for their turn.
const MAX_WAITING: usize = 1_000;

/// What its handlers share.
pub(crate) struct Compat {
    options: CompatOptions,
    begun: Instant,
    tasks: Tasks,
    journal: Journal,
    /// Places for tasks.
    task_queue: Queue,
    /// Places for analyses: they are short, and should not wait for tasks.
    analysis_queue: Queue,
    recovered: Once,
}

impl Compat {
    fn new(options: CompatOptions) -> Arc<Self> {
        let places = options.max_concurrent_tasks.max(1);
        Arc::new(Self {
            begun: Instant::now(),
            tasks: Tasks::default(),
            journal: Journal::new(options.tasks_dir.clone()),
            task_queue: Queue::new(places, MAX_WAITING),
            analysis_queue: Queue::new(places, MAX_WAITING),
            recovered: Once::new(),
            options,
        })
    }

    fn uptime_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Looks once for what an earlier process left, beside everything else.
    fn recover(self: &Arc<Self>, state: &AppState) {
        self.recovered.call_once(|| {
            let (compat, beside) = (self.clone(), state.clone());
            state
                .tasks()
                .spawn(async move { tasks::recover(compat, beside).await });
        });
    }
}

/// Its routes: `/`, `/health` and those under `/claude-code`, and its answer to everything else; nothing when it is not
/// served.
pub(crate) fn router(state: &AppState) -> Router<AppState> {
    let Some(options) = state.options().compat.clone() else {
        return Router::new();
    };
    let compat = Compat::new(options);
    if tokio::runtime::Handle::try_current().is_ok() {
        compat.recover(state);
    }
    // A path that exists with another method was no path at all.
    Router::new()
        .route("/", get(handlers::root).fallback(handlers::elsewhere))
        .route("/health", get(handlers::health).fallback(handlers::elsewhere))
        .route(
            "/claude-code/analyze",
            post(handlers::analyze).fallback(handlers::elsewhere),
        )
        .route(
            "/claude-code/execute",
            post(handlers::execute).fallback(handlers::elsewhere),
        )
        .route(
            "/claude-code/status",
            get(handlers::status).fallback(handlers::elsewhere),
        )
        .route(
            "/claude-code/task/{task}",
            get(handlers::task).fallback(handlers::elsewhere),
        )
        .fallback(handlers::elsewhere)
        .layer(Extension(compat))
}
