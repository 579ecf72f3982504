//! The endpoint for people's own clients: one message a line, whatever the other side does.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf};

use super::support::{Fake, Site, modern_meta, options, text, view};

struct Client {
    lines: Lines<BufReader<ReadHalf<DuplexStream>>>,
    writer: WriteHalf<DuplexStream>,
}

impl Client {
    fn new(site: &Site) -> Self {
        let (reader, writer) = tokio::io::split(site.lines());
        Self {
            lines: BufReader::new(reader).lines(),
            writer,
        }
    }

    async fn send(&mut self, line: impl AsRef<[u8]>) {
        self.writer.write_all(line.as_ref()).await.unwrap();
        self.writer.write_all(b"\n").await.unwrap();
    }

    /// The next message; `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        let line = tokio::time::timeout(Duration::from_secs(10), self.lines.next_line());
        let line = line.await.expect("something is said").unwrap()?;
        Some(serde_json::from_str(&line).expect("a message on each line"))
    }

    async fn ask(&mut self, message: Value) -> Value {
        self.send(message.to_string()).await;
        self.next().await.expect("an answer")
    }

    async fn initialize(&mut self) {
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "l", "version": "1" } });
        let said = self
            .ask(json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params }))
            .await;
        assert_eq!(said["result"]["serverInfo"]["name"], "cofferdam");
        self.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)
            .await;
    }
}

fn call(id: i64, tool: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": tool } })
}

#[tokio::test]
async fn what_is_no_message_is_answered_and_the_next_line_is_read() {
    let mut options = options();
    options.max_message = 4_000;
    let site = Site::with(view(&[Fake::new("git", &["log"])]), options).await;
    let mut client = Client::new(&site);
    client
        .send(r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#)
        .await;
    client.initialize().await;
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{}"#,
        "[".repeat(2000)
    );
    for (line, expected) in [
        ("{", -32700),
        ("[]", -32600),
        ("\u{feff}7", -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, -32600),
        (deep.as_str(), -32600),
        ("x".repeat(200_000).as_str(), -32600),
    ] {
        client.send(line).await;
        let said = client.next().await.unwrap();
        assert_eq!(said["error"]["code"], expected, "{}", &line[..line.len().min(40)]);
    }
    client.send("").await;
    let said = client.ask(call(5, "git__log")).await;
    assert_eq!(
        (said["id"].as_i64(), said["result"]["isError"].as_bool()),
        (Some(5), Some(false))
    );
}

#[tokio::test]
async fn an_id_that_is_taken_is_refused_and_many_requests_are_counted() {
    let server = Fake::new("git", &["hangs"]);
    server.on("hangs", |_, caller| async move {
        caller.cancelled().cancelled().await;
        text("never")
    });
    let mut options = options();
    options.max_calls = 10_000;
    let site = Site::with(view(&[server]), options).await;
    let mut client = Client::new(&site);
    client.initialize().await;
    client.send(call(1, "git__hangs").to_string()).await;
    let twice = client.ask(call(1, "git__hangs")).await;
    assert!(
        twice["error"]["message"]
            .as_str()
            .unwrap()
            .contains("not answered yet"),
        "{twice}"
    );
    assert!(
        twice.get("id").is_none_or(Value::is_null),
        "the id belongs to the first one: {twice}"
    );
    for id in 2..=512 {
        client.send(call(id, "git__hangs").to_string()).await;
    }
    let many = client.ask(call(513, "git__hangs")).await;
    assert_eq!(
        (many["id"].as_i64(), many["error"]["code"].as_i64()),
        (Some(513), Some(-32000)),
        "{many}"
    );
    // What is taken back makes room.
    let cancelled =
        json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 7 } });
    client.send(cancelled.to_string()).await;
    client.send(call(514, "git__hangs").to_string()).await;
    let ping = client
        .ask(json!({ "jsonrpc": "2.0", "id": 7, "method": "ping" }))
        .await;
    assert_eq!(
        (ping["id"].as_i64(), ping["error"]["code"].as_i64()),
        (Some(7), Some(-32000)),
        "514 has the room: {ping}"
    );
}

#[tokio::test]
async fn a_client_that_does_not_read_is_not_read_from() {
    let site = Site::new(&[Fake::new("git", &["log"])]).await;
    let mut client = Client::new(&site);
    client.initialize().await;
    let mut sent = 0;
    let padding = "x".repeat(4_000);
    let flooding = async {
        for id in 0..1_000_000 {
            let request =
                json!({ "jsonrpc": "2.0", "id": id, "method": "tools/list", "params": { "x": padding } });
            client.send(request.to_string()).await;
            sent = id;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(2), flooding)
            .await
            .is_err()
    );
    assert!(
        (10..1_200).contains(&sent),
        "{sent} requests were taken without an answer read"
    );
    let first = client.next().await.unwrap();
    assert!(first["result"]["tools"].is_array());
}

#[tokio::test]
async fn the_end_of_the_input_answers_what_was_asked_and_ends_what_listens() {
    let server = Fake::new("git", &["slow"]);
    server.on("slow", |_, _| async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        text("worth it")
    });
    let site = Site::new(&[server]).await;
    let mut client = Client::new(&site);
    let meta = modern_meta(&json!({}));
    let listen = json!({ "jsonrpc": "2.0", "id": "l", "method": "subscriptions/listen", "params": {
        "notifications": { "toolsListChanged": true }, "_meta": meta,
    }});
    let heard = client.ask(listen).await;
    assert_eq!(
        heard["method"], "notifications/subscriptions/acknowledged",
        "{heard}"
    );
    let mut asked = call(1, "git__slow");
    asked["params"]["_meta"] = modern_meta(&json!({}));
    client.send(asked.to_string()).await;
    let begun = std::time::Instant::now();
    client.writer.shutdown().await.unwrap();
    let mut said = Vec::new();
    while let Some(message) = client.next().await {
        said.push(message);
    }
    assert!(
        said.iter()
            .any(|message| message["result"]["content"][0]["text"] == "worth it"),
        "{said:?}"
    );
    assert!(
        said.iter()
            .any(|message| message["id"] == "l" && message["result"].is_object()),
        "{said:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}
