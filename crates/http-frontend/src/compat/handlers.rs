//! The routes.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Request, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::answer::{ENDPOINTS, Refusal, now};
use super::request::{self, Analyze, Execute};
use super::tasks::{self, Found, Task};
use super::{Compat, analysis};
use crate::caller::{Caller, RequireUse};
use crate::json::Json;
use crate::state::AppState;

type Answer = Result<Response, Refusal>;

const SERVICE: &str = "cofferdam";
const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) async fn root(Extension(compat): Extension<Arc<Compat>>) -> Json<Value> {
    Json(json!({
        "service": SERVICE,
        "version": VERSION,
        "description": "Coding agents in sealed containers: analyses of projects, and tasks for Claude Code",
        "endpoints": {
            "health": ENDPOINTS[1],
            "analyze": ENDPOINTS[2],
            "execute": ENDPOINTS[3],
            "status": ENDPOINTS[4],
            "task": ENDPOINTS[5],
        },
        "uptime_ms": compat.uptime_ms(),
    }))
}

pub(super) async fn health(
    State(state): State<AppState>,
    Extension(compat): Extension<Arc<Compat>>,
    caller: Caller,
) -> Json<Value> {
    compat.recover(&state);
    Json(json!({
        "status": "healthy",
        "timestamp": now(),
        "uptime_ms": compat.uptime_ms(),
        "active_tasks": compat.tasks.counts(&caller).running,
        "version": VERSION,
        "service": SERVICE,
    }))
}

pub(super) async fn status(
    State(state): State<AppState>,
    Extension(compat): Extension<Arc<Compat>>,
    caller: Caller,
) -> Json<Value> {
    compat.recover(&state);
    compat.tasks.found(Found::All).await;
    let counts = compat.tasks.counts(&caller);
    let container_health = match state.control().ready().await {
        Ok(()) => "healthy",
        Err(error) => {
            tracing::warn!(%error, "the engine or the store does not answer");
            "unhealthy"
        }
    };
    Json(json!({
        "status": "operational",
        "claude_code_version": compat.options.claude_code_version,
        "server_uptime_ms": compat.uptime_ms(),
        "tasks": {
            "total": counts.running + counts.completed + counts.failed,
            "running": counts.running,
            "queued": counts.queued,
            "completed": counts.completed,
            "failed": counts.failed,
        },
        "container_health": container_health,
        "timestamp": now(),
    }))
}

pub(super) async fn analyze(
    State(state): State<AppState>,
    Extension(compat): Extension<Arc<Compat>>,
    RequireUse(caller): RequireUse,
    request: Request,
) -> Answer {
    compat.recover(&state);
    let (_, fields) = request::body(request, &state).await?;
    let asked = Analyze::read(&fields)?;
    let project = tasks::find_project(&state, &compat, &asked.project_path).await?;
    let (name, path) = (asked.analysis_type, asked.project_path.clone());
    let results = analysis::run(&state, &compat, &caller, asked, project).await?;
    Ok(Json(json!({
        "status": "success",
        "analysis_type": name,
        "project_path": path,
        "results": results,
        "timestamp": now(),
    }))
    .into_response())
}

pub(super) async fn execute(
    State(state): State<AppState>,
    Extension(compat): Extension<Arc<Compat>>,
    RequireUse(caller): RequireUse,
    request: Request,
) -> Answer {
    compat.recover(&state);
    let (headers, fields) = request::body(request, &state).await?;
    let asked = Execute::read(&headers, &fields)?;
    let project = tasks::find_project(&state, &compat, &asked.project_path).await?;
    let wait = asked.wait;
    let task = tasks::begin(&state, &compat, &caller, asked, project).await?;
    if !wait {
        return Ok((StatusCode::ACCEPTED, Json(accepted(&task))).into_response());
    }
    // The task goes on when the client leaves; when the server ends, it is found again by the next one.
    let results = tasks::wait(&state, &task).await?;
    Ok(Json(json!({
        "status": "completed",
        "task_id": task.id,
        "task_description": task.description,
        "project_path": task.project_path,
        "results": results,
        "timestamp": now(),
    }))
    .into_response())
}

fn accepted(task: &Task) -> Value {
    json!({
        "status": "running",
        "task_id": task.id,
        "task_description": task.description,
        "project_path": task.project_path,
        "priority": task.priority.as_str(),
        "timestamp": now(),
    })
}

pub(super) async fn task(
    State(state): State<AppState>,
    Extension(compat): Extension<Arc<Compat>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer {
    compat.recover(&state);
    match tasks::look_up(&state, &compat, &caller, &id).await? {
        Some(told) => Ok(Json(told).into_response()),
        None => Err(Refusal::Other(
            StatusCode::NOT_FOUND,
            format!("Task {} not found", id.chars().take(100).collect::<String>()),
        )),
    }
}

/// Everything else, also a path of ours with another method.
pub(super) async fn elsewhere(method: Method, uri: Uri) -> Response {
    not_found(&method, &uri)
}

/// What is said of a path that is not there.
pub(crate) fn not_found(method: &Method, uri: &Uri) -> Response {
    let path: String = uri.path().chars().take(200).collect();
    let body = json!({
        "error": "Not Found",
        "message": format!("Endpoint {method} {path} not found"),
        "available_endpoints": ENDPOINTS,
    });
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}
