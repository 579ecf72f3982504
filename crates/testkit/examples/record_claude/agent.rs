//! The agent's process, driven by lines.

use std::ffi::OsString;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, timeout, timeout_at};

use crate::Outcome;
use crate::scenarios::Scenario;

/// Longer than any scenario waits for one line.
const PATIENCE: Duration = Duration::from_secs(130);

/// One line of output.
pub(crate) struct Line {
    pub(crate) text: String,
}

impl Line {
    /// `type`, or `type/subtype`.
    fn is(&self, wanted: &str) -> bool {
        let Ok(value) = serde_json::from_str::<Value>(&self.text) else {
            return false;
        };
        let kind = value["type"].as_str().unwrap_or_default();
        match wanted.split_once('/') {
            None => kind == wanted,
            Some((wanted_kind, subtype)) => kind == wanted_kind && value["subtype"] == subtype,
        }
    }
}

/// A running agent and everything that was said.
pub(crate) struct Agent {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines<BufReader<ChildStdout>>,
    pub(crate) pid: u32,
    pub(crate) sent: Vec<String>,
    pub(crate) received: Vec<String>,
}

impl Agent {
    pub(crate) fn start(
        program: &Path,
        cwd: &Path,
        home: &Path,
        url: &str,
        scenario: &Scenario,
    ) -> Outcome<Self> {
        let mut command = Command::new(program);
        command
            .args([
                "-p",
                "--input-format",
                "stream-json",
                "--output-format",
                "stream-json",
                "--verbose",
            ])
            .args(permissions(scenario.asks))
            .args(scenario.arguments)
            .current_dir(cwd)
            .env_clear()
            .env("PATH", search_path())
            .env("HOME", home)
            .env("LANG", "C.UTF-8")
            // Lets uid 0 skip permissions; the recordings are made where nobody else's files are.
            .env("IS_SANDBOX", "1")
            .env("ANTHROPIC_BASE_URL", url)
            .env("ANTHROPIC_API_KEY", "placeholder")
            .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
            .env("DISABLE_AUTOUPDATER", "1")
            .envs(scenario.environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let pid = child.id().unwrap_or_default();
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let stdout = BufReader::new(stdout).lines();
        Ok(Self {
            child,
            stdin,
            stdout,
            pid,
            sent: Vec::new(),
            received: Vec::new(),
        })
    }

    pub(crate) async fn send(&mut self, line: String) -> Outcome<()> {
        let stdin = self.stdin.as_mut().ok_or("standard input is closed")?;
        stdin.write_all(format!("{line}\n").as_bytes()).await?;
        stdin.flush().await?;
        self.sent.push(line);
        Ok(())
    }

    /// Answers what the agent asked last.
    pub(crate) async fn answer(&mut self, answer: &Value) -> Outcome<()> {
        let asked = self.received.iter().rev().find_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["type"] == "control_request").then(|| line["request_id"].clone())
        });
        let response = json!({ "subtype": "success", "request_id": asked, "response": answer });
        self.send(json!({ "type": "control_response", "response": response }).to_string())
            .await
    }

    pub(crate) fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Reads up to and with the next line of this kind.
    pub(crate) async fn until(&mut self, kind: &str, show: impl Fn(&Line)) -> Outcome<()> {
        loop {
            let next = timeout(PATIENCE, self.stdout.next_line())
                .await
                .map_err(|_| format!("no {kind} came"))?;
            let Some(text) = next? else {
                return Err(format!("the output ended before {kind}").into());
            };
            if self.keep(text, &show).is(kind) {
                return Ok(());
            }
        }
    }

    /// Reads whatever comes for a while.
    pub(crate) async fn listen_for(&mut self, delay: Duration, show: impl Fn(&Line)) -> Outcome<()> {
        let end = Instant::now() + delay;
        while let Ok(next) = timeout_at(end, self.stdout.next_line()).await {
            let Some(text) = next? else { break };
            self.keep(text, &show);
        }
        Ok(())
    }

    /// Closes the input, reads the rest and waits for the end.
    pub(crate) async fn finish(&mut self, show: impl Fn(&Line)) -> Outcome<ExitStatus> {
        self.close_input();
        self.listen_for(PATIENCE, show).await?;
        Ok(timeout(PATIENCE, self.child.wait()).await??)
    }

    fn keep(&mut self, text: String, show: impl Fn(&Line)) -> Line {
        self.received.push(text.clone());
        let line = Line { text };
        show(&line);
        line
    }
}

fn permissions(asks: bool) -> &'static [&'static str] {
    if asks {
        &[
            "--permission-prompt-tool",
            "stdio",
            "--permission-mode",
            "default",
        ]
    } else {
        &["--dangerously-skip-permissions"]
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a developer's program: the agent must find the developer's shell and python3"
)]
fn search_path() -> OsString {
    std::env::var_os("PATH").unwrap_or_default()
}
