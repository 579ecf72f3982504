//! A client that speaks plain JSON-RPC, one message a line.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf};

/// See the module.
pub(crate) struct Client {
    writer: WriteHalf<DuplexStream>,
    lines: Lines<BufReader<ReadHalf<DuplexStream>>>,
    next_id: i64,
    /// What the server said unasked.
    pub(crate) notifications: Vec<Value>,
    tools: Option<Value>,
    /// Answers to requests that nobody waited for yet.
    pub(crate) answers: Vec<Value>,
}

impl Client {
    pub(crate) fn new(stream: DuplexStream) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self {
            writer,
            lines: BufReader::new(reader).lines(),
            next_id: 0,
            notifications: Vec::new(),
            tools: None,
            answers: Vec::new(),
        }
    }

    /// The handshake of 2025-11-25.
    pub(crate) async fn initialize(&mut self) -> Value {
        self.initialize_as("2025-11-25", json!({})).await
    }

    pub(crate) async fn initialize_as(&mut self, version: &str, capabilities: Value) -> Value {
        let params = json!({
            "protocolVersion": version,
            "capabilities": capabilities,
            "clientInfo": { "name": "test", "version": "1" },
        });
        let answer = self.request("initialize", params).await;
        self.notify("notifications/initialized", json!({})).await;
        answer["result"].clone()
    }

    pub(crate) async fn send_raw(&mut self, line: &[u8]) {
        self.writer.write_all(line).await.unwrap();
        self.writer.write_all(b"\n").await.unwrap();
    }

    pub(crate) async fn notify(&mut self, method: &str, params: Value) {
        let message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        self.send_raw(message.to_string().as_bytes()).await;
    }

    /// Sends a request and does not wait.
    pub(crate) async fn send(&mut self, method: &str, params: Value) -> i64 {
        self.next_id += 1;
        let message = json!({ "jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params });
        self.send_raw(message.to_string().as_bytes()).await;
        self.next_id
    }

    /// The next message of any kind; `None` at the end.
    pub(crate) async fn message(&mut self) -> Option<Value> {
        let line = tokio::time::timeout(Duration::from_secs(3600), self.lines.next_line());
        let line = line.await.expect("the server says something").unwrap()?;
        Some(serde_json::from_str(&line).expect("every line is JSON"))
    }

    /// Waits for an answer and keeps what else comes.
    pub(crate) async fn answer(&mut self, id: i64) -> Value {
        loop {
            if let Some(at) = self.answers.iter().position(|answer| answer["id"] == id) {
                return self.answers.remove(at);
            }
            self.take().await;
        }
    }

    /// Waits for a notification of this method.
    pub(crate) async fn notification(&mut self, method: &str) -> Value {
        loop {
            if let Some(at) = self
                .notifications
                .iter()
                .position(|message| message["method"] == method)
            {
                return self.notifications.remove(at);
            }
            self.take().await;
        }
    }

    /// Waits for an error that answers no request in particular.
    pub(crate) async fn stray_error(&mut self) -> Value {
        loop {
            let stray = |answer: &Value| answer["id"].is_null() && answer["error"].is_object();
            if let Some(at) = self.answers.iter().position(stray) {
                return self.answers.remove(at);
            }
            self.take().await;
        }
    }

    async fn take(&mut self) {
        let message = self.message().await.expect("the server is there");
        if message.get("method").is_some() {
            self.notifications.push(message);
        } else {
            self.answers.push(message);
        }
    }

    pub(crate) async fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params).await;
        self.answer(id).await
    }

    /// Calls a tool; its whole result.
    pub(crate) async fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let answer = self
            .request("tools/call", json!({ "name": tool, "arguments": arguments }))
            .await;
        assert!(answer["error"].is_null(), "{tool}: {answer}");
        answer["result"].clone()
    }

    /// Calls a tool that succeeds; its structured content, which is also its text.
    pub(crate) async fn ok(&mut self, tool: &str, arguments: Value) -> Value {
        let result = self.call(tool, arguments).await;
        assert_eq!(result["isError"], false, "{tool}: {result}");
        let text = result["content"][0]["text"].as_str().unwrap();
        let parsed: Value = serde_json::from_str(text).unwrap();
        assert_eq!(parsed, result["structuredContent"], "the text is the JSON");
        assert_eq!(result["content"].as_array().unwrap().len(), 1);
        self.check(tool, &parsed).await;
        parsed
    }

    /// Holds a result against the tool's output schema.
    async fn check(&mut self, tool: &str, result: &Value) {
        if self.tools.is_none() {
            self.tools = Some(self.request("tools/list", json!({})).await["result"]["tools"].clone());
        }
        let tools = self.tools.as_ref().unwrap().as_array().unwrap();
        let schema = &tools.iter().find(|known| known["name"] == tool).unwrap()["outputSchema"];
        if let Err(wrong) = super::validate::validate(schema, result) {
            panic!("{tool}: {wrong} in {result}");
        }
    }

    /// Calls a tool that fails; its text, which is all there is.
    pub(crate) async fn err(&mut self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments).await;
        assert_eq!(result["isError"], true, "{tool}: {result}");
        assert!(result["structuredContent"].is_null(), "{tool}: {result}");
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }
}
