//! How a turn ended.
//!
//! A turn that failed says `"subtype":"success"`, so only the other fields tell: `is_error`, then why it stopped, then
//! what the provider answered. `usage` misleads as well: it leaves out subagents and what an interrupted turn spent;
//! `model_usage_since_last_result` has all of it. `total_cost_usd` counts from the start of the process or, after a resume,
//! of the conversation; it is handed on as it is, and whoever keeps the conversation's record subtracts.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::fields::{Elements, MAX_TEXT_BYTES, cut, cut_owned, lenient, text};
use crate::error::{Error, ErrorKind};
use crate::turn::{TokenUsage, TurnFailure, TurnFailureCause, TurnOutcome, TurnStatus};

/// The most denials in an outcome.
const MAX_DENIALS: usize = 100;
/// The longest explanation of the agent's in a failure.
const MAX_WORDS_BYTES: usize = 500;

#[derive(Deserialize)]
struct ResultLine<'a> {
    #[serde(default, deserialize_with = "lenient")]
    subtype: String,
    #[serde(default, deserialize_with = "lenient")]
    is_error: bool,
    #[serde(default, deserialize_with = "text")]
    result: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    errors: Vec<String>,
    #[serde(default, deserialize_with = "lenient")]
    terminal_reason: String,
    #[serde(default, deserialize_with = "lenient")]
    stop_reason: String,
    #[serde(default, deserialize_with = "lenient")]
    api_error_status: Option<u16>,
    #[serde(default, deserialize_with = "lenient")]
    api_error: String,
    #[serde(default, deserialize_with = "lenient")]
    total_cost_usd: Option<f64>,
    #[serde(default, deserialize_with = "lenient")]
    num_turns: u64,
    #[serde(default, deserialize_with = "lenient")]
    duration_ms: u64,
    #[serde(default, deserialize_with = "lenient")]
    usage: Usage,
    #[serde(default, deserialize_with = "lenient")]
    model_usage_since_last_result: Option<BTreeMap<String, ModelUse>>,
    #[serde(borrow, default)]
    permission_denials: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Usage {
    #[serde(default, deserialize_with = "lenient")]
    input_tokens: u64,
    #[serde(default, deserialize_with = "lenient")]
    output_tokens: u64,
    #[serde(default, deserialize_with = "lenient")]
    cache_read_input_tokens: u64,
    #[serde(default, deserialize_with = "lenient")]
    cache_creation_input_tokens: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ModelUse {
    #[serde(default, deserialize_with = "lenient")]
    input_tokens: u64,
    #[serde(default, deserialize_with = "lenient")]
    output_tokens: u64,
    #[serde(default, deserialize_with = "lenient")]
    cache_read_input_tokens: u64,
    #[serde(default, deserialize_with = "lenient")]
    cache_creation_input_tokens: u64,
}

#[derive(Deserialize)]
struct Denial {
    #[serde(default, deserialize_with = "lenient")]
    tool_name: String,
}

/// Whether this is all that a process says which was told to resume a conversation that is not there.
pub(super) fn is_unknown_conversation(line: &str) -> bool {
    serde_json::from_str::<ResultLine<'_>>(line).is_ok_and(|result| {
        result.num_turns == 0
            && result
                .errors
                .iter()
                .any(|error| error.starts_with("No conversation found with session ID"))
    })
}

/// The outcome that a `result` line tells.
pub(super) fn of(line: &str) -> Option<TurnOutcome> {
    let mut result: ResultLine<'_> = serde_json::from_str(line).ok()?;
    let status = status(&result);
    let words = cut_owned(result.result.take().unwrap_or_default(), MAX_TEXT_BYTES);
    let failure = (status == TurnStatus::Failed).then(|| failure(&result, &words));
    Some(TurnOutcome {
        status,
        // What stands there after a failure are the program's words about it.
        text: if status == TurnStatus::Succeeded {
            words
        } else {
            String::new()
        },
        usage: spent(&result),
        cost_usd: result
            .total_cost_usd
            .filter(|cost| cost.is_finite() && *cost >= 0.0),
        model_calls: result.num_turns,
        duration_ms: result.duration_ms,
        permission_denials: denials(result.permission_denials),
        failure,
    })
}

fn status(result: &ResultLine<'_>) -> TurnStatus {
    if result.terminal_reason.starts_with("aborted") {
        TurnStatus::Interrupted
    } else if result.is_error || result.subtype != "success" {
        TurnStatus::Failed
    } else {
        TurnStatus::Succeeded
    }
}

fn spent(result: &ResultLine<'_>) -> TokenUsage {
    let Some(models) = &result.model_usage_since_last_result else {
        return TokenUsage {
            input: result.usage.input_tokens,
            output: result.usage.output_tokens,
            cache_read: result.usage.cache_read_input_tokens,
            cache_creation: result.usage.cache_creation_input_tokens,
        };
    };
    let mut usage = TokenUsage::default();
    for model in models.values() {
        usage += TokenUsage {
            input: model.input_tokens,
            output: model.output_tokens,
            cache_read: model.cache_read_input_tokens,
            cache_creation: model.cache_creation_input_tokens,
        };
    }
    usage
}

fn denials(raw: Option<&RawValue>) -> Vec<String> {
    let elements = Elements::of(raw).0.into_iter().take(MAX_DENIALS);
    let denials = elements.filter_map(|raw| serde_json::from_str::<Denial>(raw.get()).ok());
    denials
        .map(|denial| cut_owned(denial.tool_name, MAX_WORDS_BYTES))
        .collect()
}

fn failure(result: &ResultLine<'_>, words: &str) -> TurnFailure {
    let cause = cause(result, words);
    let (kind, what, hint, retryable) = explain(cause, result);
    let words = if words.is_empty() {
        result.errors.join("; ")
    } else {
        words.to_owned()
    };
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let status = result
        .api_error_status
        .map(|status| format!(" ({status})"))
        .unwrap_or_default();
    let message = format!("{what}{status}: {}", cut(&words, MAX_WORDS_BYTES));
    let error = Error::new(kind, "finish the turn", message)
        .with_hint(hint)
        .with_retryable(retryable);
    TurnFailure {
        cause,
        error: error.report(),
    }
}

fn cause(result: &ResultLine<'_>, words: &str) -> TurnFailureCause {
    if result.subtype.starts_with("error_max") || result.api_error == "max_output_tokens" {
        return TurnFailureCause::AgentLimit;
    }
    match result.api_error_status {
        Some(401..=403) => return TurnFailureCause::ModelUnauthorized,
        Some(429 | 503 | 529) => return TurnFailureCause::ModelOverloaded,
        // The gateway's words for an upstream that does not answer, and those of a provider's own front.
        Some(408 | 502 | 504) => return TurnFailureCause::ModelUnreachable,
        Some(_) => return TurnFailureCause::ModelFailed,
        None => {}
    }
    let silent = words.starts_with("Request timed out");
    if result.api_error == "connection_failed" || silent {
        TurnFailureCause::ModelUnreachable
    } else if result.stop_reason == "refusal" {
        TurnFailureCause::AgentError
    } else if result.terminal_reason == "api_error" {
        TurnFailureCause::ModelFailed
    } else {
        TurnFailureCause::AgentError
    }
}

/// Kind, what happened, what to do, and whether the same prompt can succeed later.
fn explain(
    cause: TurnFailureCause,
    result: &ResultLine<'_>,
) -> (ErrorKind, &'static str, &'static str, bool) {
    match cause {
        TurnFailureCause::ModelUnauthorized => (
            ErrorKind::AgentFailed,
            "the model's provider does not accept the credential",
            "check ANTHROPIC_API_KEY where the manager runs, or the session's own credential; then prompt again: the \
             session and its conversation are kept",
            false,
        ),
        TurnFailureCause::ModelOverloaded => (
            ErrorKind::AgentFailed,
            "the model's provider refuses for now",
            "prompt again in a minute; the session and its conversation are kept",
            true,
        ),
        TurnFailureCause::ModelUnreachable => (
            ErrorKind::AgentFailed,
            "the model's provider cannot be reached",
            "check the network of the host and ANTHROPIC_BASE_URL where the manager runs; then prompt again: the \
             session and its conversation are kept",
            true,
        ),
        TurnFailureCause::ModelFailed if result.api_error_status == Some(404) => (
            ErrorKind::AgentFailed,
            "the model's provider does not know what was asked for",
            "choose a model that the credential may use; `--model` names one",
            false,
        ),
        TurnFailureCause::ModelFailed if result.api_error_status.is_some_and(|status| status < 500) => (
            ErrorKind::AgentFailed,
            "the model's provider refuses the request",
            "the conversation may have grown too long, or the model may not take this input; try a new session or \
             another model",
            false,
        ),
        TurnFailureCause::ModelFailed => (
            ErrorKind::AgentFailed,
            "the model's provider failed",
            "prompt again; if it stays, see the provider's status and what stands at ANTHROPIC_BASE_URL",
            true,
        ),
        TurnFailureCause::AgentLimit => (
            ErrorKind::LimitExceeded,
            "the agent stopped at a limit of its own",
            "split the work, or raise the limit; the conversation goes on with the next prompt",
            false,
        ),
        _ => (
            ErrorKind::AgentFailed,
            "the agent reported an error",
            "see the session's events for what it did; prompt again, or say it differently",
            false,
        ),
    }
}
