//! `cofferdam mcp` with real servers: started, served to a client, ended with it. No engine.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Must be found nowhere but in its server.
const SECRET: &str = "canary-of-a-server-0123456789";
/// How long anything may take that is not measured.
const PATIENCE: Duration = Duration::from_secs(30);

/// A person with a home and a server to declare.
struct Host {
    home: tempfile::TempDir,
    server: PathBuf,
}

impl Host {
    fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            server: testkit::mcp::server_path().unwrap(),
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", "/usr/bin:/bin")
            .env("COFFERDAM_STATE_DIR", self.state())
            .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
            .env("KIT_SECRET", SECRET)
            .kill_on_drop(true);
        command
    }

    fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }

    async fn runs(&self, args: &[&str]) -> Output {
        let mut command = self.command(env!("CARGO_BIN_EXE_cofferdam"));
        let running = command.args(args).stdin(Stdio::null()).output();
        let output = tokio::time::timeout(PATIENCE, running).await.unwrap().unwrap();
        for stream in [&output.stdout, &output.stderr] {
            assert!(!String::from_utf8_lossy(stream).contains(SECRET), "{args:?}");
        }
        output
    }

    async fn succeeds(&self, args: &[&str]) -> String {
        let output = self.runs(args).await;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{args:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Declares the server, with what it shall do wrong.
    async fn declares(&self, name: &str, how: &[&str]) {
        let server = self.server.to_str().unwrap();
        let mut args = vec![
            "mcp",
            "add",
            name,
            "--replace",
            "--secret-env",
            "SECRET=KIT_SECRET",
            "--",
        ];
        args.push(server);
        args.extend(how);
        self.succeeds(&args).await;
    }

    fn serves(&self, args: &[&str]) -> Client {
        let mut child = self
            .command(env!("CARGO_BIN_EXE_cofferdam"))
            .args(["mcp", "serve"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Client {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().unwrap()).lines(),
            child,
            asked: 0,
        }
    }
}

/// A person's own client.
struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines<BufReader<ChildStdout>>,
    asked: u64,
}

impl Client {
    async fn send(&mut self, message: &Value) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    /// Asks, and waits for the answer; what else comes is passed over.
    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let id = self.asked;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
            .await;
        loop {
            let line = tokio::time::timeout(PATIENCE, self.stdout.next_line()).await;
            let line = line.unwrap().unwrap().expect("an answer");
            let message: Value = serde_json::from_str(&line).unwrap();
            if message["id"] == id && message.get("method").is_none() {
                return message;
            }
        }
    }

    async fn initialize(&mut self) {
        let params = json!({
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"},
        });
        let answer = self.ask("initialize", params).await;
        assert!(answer["result"]["capabilities"]["tools"].is_object(), "{answer}");
        self.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
    }

    async fn call(&mut self, tool: &str) -> Value {
        let answer = self
            .ask("tools/call", json!({"name": tool, "arguments": {}}))
            .await;
        answer["result"].clone()
    }

    /// The process of the server behind it.
    async fn server_pid(&mut self) -> Pid {
        let said = self.call("kit__whoami").await;
        let text = said["content"][0]["text"].as_str().unwrap().to_owned();
        let said: Value = serde_json::from_str(&text).unwrap();
        Pid::from_raw(i32::try_from(said["pid"].as_i64().unwrap()).unwrap()).unwrap()
    }
}

async fn is_gone(pid: Pid) {
    let gone = async {
        while Path::new(&format!("/proc/{}", pid.as_raw_nonzero())).exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone)
        .await
        .expect("the server ends");
}

#[tokio::test]
async fn a_test_starts_the_server_and_leaves_nothing() {
    let host = Host::new();
    host.declares("kit", &[]).await;
    let line = host.succeeds(&["mcp", "test", "kit", "--json"]).await;
    let tested: Value = serde_json::from_str(&line).unwrap();
    let tools = tested["tools"].as_array().unwrap();
    assert!(tools.contains(&json!("secret_length")), "{tested}");
    let listed = host.succeeds(&["mcp", "list", "--json"]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["tools"], tools.len());
    let status = host.succeeds(&["mcp", "status", "--json"]).await;
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(
        (&status["name"], &status["state"]),
        (&json!("kit"), &json!("idle"))
    );
}

#[tokio::test]
async fn a_server_that_does_not_work_says_why() {
    let host = Host::new();
    host.declares("early", &["--mode", "exit-at-once"]).await;
    host.succeeds(&["mcp", "add", "gone", "--", "no-such-program"])
        .await;
    host.succeeds(&[
        "mcp",
        "add",
        "poor",
        "--secret-env",
        "A=NOT_SET",
        "--",
        "/bin/cat",
    ])
    .await;
    host.succeeds(&["mcp", "add", "inside", "--in-session", "--", "server"])
        .await;
    for (server, code, said) in [
        ("early", 9, "this server ends at once"),
        ("gone", 9, "mcp validate gone"),
        ("poor", 2, "NOT_SET"),
        ("inside", 2, "--mcp inside"),
        ("absent", 3, "mcp list"),
    ] {
        let output = host.runs(&["mcp", "test", server]).await;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{server}: {stderr}");
        assert!(stderr.contains(said), "{server}: {stderr}");
    }
}

#[tokio::test]
async fn a_client_is_served_and_its_leaving_ends_the_servers() {
    let host = Host::new();
    host.declares("kit", &[]).await;
    let mut client = host.serves(&[]);
    client.initialize().await;
    let listed = client.ask("tools/list", json!({})).await;
    let names: Vec<_> = listed["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"kit__echo"), "{names:?}");
    let said = client.call("kit__secret_length").await;
    assert_eq!(said["content"][0]["text"], SECRET.len().to_string());
    let said = client.call("kit__env_names").await;
    let text = said["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("SECRET") && !text.contains("KIT_SECRET") && !text.contains("DOCKER_HOST"));
    let server = client.server_pid().await;
    client.stdin = None;
    let ended = tokio::time::timeout(PATIENCE, client.child.wait())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(ended.code(), Some(0));
    is_gone(server).await;
}

#[tokio::test]
async fn whatever_ends_the_process_ends_its_servers() {
    let host = Host::new();
    host.declares("kit", &["--mode", "ignore-sigterm"]).await;
    for signal in [Signal::TERM, Signal::KILL] {
        let mut client = host.serves(&[]);
        client.initialize().await;
        let server = client.server_pid().await;
        let process = Pid::from_raw(i32::try_from(client.child.id().unwrap()).unwrap()).unwrap();
        kill_process(process, signal).unwrap();
        is_gone(server).await;
        let ended = tokio::time::timeout(PATIENCE, client.child.wait())
            .await
            .unwrap()
            .unwrap();
        if signal == Signal::TERM {
            assert_eq!(ended.code(), Some(0), "the first signal is obeyed in order");
        }
    }
}

#[tokio::test]
async fn what_was_published_is_served_whatever_is_declared_now() {
    let host = Host::new();
    host.declares("kit", &[]).await;
    let id = host.succeeds(&["mcp", "publish"]).await;
    let id = id.trim();
    host.succeeds(&["mcp", "add", "kit", "--replace", "--", "/bin/false"])
        .await;
    let mut client = host.serves(&["--artifact", id]);
    client.initialize().await;
    assert_eq!(
        client.call("kit__secret_length").await["content"][0]["text"],
        SECRET.len().to_string()
    );
    drop(client);

    let artifacts = host.state().join("storage/mcp/artifacts");
    let file = artifacts.join(format!("{}.json", id.strip_prefix("sha256:").unwrap()));
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("testkit-mcp-server", "evil")).unwrap();
    let output = host.runs(&["mcp", "serve", "--artifact", id]).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("signature does not hold"), "{stderr}");
}

#[tokio::test]
async fn what_cannot_be_served_is_said_before_anything_starts() {
    let host = Host::new();
    let zeros = format!("sha256:{}", "0".repeat(64));
    for (args, code) in [
        (&["mcp", "serve"][..], 2),
        (&["mcp", "serve", "--profile", "absent"], 2),
        (&["mcp", "serve", "--artifact", "nonsense"], 2),
        (&["mcp", "serve", "--artifact", &zeros], 3),
    ] {
        let output = host.runs(args).await;
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
}

#[tokio::test]
async fn there_is_no_login_where_none_is_wanted() {
    let host = Host::new();
    host.declares("kit", &[]).await;
    let closed = "http://127.0.0.1:9/mcp";
    host.succeeds(&["mcp", "add", "web", "--private", "--oauth", "--url", closed])
        .await;
    for server in ["kit", "web"] {
        let output = host.runs(&["mcp", "login", server]).await;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{server}: {stderr}");
    }
    let output = host.runs(&["mcp", "logout", "web"]).await;
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("there was no login"));
}

#[tokio::test]
async fn a_session_that_names_a_server_that_does_not_exist_is_not_made() {
    let host = Host::new();
    host.declares("kit", &[]).await;
    for line in ["--mcp absent", "--mcp-profile absent", "--mcp kit --mcp absent"] {
        let mut args = vec!["create", "--empty"];
        args.extend(line.split(' '));
        let output = host.runs(&args).await;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{line}: {stderr}");
        assert!(stderr.contains("absent"), "{stderr}");
    }
}

/// Each of our programs can be the one that watches over a server, and none mistakes itself for it.
#[tokio::test]
async fn a_supervisor_without_a_job_ends_at_once() {
    let host = Host::new();
    for program in [
        env!("CARGO_BIN_EXE_cofferdam"),
        env!("CARGO_BIN_EXE_cofferdam-mcp"),
    ] {
        let mut command = host.command(program);
        let running = command.arg(cli::process::SUPERVISE).stdin(Stdio::null()).output();
        let output = tokio::time::timeout(PATIENCE, running).await.unwrap().unwrap();
        assert_eq!(output.status.code(), Some(70), "{output:?}");
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    }
}
