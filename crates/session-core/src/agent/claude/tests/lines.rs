//! Lines that nobody recorded: of programs to come, damaged ones, and ones made to do harm.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::agent::{MAX_LINE_BYTES, MAX_TOOL_RESULT_BYTES};
use crate::turn::TurnStatus;

#[test]
fn what_is_not_known_is_kept_and_bounded() {
    let only = |line: &[u8]| match ClaudeCode.parse(line).as_slice() {
        [AgentSignal::Event(EventKind::AgentOther { raw })] => raw.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        only(br#"{"type":"from_the_future","x":1}"#),
        json!({ "type": "from_the_future", "x": 1 })
    );
    assert_eq!(only(b"no json"), json!("no json"));
    assert_eq!(only(b"\xff\xfe"), json!("\u{fffd}\u{fffd}"));
    assert_eq!(only(br#"{"type":5}"#), json!({ "type": 5 }));
    assert_eq!(only(br#"{"type":"assistant"}"#), json!({ "type": "assistant" }));
    let long = format!("{{\"type\":\"x\",\"y\":\"{}\"}}", "é".repeat(MAX_LINE_BYTES / 4));
    assert!(matches!(only(long.as_bytes()), Value::String(text) if text.len() <= MAX_TOOL_RESULT_BYTES));
    let deep = "[".repeat(100_000);
    assert!(matches!(only(deep.as_bytes()), Value::String(text) if text.len() <= MAX_TOOL_RESULT_BYTES));
}

fn outcome_of(line: &[u8]) -> TurnOutcome {
    match ClaudeCode.parse(line).as_slice() {
        [AgentSignal::TurnEnded(outcome)] => outcome.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_result_with_fields_of_the_wrong_type_still_ends_the_turn() {
    let line = br#"{"type":"result","subtype":"success","is_error":"no","result":["x"],"usage":7,"num_turns":-1,
        "duration_ms":1e400,"total_cost_usd":{},"permission_denials":{"a":1},"model_usage_since_last_result":[]}"#;
    let line: Vec<u8> = line.iter().copied().filter(|byte| *byte != b'\n').collect();
    let outcome = outcome_of(&line);
    assert_eq!(
        (outcome.status, outcome.text.as_str(), outcome.cost_usd),
        (TurnStatus::Succeeded, "", None)
    );
    let huge = br#"{"type":"result","subtype":"success","total_cost_usd":-1,"model_usage_since_last_result":{"a":{"inputTokens":18446744073709551615},"b":{"inputTokens":9}}}"#;
    let outcome = outcome_of(huge);
    assert_eq!((outcome.usage.input, outcome.cost_usd), (u64::MAX, None));
}

#[test]
fn results_of_tools_are_cut_between_characters() {
    let result = |content: Value| {
        let line = json!({
            "type": "user",
            "message": { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t", "content": content }] },
        });
        match ClaudeCode.parse(line.to_string().as_bytes()).remove(0) {
            AgentSignal::Event(EventKind::ToolResult { text, .. }) => text,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        result(json!("€".repeat(10_000))),
        "€".repeat(MAX_TOOL_RESULT_BYTES / 3)
    );
    assert_eq!(
        result(json!([{ "type": "text", "text": "a" }, { "type": "image" }, 7])),
        "a\n[image]"
    );
    assert!(result(json!([{ "type": "text", "text": "x".repeat(99_999) }])).len() == MAX_TOOL_RESULT_BYTES);
    assert_eq!(result(json!(null)), "");
}

/// A line that may be one of ours, with anything in it.
fn likely_line() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("null".to_owned()),
        Just("1e999".into()),
        Just("-1".into()),
        Just("[]".into()),
        Just("{}".into()),
        Just("[{\"type\":\"tool_result\",\"content\":[{\"type\":\"text\",\"text\":\"é\"},3]}]".into()),
        Just("{\"content\":[{\"type\":\"text\",\"text\":7},{\"type\":\"tool_use\",\"input\":[]}]}".into()),
        "\"[a-z\\PC]{0,9}\"".prop_map(|text| text.replace('\\', "")),
    ];
    let kinds = prop::sample::select(vec![
        "assistant",
        "user",
        "result",
        "system",
        "control_response",
        "conversation_reset",
    ]);
    let keys = prop::sample::select(vec![
        "message",
        "subtype",
        "usage",
        "result",
        "response",
        "errors",
        "session_id",
        "model_usage_since_last_result",
        "permission_denials",
        "attempt",
        "tools",
        "is_error",
        "terminal_reason",
        "api_error_status",
    ]);
    (
        kinds,
        prop::collection::btree_map(keys, value, 0..6),
        prop::sample::select(vec!["init", "api_retry", "success", ""]),
    )
        .prop_map(|(kind, fields, subtype)| {
            let fields: String = fields
                .iter()
                .map(|(key, value)| format!(",\"{key}\":{value}"))
                .collect();
            format!("{{\"type\":\"{kind}\",\"subtype\":\"{subtype}\"{fields}}}")
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_line_makes_it_panic_or_vanish(bytes in prop::collection::vec(any::<u8>(), 0..200), line in likely_line()) {
        // What is no line of ours is kept.
        if serde_json::from_slice::<Value>(&bytes).is_err() {
            prop_assert_eq!(ClaudeCode.parse(&bytes).len(), 1);
        }
        let signals = ClaudeCode.parse(line.as_bytes());
        if line.contains("\"type\":\"result\"") && serde_json::from_str::<Value>(&line).is_ok() {
            prop_assert!(signals.iter().any(|signal| matches!(signal, AgentSignal::TurnEnded(_))) || line.matches("\"subtype\"").count() > 1);
        }
        for signal in signals {
            if let AgentSignal::TurnEnded(outcome) = signal {
                prop_assert_eq!(outcome.status == TurnStatus::Failed, outcome.failure.is_some());
                serde_json::to_string(&outcome).unwrap();
            }
        }
    }

    #[test]
    fn damaged_recordings_never_make_it_panic(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut bytes = recording!("tools").as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = value;
        for line in bytes.split(|byte| *byte == b'\n') {
            let _ = ClaudeCode.parse(line);
        }
    }
}
