//! What those ask who watch the server: whether it lives, whether it can work, and figures.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http_api::SurfaceCode;
use metrics::Label;
use serde::Serialize;
use session_core::error::{Error, ErrorKind};
use session_core::session::SessionFilter;

use crate::caller::{Caller, Scope};
use crate::json::Json;
use crate::problem::Failure;
use crate::state::AppState;

/// How long those whom the server needs may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
const STATES: [&str; 8] = [
    "creating",
    "ready",
    "busy",
    "paused",
    "interrupted",
    "failed",
    "destroying",
    "destroyed",
];

pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(figures))
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

async fn alive() -> Json<Health> {
    Json(Health { status: "alive" })
}

async fn ready(State(state): State<AppState>) -> Result<Json<Health>, Failure> {
    let unready = |error: Error| {
        let failure = Failure::new(SurfaceCode::Unavailable, error.to_string());
        match error.hint() {
            Some(hint) => failure.with_hint(hint.to_owned()),
            None => failure,
        }
    };
    if state.closing().is_cancelled() {
        return Err(Failure::new(
            SurfaceCode::Unavailable,
            "the server is about to end",
        ));
    }
    match tokio::time::timeout(PATIENCE, state.control().ready()).await {
        Ok(Ok(())) => Ok(Json(Health { status: "ready" })),
        Ok(Err(error)) => Err(unready(error)),
        Err(_) => Err(unready(Error::new(
            ErrorKind::EngineTimeout,
            "see whether the server can work",
            "the store and the engine did not answer in time",
        ))),
    }
}

/// Tells about all sessions, so only to those who see them.
async fn figures(State(state): State<AppState>, caller: Caller) -> Result<Response, Failure> {
    caller.require(Scope::Read)?;
    caller.require_all_sessions()?;
    look(&state).await?;
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(([(CONTENT_TYPE, kind)], state.metrics().render()).into_response())
}

/// Takes the figures that are known elsewhere.
async fn look(state: &AppState) -> Result<(), Failure> {
    let (api, metrics) = (state.whole_api(), state.metrics());
    let all = SessionFilter {
        all: true,
        ..SessionFilter::default()
    };
    let sessions = api.list(all).await?;
    for name in STATES {
        let count = sessions
            .iter()
            .filter(|info| info.state.name().as_str() == name)
            .count();
        let label = Label::from_static_parts("state", name);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        metrics.set("cofferdam_sessions", vec![label], f64::from(count));
    }
    metrics.count(
        "cofferdam_turns_total",
        Vec::new(),
        sessions.iter().map(|info| info.turns).sum(),
    );
    let spent = api.usage(None).await?.session;
    for (kind, tokens) in [
        ("input", spent.input_tokens),
        ("output", spent.output_tokens),
        ("cache_read", spent.cache_read_tokens),
        ("cache_creation", spent.cache_creation_tokens),
    ] {
        let label = Label::from_static_parts("kind", kind);
        metrics.count("cofferdam_model_tokens_total", vec![label], tokens);
    }
    metrics.count("cofferdam_model_requests_total", Vec::new(), spent.requests);
    metrics.count(
        "cofferdam_model_cost_microusd_total",
        Vec::new(),
        spent.cost_microusd,
    );
    Ok(())
}
