//! How turns fail, as people and callers hear of it.

use super::*;
use crate::error::ErrorKind;
use crate::turn::{TurnFailureCause, TurnStatus};

#[test]
fn failures_of_the_model_are_told_apart_with_a_hint() {
    use TurnFailureCause::{
        AgentError, AgentLimit, ModelFailed, ModelOverloaded, ModelUnauthorized, ModelUnreachable,
    };
    for (name, recording, cause, retryable, says) in [
        ("400", recording!("error_400"), ModelFailed, false, "(400)"),
        (
            "401",
            recording!("error_401"),
            ModelUnauthorized,
            false,
            "Invalid API key",
        ),
        ("403", recording!("error_403"), ModelUnauthorized, false, "(403)"),
        (
            "404",
            recording!("error_404"),
            ModelFailed,
            false,
            "selected model",
        ),
        ("429", recording!("error_429"), ModelOverloaded, true, "(429)"),
        ("500", recording!("error_500"), ModelFailed, true, "(500)"),
        (
            "529",
            recording!("error_529"),
            ModelOverloaded,
            true,
            "Overloaded",
        ),
        (
            "event",
            recording!("error_event"),
            ModelOverloaded,
            true,
            "Overloaded",
        ),
        (
            "garbage",
            recording!("garbage"),
            ModelFailed,
            true,
            "malformed response",
        ),
        (
            "truncated",
            recording!("truncated"),
            ModelFailed,
            true,
            "Unterminated",
        ),
        (
            "closed",
            recording!("closed"),
            ModelUnreachable,
            true,
            "ECONNRESET",
        ),
        ("dropped", recording!("dropped"), ModelUnreachable, true, "lost"),
        ("hang", recording!("hang"), ModelUnreachable, true, "timed out"),
        (
            "hang midway",
            recording!("hang_midway"),
            ModelUnreachable,
            true,
            "timed out",
        ),
        ("refusal", recording!("refusal"), AgentError, false, "safeguards"),
        (
            "max tokens",
            recording!("max_tokens"),
            AgentLimit,
            false,
            "token maximum",
        ),
    ] {
        let outcome = outcomes(recording).remove(0);
        assert_eq!(
            (outcome.status, outcome.text.as_str()),
            (TurnStatus::Failed, ""),
            "{name}"
        );
        let failure = outcome.failure.unwrap_or_else(|| panic!("{name}"));
        assert_eq!(
            (failure.cause, failure.error.retryable),
            (cause, retryable),
            "{name}: {failure:?}"
        );
        assert!(
            failure.error.message.contains(says),
            "{name}: {}",
            failure.error.message
        );
        assert!(failure.error.hint.is_some(), "{name}");
        // The program's words about a failure are not the model's.
        let last = events(recording).last().map(brief).unwrap();
        assert!(
            !last.starts_with("text API") && !last.starts_with("text Invalid"),
            "{name}: {last}"
        );
    }
}

#[test]
fn retries_are_announced() {
    assert_eq!(
        briefs(recording!("error_529_once")),
        ["ready", "retry 1 529 overloaded", "text Hello."]
    );
    assert_eq!(
        briefs(recording!("error_401"))[1..],
        [
            "retry 1 401 authentication_failed",
            "retry 2 401 authentication_failed"
        ]
    );
    assert_eq!(briefs(recording!("closed"))[1], "retry 1 no answer (unknown)");
}

#[test]
fn failures_carry_codes_that_callers_know() {
    let failure = outcomes(recording!("max_tokens")).remove(0).failure.unwrap();
    assert_eq!(failure.error.code, ErrorKind::LimitExceeded);
}

#[test]
fn a_conversation_that_cannot_be_resumed_is_told_and_ends_no_turn() {
    let line = br#"{"type":"result","subtype":"error_during_execution","is_error":true,"num_turns":0,"errors":["No conversation found with session ID: 123e4567-e89b-42d3-a456-426614174000"]}"#;
    assert_eq!(ClaudeCode.parse(line), [AgentSignal::ConversationLost]);
}
