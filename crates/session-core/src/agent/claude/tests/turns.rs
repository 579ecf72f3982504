//! What recorded turns say, and how they end.

use super::*;
use crate::turn::{TokenUsage, TurnStatus};

#[test]
fn a_plain_turn_is_ready_text_and_an_outcome() {
    let signals = parse_all(recording!("text"));
    let AgentSignal::Ready {
        conversation: Some(conversation),
    } = &signals[0]
    else {
        panic!("{signals:?}");
    };
    assert_eq!(conversation, "00000000-0000-4000-8000-000000000001");
    assert!(matches!(
        &signals[1],
        AgentSignal::Event(EventKind::AgentReady { model: Some(model), tools }) if model == "claude-opus-5-5" && tools.len() > 9
    ));
    let outcome = &outcomes(recording!("text"))[0];
    assert_eq!(
        (outcome.status, outcome.text.as_str()),
        (TurnStatus::Succeeded, "Hello. This is a plain answer.")
    );
    assert_eq!(
        outcome.usage,
        TokenUsage {
            input: 100,
            output: 10,
            cache_read: 0,
            cache_creation: 0
        }
    );
    assert!(outcome.cost_usd.is_some_and(|cost| (cost - 0.0006).abs() < 1e-9));
    assert_eq!(
        (outcome.model_calls, outcome.duration_ms, &outcome.failure),
        (1, 109, &None)
    );
}

#[test]
fn tools_are_calls_and_results_in_order() {
    assert_eq!(
        briefs(recording!("tools")),
        [
            "ready",
            "thinking",
            "text I look at th",
            "call Bash",
            "call Read",
            "result true",
            "result false",
            "text A difference",
            "call Edit",
            "result false",
            "call Bash",
            "result false",
            "text Subtraction "
        ]
    );
    let calls: Vec<_> = events(recording!("tools"));
    let EventKind::ToolCall { id, input, .. } = &calls[3] else {
        panic!()
    };
    let EventKind::ToolResult {
        id: answered, text, ..
    } = &calls[5]
    else {
        panic!()
    };
    assert_eq!(
        (id, input["command"].as_str()),
        (answered, Some("python3 -m unittest 2>&1"))
    );
    assert!(text.starts_with("Exit code 1\n"));
}

#[test]
fn tokens_are_the_turns_and_the_cost_is_the_processs() {
    let turns = outcomes(recording!("second_prompt"));
    let costs: Vec<_> = turns.iter().map(|outcome| outcome.cost_usd.unwrap()).collect();
    assert!(
        (costs[0] - 0.0006).abs() < 1e-9 && (costs[1] - 0.0012).abs() < 1e-9,
        "{costs:?}"
    );
    assert!(turns.iter().all(|outcome| outcome.usage.input == 100));
    // A subagent's share, and what an interrupted turn spent, are in it.
    assert_eq!(outcomes(recording!("subagent"))[0].usage.input, 300);
    assert_eq!(outcomes(recording!("interrupt_model"))[0].usage.output, 16);
}

#[test]
fn partial_messages_are_left_out() {
    assert_eq!(
        briefs(recording!("partial")),
        [
            "ready",
            "thinking",
            "text Hello. This ",
            "call Bash",
            "result false",
            "text Hello again."
        ]
    );
}

#[test]
fn an_interrupt_is_taken_and_ends_the_turn() {
    for recording in [recording!("interrupt_model"), recording!("interrupt_command")] {
        let signals = parse_all(recording);
        assert_eq!(
            signals
                .iter()
                .filter(|signal| **signal == AgentSignal::Interrupted)
                .count(),
            1
        );
        let statuses: Vec<_> = outcomes(recording).iter().map(|outcome| outcome.status).collect();
        assert_eq!(statuses, [TurnStatus::Interrupted, TurnStatus::Succeeded]);
        assert!(
            outcomes(recording)
                .iter()
                .all(|outcome| outcome.failure.is_none())
        );
    }
    let idle = parse_all(recording!("interrupt_idle"));
    assert_eq!(idle.last(), Some(&AgentSignal::Interrupted));
}

#[test]
fn denials_are_named() {
    assert_eq!(
        outcomes(recording!("permission_denied"))[0].permission_denials,
        ["Bash"]
    );
}

#[test]
fn a_question_names_the_tool_and_its_call() {
    let events = events(recording!("permission_allowed"));
    let called = events.iter().find_map(|event| match event {
        EventKind::ToolCall { id, .. } => Some(id.clone()),
        _ => None,
    });
    let asked = events.iter().find_map(|event| match event {
        EventKind::PermissionAsked { call, tool } => Some((call.clone(), tool.as_str())),
        _ => None,
    });
    assert_eq!(asked, called.map(|call| (call, "Bash")));
    let other = br#"{"type":"control_request","request_id":"x","request":{"subtype":"something_new"}}"#;
    assert!(matches!(
        ClaudeCode.parse(other).as_slice(),
        [AgentSignal::Event(EventKind::AgentOther { .. })]
    ));
}

#[test]
fn every_recorded_turn_ends_once_per_result() {
    for recording in [
        recording!("control"),
        recording!("queued_prompts"),
        recording!("repeated_uuid"),
        recording!("unknown_type"),
        recording!("input_closed_midway"),
        recording!("permission_allowed"),
    ] {
        let results = recording
            .lines()
            .filter(|line| line.contains("\"type\":\"result\""))
            .count();
        assert_eq!(outcomes(recording).len(), results);
        assert!(
            outcomes(recording)
                .iter()
                .all(|outcome| outcome.status == TurnStatus::Succeeded)
        );
    }
}
