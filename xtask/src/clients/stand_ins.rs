//! Real tools of ours in place of the suites' fixtures.
//!
//! Many scenarios call a tool by the name that it has in the suites' example server. What they look at is the protocol
//! around the call, so any tool that does the same will do: one that answers, one that fails, one that takes its time. The
//! name and the arguments of such a request are exchanged for those of a tool of ours; its answer is not touched.

use serde_json::{Value, json};

/// A session that was never made.
pub(super) const NOBODY: &str = "00000000-0000-7000-8000-000000000000";

/// Scenarios that need an agent who works for as long as it is told to: their verdicts count where the agent is a scripted one.
pub(super) const NEED_CUES: [&str; 11] = [
    "server-sse-polling",
    "tasks-capability-negotiation",
    "tasks-dispatch-and-envelope",
    "tasks-lifecycle",
    "tasks-mrtr-composition",
    "tasks-mrtr-input",
    "tasks-request-headers",
    "tasks-request-state-removal",
    "tasks-required-task-error",
    "tasks-wire-fields",
    "tools-call-with-progress",
];

/// What stands in for what.
#[derive(Clone, Debug)]
pub(super) struct StandIns {
    /// A session to work in.
    pub(super) session: String,
    /// Whether its agent does as its prompt says, see `examples/in_memory.rs` of `mcp-frontend`.
    pub(super) takes_cues: bool,
}

impl StandIns {
    /// Changes a request for a fixture into one for the real thing. Returns its name before and after.
    pub(super) fn exchange(&self, message: &mut Value) -> Option<(String, String)> {
        let key = match message["method"].as_str()? {
            "tools/call" => "name",
            "resources/read" => "uri",
            _ => return None,
        };
        let params = message.get_mut("params")?.as_object_mut()?;
        let fixture = params.get(key)?.as_str()?.to_owned();
        let real = if key == "name" {
            let (tool, arguments) = self.tool(&fixture, params.get("arguments").unwrap_or(&Value::Null))?;
            params.insert("arguments".to_owned(), arguments);
            tool.to_owned()
        } else {
            (fixture == "test://static-text").then(|| format!("session://{}", self.session))?
        };
        params.insert(key.to_owned(), json!(real));
        Some((fixture, real))
    }

    fn tool(&self, fixture: &str, given: &Value) -> Option<(&'static str, Value)> {
        match fixture {
            "greet" | "test_simple_text" => Some(("list_sessions", json!({}))),
            "test_error_handling" => Some(("get_session", json!({ "sessionId": NOBODY }))),
            "test_logging_tool" | "test_streaming_elicitation" => Some((
                "execute_command",
                json!({ "sessionId": self.session, "command": "echo here" }),
            )),
            _ if !self.takes_cues => None,
            "slow_compute" => Some(match given["seconds"].as_u64() {
                None | Some(0) => self.prompt("at once"),
                Some(seconds) => self.prompt(&format!("work {seconds}")),
            }),
            "failing_job" => Some(self.prompt("fail")),
            // A task for its acknowledgement of `tasks/update`. No task of ours asks for anything, so nothing stands in where
            // the suite wants to be asked, with other files.
            "confirm_delete" if given["filename"] == "rt.txt" => Some(self.prompt("at once")),
            "test_tool_with_progress" | "test_reconnection" => Some(self.prompt("work 2")),
            _ => None,
        }
    }

    fn prompt(&self, prompt: &str) -> (&'static str, Value) {
        let arguments = json!({ "sessionId": self.session, "prompt": prompt });
        ("execute_in_session", arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, arguments: Value) -> Value {
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": name, "arguments": arguments, "_meta": { "a": 1 } } })
    }

    fn stand_ins(takes_cues: bool) -> StandIns {
        StandIns {
            session: "s".to_owned(),
            takes_cues,
        }
    }

    #[test]
    fn a_fixture_is_exchanged_and_all_else_of_the_request_stays() {
        let mut message = call("slow_compute", json!({ "seconds": 3 }));
        let names = stand_ins(true).exchange(&mut message);
        assert_eq!(
            names,
            Some(("slow_compute".to_owned(), "execute_in_session".to_owned()))
        );
        let arguments = json!({ "sessionId": "s", "prompt": "work 3" });
        let mut expected = call("execute_in_session", arguments);
        assert_eq!(message, expected);
        assert_eq!(stand_ins(true).exchange(&mut expected), None);
    }

    #[test]
    fn without_cues_nothing_stands_in_for_an_agent() {
        let mut message = call("slow_compute", json!({ "seconds": 3 }));
        assert_eq!(stand_ins(false).exchange(&mut message), None);
        assert_eq!(message, call("slow_compute", json!({ "seconds": 3 })));
        assert!(stand_ins(false).exchange(&mut call("greet", json!({}))).is_some());
    }

    #[test]
    fn odd_messages_are_left_alone() {
        for odd in [
            json!(null),
            json!([]),
            json!({ "method": "tools/call" }),
            json!({ "method": "tools/call", "params": [1] }),
            json!({ "method": "tools/call", "params": { "name": 7 } }),
            json!({ "method": "prompts/get", "params": { "name": "greet" } }),
        ] {
            let mut message = odd.clone();
            assert_eq!(stand_ins(true).exchange(&mut message), None, "{odd}");
            assert_eq!(message, odd);
        }
    }
}
