//! The program under test, in an environment of its own.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

/// The provider's key. Must be found nowhere.
pub(crate) const KEY: &str = "canary-provider-key-0123456789";
/// How long anything may take that is not measured.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that runs.
pub(crate) struct Server {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: BufReader<ChildStderr>,
    state: Place,
    asked: u64,
}

/// A directory in which state directories are; the daemons of these end with it.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn dir(&self) -> &std::path::Path {
        self.0.path()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let told = self.dir().as_os_str().as_encoded_bytes();
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        for pid in pids.filter(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.windows(told.len()).any(|window| window == told))
        }) {
            let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
        }
    }
}

/// What is left of one.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// What the daemon that it started has logged.
    pub(crate) daemon_log: String,
}

impl Server {
    /// Starts one with no engine in reach. Variables of ours that the tests' own environment has do not count.
    pub(crate) fn start(args: &[&str], environment: &[(&str, &str)]) -> Self {
        let state = Place::new();
        let mut child = Command::new(env!("CARGO_BIN_EXE_cofferdam-mcp"))
            .args(args)
            .env_clear()
            .env("HOME", state.dir())
            .env("COFFERDAM_STATE_DIR", state.dir().join("state"))
            .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
            .env("ANTHROPIC_API_KEY", KEY)
            .env("COFFERDAM_IDLE_EXIT", "60s")
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().unwrap()).lines(),
            stderr: BufReader::new(child.stderr.take().unwrap()),
            child,
            state,
            asked: 0,
        }
    }

    /// What the daemon that it started has logged.
    fn daemon_log(&self) -> String {
        std::fs::read_to_string(self.state().join("state/telemetry/serve.log")).unwrap_or_default()
    }

    pub(crate) fn state(&self) -> &std::path::Path {
        self.state.dir()
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        let line = format!("{message}\n");
        self.stdin
            .as_mut()
            .unwrap()
            .write_all(line.as_bytes())
            .await
            .unwrap();
    }

    /// Asks, and gives the answer; notifications before it are passed over.
    pub(crate) async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let id = self.asked;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))
            .await;
        loop {
            let line = timely(self.stdout.next_line()).await.unwrap().unwrap();
            let message: Value = serde_json::from_str(&line).unwrap();
            if message["id"] == id {
                return message;
            }
        }
    }

    pub(crate) async fn initialize(&mut self) -> Value {
        let params = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": { "name": "test", "version": "1" },
        });
        let answer = self.ask("initialize", params).await;
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))
            .await;
        answer
    }

    pub(crate) async fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let answer = self
            .ask("tools/call", json!({ "name": tool, "arguments": arguments }))
            .await;
        answer["result"].clone()
    }

    /// The next line of the log.
    pub(crate) async fn logged(&mut self) -> String {
        let mut line = String::new();
        timely(self.stderr.read_line(&mut line)).await.unwrap();
        line
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Waits until it ends by itself, with everything that it still says. Its client stays until then.
    pub(crate) async fn end(mut self) -> Ended {
        let (mut out, mut err) = (Vec::new(), String::new());
        let read = async {
            while let Some(line) = self.stdout.next_line().await.unwrap() {
                out.push(line);
            }
        };
        let (status, (), _) =
            timely(async { tokio::join!(self.child.wait(), read, self.stderr.read_to_string(&mut err)) })
                .await;
        Ended {
            status: status.unwrap(),
            stdout: out.join("\n"),
            stderr: err,
            daemon_log: self.daemon_log(),
        }
    }

    /// Leaves, and waits until the server has ended.
    pub(crate) async fn leave(mut self) -> Ended {
        self.stdin = None;
        self.end().await
    }
}

async fn timely<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}
