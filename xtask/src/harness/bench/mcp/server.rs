//! The MCP server as clients have it: the release program at the end of two pipes, spoken to in plain JSON-RPC, so that nothing
//! of a client is measured but writing and reading a line.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use xtask::error::{Context, Error, Result};
use xtask::workspace;

use super::super::Lab;

/// A server with its only client.
pub(super) struct Server {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    line: String,
    requests: u64,
}

impl Server {
    /// Starts the program and waits until it has answered `initialize`.
    pub(super) async fn start(lab: &Lab, state: &Path) -> Result<Self> {
        let doing = || "cannot start the MCP server".to_owned();
        let mut child = Command::new(workspace::target().join("release").join("cofferdam-mcp"))
            .env("COFFERDAM_STATE_DIR", state)
            .env("DOCKER_HOST", &lab.host)
            .env("ANTHROPIC_BASE_URL", lab.model.url())
            .env("ANTHROPIC_API_KEY", "not-a-key-of-anybody")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context(doing)?;
        let stdin = child.stdin.take().ok_or_else(|| Error::new(doing()))?;
        let stdout = child.stdout.take().ok_or_else(|| Error::new(doing()))?;
        let mut server = Self {
            child,
            stdin,
            stdout: BufReader::new(stdout),
            line: String::new(),
            requests: 0,
        };
        server.initialize().await?;
        Ok(server)
    }

    async fn initialize(&mut self) -> Result<()> {
        let client = json!({ "name": "bench", "version": "1" });
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client });
        self.request("initialize", &params).await?;
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        self.write(&initialized).await
    }

    /// Calls a tool that succeeds; its structured content.
    pub(super) async fn call(&mut self, tool: &str, arguments: &Value) -> Result<Value> {
        let params = json!({ "name": tool, "arguments": arguments });
        let mut result = self.request("tools/call", &params).await?;
        if result["isError"] == true {
            return Err(Error::new(format!("{tool} fails")).output(result["content"].to_string()));
        }
        Ok(result["structuredContent"].take())
    }

    pub(super) async fn request(&mut self, method: &str, params: &Value) -> Result<Value> {
        self.requests += 1;
        let id = self.requests;
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.write(&request).await?;
        loop {
            let mut message = self.read().await?;
            if message["id"] != id {
                continue;
            }
            return match message.get_mut("result") {
                Some(result) => Ok(result.take()),
                None => Err(Error::new(format!("{method} is refused")).output(message.to_string())),
            };
        }
    }

    async fn write(&mut self, message: &Value) -> Result<()> {
        let line = format!("{message}\n");
        let written = self.stdin.write_all(line.as_bytes()).await;
        written.context(|| "the MCP server does not read".to_owned())
    }

    async fn read(&mut self) -> Result<Value> {
        let doing = || "the MCP server does not answer".to_owned();
        self.line.clear();
        match self.stdout.read_line(&mut self.line).await.context(doing)? {
            0 => Err(Error::new("the MCP server has ended")),
            _ => serde_json::from_str(&self.line).context(doing),
        }
    }

    /// The process, to be looked at.
    pub(super) fn id(&self) -> Result<u32> {
        self.child
            .id()
            .ok_or_else(|| Error::new("the MCP server has ended"))
    }

    /// Goes away, as a client does that is closed, and waits for the server's end.
    pub(super) async fn leave(self) -> Result<()> {
        let Self {
            mut child,
            stdin,
            stdout,
            ..
        } = self;
        drop((stdin, stdout));
        let status = child
            .wait()
            .await
            .context(|| "cannot wait for the MCP server".to_owned())?;
        if status.success() {
            return Ok(());
        }
        Err(Error::new(format!("the MCP server ends with {status}")))
    }
}
