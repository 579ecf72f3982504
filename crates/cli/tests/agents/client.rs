//! The protocol library's own client, at the standard streams of the real server.

use std::fs::File;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResult, ClientRequest, ProgressNotificationParam,
    ServerResult,
};
use rmcp::service::{NotificationContext, PeerRequestOptions, RequestHandle, RunningService};
use rmcp::{ClientHandler, RoleClient, ServiceExt};
use serde_json::Value;
use tokio::process::{Child, Command};

use super::Result;
use super::world::{SERVER, World};

/// How long a server may take to end after its client went away.
const PATIENCE: Duration = Duration::from_secs(30);

/// Hears what the server says unasked.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<String>>>);

impl ClientHandler for Listener {
    async fn on_progress(
        &self,
        progress: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.extend(progress.message);
    }
}

/// A server and its only client.
pub(crate) struct Connection {
    child: Child,
    client: RunningService<RoleClient, Listener>,
}

impl Connection {
    /// Starts a server and connects to it.
    pub(crate) async fn open(world: &World) -> Result<Self> {
        Self::open_with(world, &[]).await
    }

    /// The same without a daemon: everything in the server's own process.
    pub(crate) async fn open_embedded(world: &World) -> Result<Self> {
        Self::open_with(world, &["--embedded"]).await
    }

    async fn open_with(world: &World, args: &[&str]) -> Result<Self> {
        let mut child = Command::new(SERVER)
            .args(args)
            .env_clear()
            .envs(world.environment())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(world.record("log"))?)
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take().ok_or("its input is a pipe")?;
        let stdout = child.stdout.take().ok_or("its output is a pipe")?;
        let client = Listener::default().serve((stdout, stdin)).await?;
        Ok(Self { child, client })
    }

    /// Calls a tool and does not wait.
    pub(crate) async fn send(
        &self,
        tool: &'static str,
        arguments: Value,
    ) -> Result<RequestHandle<RoleClient>> {
        let Value::Object(arguments) = arguments else {
            return Err("the arguments of a tool are an object".into());
        };
        let call = CallToolRequest::new(CallToolRequestParams::new(tool).with_arguments(arguments));
        let options = PeerRequestOptions::no_options();
        let handle = self
            .client
            .send_cancellable_request(ClientRequest::CallToolRequest(call), options)
            .await?;
        Ok(handle)
    }

    /// Calls a tool.
    pub(crate) async fn call(&self, tool: &'static str, arguments: Value) -> Result<CallToolResult> {
        match self.send(tool, arguments).await?.await_response().await? {
            ServerResult::CallToolResult(result) => Ok(result),
            other => Err(format!("{tool} is answered with {other:?}").into()),
        }
    }

    /// Calls a tool that succeeds; its structured content, which its text repeats.
    pub(crate) async fn ok(&self, tool: &'static str, arguments: Value) -> Result<Value> {
        let result = self.call(tool, arguments).await?;
        let text = said(&result)?;
        if result.is_error == Some(true) {
            return Err(format!("{tool} fails: {text}").into());
        }
        let structured = result
            .structured_content
            .ok_or("a result has structured content")?;
        assert_eq!(
            serde_json::from_str::<Value>(&text)?,
            structured,
            "the text is the JSON"
        );
        Ok(structured)
    }

    /// Calls a tool that fails; its text, which is all there is.
    pub(crate) async fn refused(&self, tool: &'static str, arguments: Value) -> Result<String> {
        let result = self.call(tool, arguments).await?;
        let text = said(&result)?;
        if result.is_error != Some(true) || result.structured_content.is_some() {
            return Err(format!("{tool} should have failed: {text}").into());
        }
        Ok(text)
    }

    /// Makes a session; its id.
    pub(crate) async fn session(&self, arguments: Value) -> Result<String> {
        let created = self.ok("create_session", arguments).await?;
        Ok(created["sessionId"]
            .as_str()
            .ok_or("a session has an id")?
            .to_owned())
    }

    /// What was said of progress so far.
    pub(crate) fn progress(&self) -> Vec<String> {
        let heard = &self.client.service().0;
        heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Goes away, as a client does that is closed, and waits until the server has ended well.
    pub(crate) async fn leave(mut self) -> Result<()> {
        self.client.close().await?;
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = ended.map_err(|_| "the server does not end when its client has gone")??;
        if !status.success() {
            return Err(format!("the server ends with {status}").into());
        }
        Ok(())
    }

    /// Ends the server without a chance to do anything.
    pub(crate) async fn kill(mut self) -> Result<()> {
        self.child.kill().await?;
        Ok(())
    }
}

fn said(result: &CallToolResult) -> Result<String> {
    let [content] = result.content.as_slice() else {
        return Err(format!("one text was expected: {:?}", result.content).into());
    };
    let text = content.as_text().ok_or("the content is text")?;
    Ok(text.text.clone())
}
