//! What the program is told: a line each.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

#[test]
fn an_interrupt_is_one_line() {
    let bytes = ClaudeCode.interrupt(7);
    let value: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(
        value,
        json!({ "type": "control_request", "request_id": "interrupt-7", "request": { "subtype": "interrupt" } })
    );
    assert!(bytes.ends_with(b"\n"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_prompt_is_one_line_that_says_it(text in any::<String>(), odd in "[\\r\\n\\x00\"\\\\\u{2028}\u{2029}\u{85}]{0,5}") {
        let text = text + &odd;
        let turn = TurnId::new();
        let bytes = ClaudeCode.prompt(&turn, &text);
        let line = std::str::from_utf8(&bytes).unwrap().strip_suffix('\n').unwrap();
        let ends = ['\n', '\r', '\u{2028}', '\u{2029}'];
        prop_assert!(!line.contains(ends));
        let value: Value = serde_json::from_str(line).unwrap();
        prop_assert_eq!(value["message"]["content"][0]["text"].as_str(), Some(text.as_str()));
        let turn = turn.to_string();
        prop_assert_eq!(value["uuid"].as_str(), Some(turn.as_str()));
    }
}
