//! The server against its own description: over stdio with the program, because it is a process that goes wrong, and over
//! HTTP byte by byte, because a client library would hide what came.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::{CRASHED, HttpServer, Mode, Options, REFUSED, server_path};

const PATIENCE: Duration = Duration::from_secs(60);

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(value) => value,
        Err(_late) => panic!("{what}: nothing for {} s", PATIENCE.as_secs()),
    }
}

/// The program, and a client that reads every line.
struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
    next: u64,
}

impl Program {
    async fn start(args: &[&str]) -> Self {
        // Building it takes long, and nothing else happens in this test meanwhile.
        let path = tokio::task::spawn_blocking(server_path).await.unwrap().unwrap();
        let mut child = Command::new(path)
            .args(args)
            .env_clear()
            .env("SECRET", "canary")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            stdin: child.stdin.take(),
            child,
            lines,
            next: 0,
        }
    }

    async fn initialized(args: &[&str]) -> Self {
        let mut program = Self::start(args).await;
        program.initialize("2025-11-25").await;
        program
    }

    async fn initialize(&mut self, revision: &str) -> Value {
        let params = json!({ "protocolVersion": revision, "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
        let answer = self.ask("initialize", params).await;
        self.send(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))
            .await;
        answer
    }

    async fn send(&mut self, message: Value) {
        let line = format!("{message}\n");
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(line.as_bytes()).await.unwrap();
        stdin.flush().await.unwrap();
    }

    async fn request(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = json!(self.next);
        self.send(json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))
            .await;
        id
    }

    async fn hear(&mut self) -> Option<String> {
        soon("a line", self.lines.next_line()).await.unwrap()
    }

    async fn message(&mut self) -> Value {
        serde_json::from_str(&self.hear().await.unwrap()).unwrap()
    }

    /// The next message, which answers what is asked here.
    async fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.request(method, params).await;
        let answer = self.message().await;
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    async fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let params = json!({ "name": tool, "arguments": arguments });
        self.ask("tools/call", params).await["result"].take()
    }

    async fn says(&mut self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments).await;
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }

    async fn code(&mut self) -> Option<i32> {
        soon("the end", self.child.wait()).await.unwrap().code()
    }

    fn terminate(&self) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }
}

fn names(list: &Value) -> Vec<String> {
    let tools = list["result"]["tools"].as_array().unwrap();
    tools
        .iter()
        .map(|tool| tool["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn revisions_are_agreed_on() {
    let mut program = Program::start(&[]).await;
    let old = program.initialize("2025-06-18").await;
    assert_eq!(old["result"]["protocolVersion"], "2025-06-18");
    assert_eq!(old["result"]["capabilities"]["tools"]["listChanged"], true);
    let newer = program.initialize("2026-07-28").await;
    assert_eq!(newer["result"]["protocolVersion"], "2025-11-25");
    let mut limited = Program::start(&["--protocol", "2025-06-18"]).await;
    let answer = limited.initialize("2025-11-25").await;
    assert_eq!(answer["result"]["protocolVersion"], "2025-06-18");
    assert_eq!(limited.ask("ping", json!({})).await["result"], json!({}));
    assert_eq!(
        limited.ask("resources/list", json!({})).await["error"]["code"],
        -32601
    );
}

#[tokio::test]
async fn tools_do_what_they_say() {
    let mut program = Program::initialized(&["--tools", "3"]).await;
    let list = program.ask("tools/list", json!({})).await;
    assert_eq!(names(&list)[..2], ["echo", "add"]);
    assert_eq!(names(&list)[14..], ["tool_000", "tool_001", "tool_002"]);
    assert_eq!(program.says("echo", json!({ "text": "ä\n" })).await, "ä\n");
    let sum = program.call("add", json!({ "a": 1, "b": 2.5 })).await;
    assert_eq!(sum["structuredContent"]["sum"], 3.5);
    assert_eq!(program.says("secret_length", json!({})).await, "6");
    assert_eq!(program.says("env_names", json!({})).await, "SECRET");
    assert_eq!(program.says("tool_002", json!({})).await, "tool_002");
    assert_eq!(
        program.says("big", json!({ "bytes": 70_000 })).await.len(),
        70_000
    );
    assert_eq!(program.call("fail", json!({})).await["isError"], true);
    let who: Value = serde_json::from_str(&program.says("whoami", json!({})).await).unwrap();
    assert_eq!(
        (who["pid"].as_u64(), who["calls"].as_u64()),
        (program.child.id().map(u64::from), Some(8))
    );
    for (tool, code) in [
        ("refuse", -32001),
        ("tool_003", -32602),
        ("extra", -32602),
        ("echo", -32602),
    ] {
        let answer = program.ask("tools/call", json!({ "name": tool })).await;
        assert_eq!(answer["error"]["code"], code, "{tool}");
    }
    program.stdin = None;
    assert_eq!(program.code().await, Some(0), "it ends with its input");
}

#[tokio::test]
async fn the_list_comes_in_pages() {
    let mut program = Program::initialized(&["--page", "10"]).await;
    let first = program.ask("tools/list", json!({})).await;
    let cursor = &first["result"]["nextCursor"];
    let second = program.ask("tools/list", json!({ "cursor": cursor })).await;
    assert_eq!((names(&first).len(), names(&second).len()), (10, 4));
    assert_eq!(second["result"].get("nextCursor"), None);
    let wrong = program.ask("tools/list", json!({ "cursor": "nowhere" })).await;
    assert_eq!(wrong["error"]["code"], -32602);
}

#[tokio::test]
async fn progress_and_cancellation_and_questions_and_changes() {
    let mut program = Program::initialized(&[]).await;
    let meta = json!({ "progressToken": "p" });
    let sleep = |ms: u64| json!({ "name": "sleep", "arguments": { "ms": ms }, "_meta": meta });
    let id = program.request("tools/call", sleep(50)).await;
    let first = program.message().await;
    assert_eq!(
        (&first["method"], &first["params"]["progressToken"]),
        (&json!("notifications/progress"), &json!("p"))
    );
    let answer = loop {
        let message = program.message().await;
        if message.get("method").is_none() {
            break message;
        }
    };
    assert_eq!(
        (&answer["id"], &answer["result"]["content"][0]["text"]),
        (&id, &json!("awake"))
    );

    let asleep = json!({ "name": "sleep", "arguments": { "ms": 600_000 } });
    let id = program.request("tools/call", asleep).await;
    let cancel =
        json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } });
    program.send(cancel).await;
    assert_eq!(
        program.says("echo", json!({ "text": "next" })).await,
        "next",
        "no answer to what was cancelled"
    );

    let ask = json!({ "name": "elicit", "arguments": { "message": "Sure?" } });
    let id = program.request("tools/call", ask).await;
    let question = program.message().await;
    assert_eq!(
        (&question["method"], &question["params"]["message"]),
        (&json!("elicitation/create"), &json!("Sure?"))
    );
    let said = json!({ "action": "decline" });
    program
        .send(json!({ "jsonrpc": "2.0", "id": question["id"], "result": said }))
        .await;
    let answer = program.message().await;
    assert_eq!(
        (&answer["id"], &answer["result"]["content"][0]["text"]),
        (&id, &json!(said.to_string()))
    );

    let change = json!({ "name": "change_tools" });
    program.request("tools/call", change).await;
    assert_eq!(
        program.message().await["method"],
        "notifications/tools/list_changed"
    );
    program.message().await;
    let list = program.ask("tools/list", json!({})).await;
    assert!(names(&list).contains(&"extra".to_owned()));
    assert!(
        list["result"]["tools"][0]["description"]
            .as_str()
            .unwrap()
            .contains("otherwise")
    );
    assert_eq!(program.says("extra", json!({})).await, "extra");
}

#[tokio::test]
async fn each_way_to_go_wrong_is_its_own() {
    let mut refusing = Program::start(&["--mode", Mode::ExitAtOnce.as_str()]).await;
    assert_eq!(refusing.code().await, Some(i32::from(REFUSED)));

    let mut hanging = Program::start(&["--mode", "hang-initialize"]).await;
    hanging.request("initialize", json!({})).await;
    assert_eq!(hanging.ask("ping", json!({})).await["result"], json!({}));

    let mut twice = Program::start(&["--mode", "answer-twice"]).await;
    let first = twice.ask("ping", json!({})).await;
    assert_eq!(twice.message().await, first);

    let mut wrong = Program::initialized(&["--mode", "wrong-ids"]).await;
    wrong.request("ping", json!({})).await;
    assert_eq!(wrong.message().await["id"], "wrong-2");

    let mut hidden = Program::initialized(&["--mode", "hidden-characters"]).await;
    assert!(
        hidden
            .says("echo", json!({ "text": "" }))
            .await
            .contains('\u{200b}')
    );

    let mut noisy = Program::start(&["--mode", "stdout-noise"]).await;
    noisy.request("ping", json!({})).await;
    assert!(serde_json::from_str::<Value>(&noisy.hear().await.unwrap()).is_err());
    assert_eq!(noisy.message().await["result"], json!({}));

    let mut flooding = Program::initialized(&["--mode", "flood"]).await;
    for _ in 0..1000 {
        assert_eq!(flooding.message().await["method"], "notifications/message");
    }
    let id = flooding.request("ping", json!({})).await;
    while flooding.message().await["id"] != id {}

    let mut huge = Program::initialized(&["--mode", "huge-line"]).await;
    huge.request("tools/list", json!({})).await;
    assert!(huge.hear().await.unwrap().len() > 64 << 20);
    assert!(names(&huge.message().await).contains(&"echo".to_owned()));

    let mut complaining = Program::initialized(&["--mode", "stderr-noise"]).await;
    let mut noise = vec![0; 1 << 20];
    let mut stderr = complaining.child.stderr.take().unwrap();
    soon("noise", stderr.read_exact(&mut noise)).await.unwrap();
    assert_eq!(complaining.ask("ping", json!({})).await["result"], json!({}));

    let mut crashing = Program::initialized(&[]).await;
    crashing.request("tools/call", json!({ "name": "crash" })).await;
    assert_eq!(crashing.hear().await, None);
    assert_eq!(crashing.code().await, Some(i32::from(CRASHED)));
}

#[tokio::test]
async fn one_that_is_asked_to_end_does_unless_it_is_stubborn() {
    let mut polite = Program::initialized(&[]).await;
    polite.terminate();
    assert_eq!(polite.code().await, Some(0));
    let mut stubborn = Program::initialized(&["--mode", "ignore-sigterm"]).await;
    stubborn.terminate();
    assert_eq!(stubborn.ask("ping", json!({})).await["result"], json!({}));
    stubborn.stdin = None;
    let waited = tokio::time::timeout(Duration::from_millis(200), stubborn.child.wait()).await;
    assert!(waited.is_err(), "it ended with its input");
    stubborn.child.kill().await.unwrap();
}

#[tokio::test]
async fn what_it_does_stands_in_its_journal_and_its_orphan_is_nobody_s_child() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");
    let args = ["--mode", "double-fork", "--journal", journal.to_str().unwrap()];
    let mut program = Program::initialized(&args).await;
    program.says("echo", json!({ "text": "x" })).await;
    let pid = program.child.id().unwrap();
    let orphan = async {
        loop {
            let text = std::fs::read_to_string(&journal).unwrap();
            if let Some(orphan) = text.lines().find_map(|line| line.strip_prefix("orphan ")) {
                return (orphan.to_owned(), text);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let (orphan, text) = soon("an orphan", orphan).await;
    assert!(text.starts_with(&format!("start {pid}\n")), "{text}");
    assert!(text.contains(&format!("call {pid} echo\n")), "{text}");
    let stat = std::fs::read_to_string(format!("/proc/{orphan}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    // Behind the state: the parent, the process group and the session.
    assert_ne!(fields[1], pid.to_string());
    assert_eq!((fields[2], fields[3]), (orphan.as_str(), orphan.as_str()));
    let orphan = rustix::process::Pid::from_raw(orphan.parse().unwrap()).unwrap();
    rustix::process::kill_process(orphan, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn arguments_that_mean_nothing_are_refused() {
    for wrong in [
        &["--mode", "odd"][..],
        &["--http", "x"],
        &["--tools"],
        &["--what", "x"],
    ] {
        assert!(Options::from_args(wrong.iter().map(|arg| (*arg).to_owned())).is_err());
        assert_eq!(Program::start(wrong).await.code().await, Some(2));
    }
}

/// One request on a connection of its own: the status, the headers in lower case, and the body as it came.
async fn http(
    server: &HttpServer,
    method: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, BTreeMap<String, String>, String) {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let mut request = format!(
        "{method} /mcp HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    stream
        .write_all(format!("{request}\r\n{body}").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer))
        .await
        .unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    (status, headers.collect(), body.to_owned())
}

fn ask(method: &str, params: Value) -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string()
}

async fn begin(server: &HttpServer) -> String {
    let (status, headers, _) = http(
        server,
        "POST",
        &[],
        &ask("initialize", json!({ "protocolVersion": "2025-11-25" })),
    )
    .await;
    assert_eq!(status, 200);
    headers["mcp-session-id"].clone()
}

#[tokio::test]
async fn over_http_sessions_are_kept_until_they_are_forgotten() {
    let server = HttpServer::start(Options::default()).await.unwrap();
    let session = begin(&server).await;
    let headers = [("mcp-session-id", session.as_str())];
    let call = ask(
        "tools/call",
        json!({ "name": "echo", "arguments": { "text": "over here" } }),
    );
    let (status, kind, body) = http(&server, "POST", &headers, &call).await;
    assert_eq!((status, kind["content-type"].as_str()), (200, "application/json"));
    assert!(body.contains("over here"), "{body}");
    let told = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }).to_string();
    assert_eq!(http(&server, "POST", &headers, &told).await.0, 202);
    assert_eq!(
        http(&server, "POST", &[], &call).await.0,
        400,
        "without a session"
    );
    assert_eq!(http(&server, "POST", &headers, "{").await.0, 400);
    let slow = json!({ "name": "sleep", "arguments": { "ms": 50 }, "_meta": { "progressToken": 7 } });
    let (_, kind, body) = http(&server, "POST", &headers, &ask("tools/call", slow)).await;
    assert_eq!(kind["content-type"], "text/event-stream");
    assert!(
        body.contains("notifications/progress") && body.contains("awake"),
        "{body}"
    );
    assert_eq!((server.sessions(), server.calls()), (1, 2));
    server.forget_sessions();
    assert_eq!(http(&server, "POST", &headers, &call).await.0, 404);
    let session = begin(&server).await;
    let headers = [("mcp-session-id", session.as_str())];
    assert_eq!(http(&server, "DELETE", &headers, "").await.0, 200);
    assert_eq!(http(&server, "DELETE", &headers, "").await.0, 404);
    server.fail_with(Some(503));
    assert_eq!(http(&server, "POST", &headers, &call).await.0, 503);
}

#[tokio::test]
async fn over_http_a_bearer_can_be_asked_for_and_is_remembered() {
    let options = Options {
        bearer: Some("canary".into()),
        stateless: true,
        ..Options::default()
    };
    let server = HttpServer::start(options).await.unwrap();
    let call = ask("tools/call", json!({ "name": "secret_length" }));
    let (status, headers, _) = http(&server, "POST", &[("authorization", "Bearer wrong")], &call).await;
    assert_eq!(status, 401);
    assert!(headers["www-authenticate"].starts_with("Bearer"));
    let (status, headers, body) = http(&server, "POST", &[("authorization", "Bearer canary")], &call).await;
    assert_eq!((status, headers.get("mcp-session-id")), (200, None));
    assert!(body.contains("\"text\":\"6\""), "{body}");
    assert_eq!(server.authorizations(), ["Bearer wrong", "Bearer canary"]);
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn over_http_the_program_says_where_it_is() {
    let mut program = Program::start(&["--http", "127.0.0.1:0"]).await;
    let told = program.hear().await.unwrap();
    assert!(
        told.starts_with("listening on http://127.0.0.1:") && told.ends_with("/mcp"),
        "{told}"
    );
    program.stdin = None;
    assert_eq!(program.code().await, Some(0));
}
