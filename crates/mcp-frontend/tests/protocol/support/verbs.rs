//! What clients do all the time, in a word.

use serde::Serialize;
use serde_json::{Value, json};

use super::client::Client;

impl Client {
    /// Makes a session; its id.
    pub(crate) async fn session(&mut self) -> String {
        let made = self.ok("create_session", json!({})).await;
        made["sessionId"].as_str().unwrap().to_owned()
    }

    /// Looks at a session.
    pub(crate) async fn look(&mut self, session: impl Serialize) -> Value {
        self.ok("get_session", json!({ "sessionId": session })).await
    }

    pub(crate) async fn destroy(&mut self, session: impl Serialize) -> Value {
        self.ok("destroy_session", json!({ "sessionId": session })).await
    }

    /// Prompts and waits.
    pub(crate) async fn prompt(&mut self, session: impl Serialize, prompt: &str) -> Value {
        let arguments = json!({ "sessionId": session, "prompt": prompt });
        self.ok("execute_in_session", arguments).await
    }

    /// Prompts, and it comes to nothing.
    pub(crate) async fn failed_prompt(&mut self, session: impl Serialize, prompt: &str) -> String {
        let arguments = json!({ "sessionId": session, "prompt": prompt });
        self.err("execute_in_session", arguments).await
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&mut self, session: impl Serialize, command: &str) -> Value {
        let arguments = json!({ "sessionId": session, "command": command });
        self.ok("execute_command", arguments).await
    }

    /// Prompts in the background; the task.
    pub(crate) async fn start(&mut self, session: impl Serialize, prompt: &str) -> Value {
        let arguments = json!({ "sessionId": session, "prompt": prompt });
        self.ok("start_task", arguments).await
    }

    /// Waits for a task by its id.
    pub(crate) async fn wait(&mut self, task: impl Serialize) -> Value {
        self.ok("wait_task", json!({ "taskId": task })).await
    }

    /// A task by its id, as it is now.
    pub(crate) async fn task(&mut self, task: impl Serialize) -> Value {
        self.ok("get_task", json!({ "taskId": task })).await
    }

    /// The rest of a result that was cut, part by part.
    pub(crate) async fn rest(&mut self, done: &Value) -> Vec<Value> {
        let (mut parts, mut next) = (Vec::new(), done["nextOffset"].clone());
        while !next.is_null() {
            let arguments = json!({ "taskId": done["taskId"], "offset": next });
            let part = self.ok("get_task", arguments).await;
            next = part["nextOffset"].clone();
            parts.push(part);
        }
        parts
    }

    /// Calls a tool and does not wait.
    pub(crate) async fn begin(&mut self, tool: &str, arguments: Value) -> i64 {
        let call = json!({ "name": tool, "arguments": arguments });
        self.send("tools/call", call).await
    }

    /// Calls a tool, does not wait, and wants to hear how far it is.
    pub(crate) async fn begin_told(&mut self, tool: &str, arguments: Value) -> i64 {
        let call = json!({ "name": tool, "arguments": arguments, "_meta": { "progressToken": "p1" } });
        self.send("tools/call", call).await
    }

    /// Takes a call back.
    pub(crate) async fn take_back(&mut self, call: i64) {
        let cancelled = json!({ "requestId": call });
        self.notify("notifications/cancelled", cancelled).await;
    }
}
