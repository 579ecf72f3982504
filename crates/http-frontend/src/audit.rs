//! What the surface itself writes to the audit log: who was turned away before the sessions were asked, and what was done to
//! the server. What callers do to sessions is written by the view that they have of them.

use axum::extract::MatchedPath;
use axum::http::{Extensions, Method};
use session_core::audit::{AuditDecision, AuditEntry};

use crate::caller::Caller;
use crate::problem::Failure;
use crate::state::AppState;

/// What was asked, as a line tells it: the route, without what the caller put into the path.
pub(crate) fn asked(method: &Method, extensions: &Extensions) -> String {
    let method = match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "another method",
    };
    match extensions.get::<MatchedPath>() {
        Some(route) => format!("{method} {}", route.as_str()),
        None => format!("{method} at no route"),
    }
}

/// Writes that somebody was turned away, bounded in rate. The refusal stands whether or not it can be written.
pub(crate) async fn turned_away(state: &AppState, actor: String, rule: &'static str, asked: String) {
    let Some(log) = &state.options().audit else { return };
    if let Err(error) = log.turned_away(actor, "make_request", rule, Some(asked)).await {
        tracing::warn!(%error, rule, "a refusal could not be written to the audit log");
    }
}

/// Writes what became of something that the caller did to the server itself, before the caller is told.
///
/// # Errors
/// The outcome's own; of what was done, that it could not be written.
pub(crate) async fn concluded<T>(
    state: &AppState,
    caller: &Caller,
    (action, detail): (&'static str, String),
    outcome: Result<T, Failure>,
) -> Result<T, Failure> {
    let Some(log) = &state.options().audit else {
        return outcome;
    };
    let (decision, rule) = match &outcome {
        Ok(_) => (AuditDecision::Done, None),
        Err(failure) => {
            let refused = failure.status().is_client_error();
            let decision = if refused {
                AuditDecision::Refused
            } else {
                AuditDecision::Failed
            };
            (decision, Some(failure.problem().code.clone()))
        }
    };
    let entry = AuditEntry {
        actor: caller.actor(),
        action: action.to_owned(),
        session: None,
        decision,
        rule,
        detail: Some(detail),
    };
    match log.record(entry).await {
        Ok(()) => outcome,
        // What failed is more to know than that it could not be written.
        Err(unwritten) => outcome.and(Err(unwritten.into())),
    }
}
