//! What a `result` line says about the turn.
//!
//! A turn that failed says `"subtype":"success"`: only `is_error`, `terminal_reason` and the API's status can be believed.

use serde_json::Value;

use crate::error::{ErrorKind, ErrorReport};
use crate::turn::{TokenUsage, TurnFailure, TurnFailureCause, TurnOutcome, TurnStatus};

pub(super) fn read(value: &Value) -> TurnOutcome {
    let failed = value["is_error"].as_bool().unwrap_or(false);
    let aborted = value["terminal_reason"]
        .as_str()
        .is_some_and(|reason| reason.starts_with("aborted"));
    let status = match (failed, aborted) {
        (_, true) => TurnStatus::Interrupted,
        (true, false) => TurnStatus::Failed,
        (false, false) => TurnStatus::Succeeded,
    };
    let text = value["result"].as_str().unwrap_or_default().to_owned();
    TurnOutcome {
        status,
        usage: usage(&value["usage"]),
        cost_usd: value["total_cost_usd"].as_f64(),
        model_calls: value["num_turns"].as_u64().unwrap_or_default(),
        duration_ms: value["duration_ms"].as_f64().map_or(0, whole),
        permission_denials: denials(&value["permission_denials"]),
        failure: (status == TurnStatus::Failed).then(|| failure(value, &text)),
        text,
    }
}

fn usage(value: &Value) -> TokenUsage {
    let count = |name: &str| value[name].as_u64().unwrap_or_default();
    TokenUsage {
        input: count("input_tokens"),
        output: count("output_tokens"),
        cache_read: count("cache_read_input_tokens"),
        cache_creation: count("cache_creation_input_tokens"),
    }
}

fn denials(value: &Value) -> Vec<String> {
    let names = value.as_array().into_iter().flatten().take(100);
    names
        .map(|denial| denial["tool_name"].as_str().unwrap_or("unknown").to_owned())
        .collect()
}

/// A number of milliseconds as a whole one; never negative.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to what fits before"
)]
pub(super) fn whole(number: f64) -> u64 {
    if number.is_finite() {
        number.clamp(0.0, 9e15) as u64
    } else {
        0
    }
}

fn failure(value: &Value, text: &str) -> TurnFailure {
    let (cause, code, hint, retryable) = classify(value);
    let errors = value["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let message = if text.is_empty() {
        errors.collect::<Vec<_>>().join("; ")
    } else {
        text.to_owned()
    };
    TurnFailure {
        cause,
        error: ErrorReport {
            code,
            message: if message.is_empty() {
                "the agent gave no reason".to_owned()
            } else {
                message
            },
            hint: Some(hint.to_owned()),
            retryable,
        },
    }
}

fn classify(value: &Value) -> (TurnFailureCause, ErrorKind, &'static str, bool) {
    use TurnFailureCause as Cause;
    let failed = ErrorKind::AgentFailed;
    match value["api_error_status"].as_u64() {
        Some(401 | 403) => {
            let hint =
                "set a credential that the provider accepts on the host; it is used at the next request";
            return (Cause::ModelUnauthorized, failed, hint, false);
        }
        Some(429 | 529) => {
            return (
                Cause::ModelOverloaded,
                failed,
                "wait and prompt again; the conversation goes on",
                true,
            );
        }
        Some(502 | 504) => {
            let hint = "is the provider's address right and can this host reach it?";
            return (Cause::ModelUnreachable, failed, hint, true);
        }
        Some(400 | 404 | 413) => {
            return (
                Cause::ModelFailed,
                failed,
                "is the model's name right, and is the conversation short enough?",
                false,
            );
        }
        Some(_) => {
            return (
                Cause::ModelFailed,
                failed,
                "prompt again; the conversation goes on",
                true,
            );
        }
        None => {}
    }
    if value["api_error"].as_str() == Some("connection_failed") {
        return (
            Cause::ModelUnreachable,
            failed,
            "can this host reach the provider?",
            true,
        );
    }
    match (
        value["subtype"].as_str().unwrap_or_default(),
        value["terminal_reason"].as_str(),
    ) {
        ("error_max_turns" | "error_max_budget_usd", _) => (
            Cause::AgentLimit,
            ErrorKind::LimitExceeded,
            "raise the agent's limit",
            false,
        ),
        (_, Some("api_error" | "model_error")) => (
            Cause::ModelFailed,
            failed,
            "prompt again; the conversation goes on",
            true,
        ),
        _ => (Cause::AgentError, failed, "see the session's log", true),
    }
}
