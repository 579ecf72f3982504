//! The driver against recordings of the real program, and against anything else.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use super::ClaudeCode;
use crate::agent::{AgentContext, AgentDriver, AgentSignal};
use crate::event::EventKind;
use crate::id::TurnId;
use crate::session::PermissionMode;
use crate::turn::{TurnFailureCause, TurnOutcome, TurnStatus};

macro_rules! recording {
    ($name:literal) => {
        include_bytes!(concat!("../../../../testkit/fixtures/claude/", $name, ".jsonl")).as_slice()
    };
}

fn signals(recording: &[u8]) -> Vec<AgentSignal> {
    let lines = recording
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines.flat_map(|line| ClaudeCode.parse(line)).collect()
}

fn outcomes(recording: &[u8]) -> Vec<TurnOutcome> {
    let outcome = |signal| match signal {
        AgentSignal::TurnEnded(outcome) => Some(outcome),
        _ => None,
    };
    signals(recording).into_iter().filter_map(outcome).collect()
}

fn failure(recording: &[u8]) -> TurnFailureCause {
    let outcome = outcomes(recording).pop().unwrap();
    assert_eq!(outcome.status, TurnStatus::Failed);
    let failure = outcome.failure.unwrap();
    assert!(failure.error.hint.is_some() && !failure.error.message.is_empty());
    failure.cause
}

fn context() -> AgentContext {
    AgentContext {
        model_url: "http://127.0.0.1:9101".into(),
        token: "cofferdam-session-token".to_owned().into(),
        model: None,
        permissions: PermissionMode::Bypass,
        mcp_config: None,
        allowed_tools: Vec::new(),
        env: BTreeMap::new(),
        resume: None,
    }
}

#[test]
fn a_turn_with_tools_is_told_step_by_step() {
    let signals = signals(recording!("tools"));
    assert!(matches!(
        &signals[0],
        AgentSignal::Ready {
            conversation: Some(_)
        }
    ));
    let called = |tool: &str| {
        signals.iter().any(|signal| {
            matches!(signal, AgentSignal::Event(EventKind::ToolCall { tool: called, .. }) if called == tool)
        })
    };
    assert!(called("Read") && called("Edit") && called("Bash"));
    let results = signals
        .iter()
        .filter(|signal| matches!(signal, AgentSignal::Event(EventKind::ToolResult { .. })));
    assert!(results.count() >= 4);
    let outcome = outcomes(recording!("tools")).pop().unwrap();
    assert_eq!(outcome.status, TurnStatus::Succeeded);
    assert!(outcome.usage.output > 0 && outcome.cost_usd.unwrap() > 0.0 && !outcome.text.is_empty());
}

#[test]
fn one_prompt_makes_one_outcome() {
    assert_eq!(outcomes(recording!("text")).len(), 1);
    assert_eq!(outcomes(recording!("second_prompt")).len(), 2);
    assert_eq!(
        outcomes(recording!("interrupt_idle")).len(),
        1,
        "an interrupt between turns ends none"
    );
    assert_eq!(
        outcomes(recording!("repeated_uuid")).len(),
        1,
        "a repeated prompt is not run again"
    );
}

#[test]
fn an_interrupted_turn_is_no_failure_and_the_next_one_works() {
    for recording in [recording!("interrupt_model"), recording!("interrupt_command")] {
        let outcomes = outcomes(recording);
        assert_eq!(outcomes[0].status, TurnStatus::Interrupted);
        assert!(outcomes[0].failure.is_none());
        assert_eq!(outcomes[1].status, TurnStatus::Succeeded);
        assert!(signals(recording).contains(&AgentSignal::Interrupted));
    }
}

#[test]
fn a_failure_of_the_model_has_its_cause() {
    use TurnFailureCause as Cause;
    assert_eq!(failure(recording!("error_401")), Cause::ModelUnauthorized);
    assert_eq!(failure(recording!("error_403")), Cause::ModelUnauthorized);
    assert_eq!(failure(recording!("error_429")), Cause::ModelOverloaded);
    assert_eq!(failure(recording!("error_529")), Cause::ModelOverloaded);
    assert_eq!(failure(recording!("error_500")), Cause::ModelFailed);
    assert_eq!(failure(recording!("error_404")), Cause::ModelFailed);
    assert_eq!(failure(recording!("garbage")), Cause::ModelFailed);
    assert_eq!(failure(recording!("closed")), Cause::ModelUnreachable);
    assert_eq!(
        outcomes(recording!("error_529_once"))[0].status,
        TurnStatus::Succeeded
    );
}

#[test]
fn retries_are_told() {
    let retries: Vec<_> = signals(recording!("error_529"))
        .into_iter()
        .filter_map(|signal| match signal {
            AgentSignal::Event(EventKind::ModelRetry {
                attempt,
                delay_ms,
                reason,
            }) => Some((attempt, delay_ms, reason)),
            _ => None,
        })
        .collect();
    assert_eq!(retries.len(), 2);
    assert!(retries[0].1 > 0 && retries[0].2.contains("529"));
}

#[test]
fn denied_tools_are_named() {
    let outcome = outcomes(recording!("permission_denied")).pop().unwrap();
    assert!(!outcome.permission_denials.is_empty());
}

#[test]
fn what_is_not_known_is_kept() {
    let signals = ClaudeCode.parse(br#"{"type":"from_the_future","x":1}"#);
    assert!(matches!(&signals[..], [AgentSignal::Event(EventKind::AgentOther { raw })] if raw["x"] == 1));
    let signals = ClaudeCode.parse(b"not json \xff");
    assert!(matches!(
        &signals[..],
        [AgentSignal::Event(EventKind::AgentOther {
            raw: Value::String(_)
        })]
    ));
}

#[test]
fn i5_the_session_s_environment_cannot_reroute_the_agent() {
    let env = [
        "ANTHROPIC_BASE_URL",
        "ANTHROPIC_API_KEY",
        "HOME",
        "CLAUDE_CONFIG_DIR",
    ];
    let hostile = AgentContext {
        env: env.iter().map(|name| ((*name).into(), "evil".into())).collect(),
        ..context()
    };
    assert!(
        ClaudeCode
            .launch(&hostile)
            .env
            .values()
            .all(|value| value != "evil")
    );
}

#[test]
fn permissions_are_skipped_only_when_nothing_restricts_them() {
    let skips = |context: &AgentContext| {
        ClaudeCode
            .launch(context)
            .argv
            .contains(&"--dangerously-skip-permissions".to_owned())
    };
    assert!(skips(&context()));
    assert!(!skips(&AgentContext {
        permissions: PermissionMode::Strict,
        ..context()
    }));
    assert!(!skips(&AgentContext {
        allowed_tools: vec!["Read".into()],
        ..context()
    }));
}

proptest! {
    #[test]
    fn a_prompt_is_one_line_of_json_whatever_it_says(text in ".*") {
        let bytes = ClaudeCode.prompt(&TurnId::new(), &text);
        prop_assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
        prop_assert_eq!(bytes.last(), Some(&b'\n'));
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        prop_assert_eq!(value["message"]["content"][0]["text"].as_str(), Some(text.as_str()));
    }

    #[test]
    fn no_bytes_make_the_driver_fail(line in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = ClaudeCode.parse(&line);
    }

    #[test]
    fn no_shape_makes_the_driver_fail(
        kind in prop_oneof!["system", "assistant", "user", "result", "control_response", "[a-z]{0,9}"],
        field in "(message|content|response|usage|subtype|is_error|total_cost_usd|retry_delay_ms|api_error_status)",
        value in prop_oneof![Just("null"), Just("-1"), Just("1e999"), Just("[]"), Just("{}"), Just("\"x\""), Just("[[1],{}]")],
    ) {
        let _ = ClaudeCode.parse(format!("{{\"type\":\"{kind}\",\"subtype\":\"api_retry\",\"{field}\":{value}}}").as_bytes());
        let _ = ClaudeCode.parse(format!("{{\"type\":\"{kind}\",\"message\":{{\"content\":{value}}}}}").as_bytes());
    }
}
