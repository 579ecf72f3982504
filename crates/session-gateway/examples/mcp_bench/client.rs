//! The protocol library's own client, directly at the server or at the gateway's door.

use std::process::Stdio;

use rmcp::model::CallToolRequestParams;
use rmcp::service::RunningService;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{RoleClient, ServiceExt};
use serde_json::{Map, Value};
use tokio::process::{Child, Command};

use super::door::Door;
use super::{Result, TOKEN};

/// More at once than anything here does.
const AT_ONCE: usize = 256;
/// As long as what agents usually hand over.
const TEXT: &str =
    "The quick brown fox jumps over the lazy dog, and then it does so again and again and again.";

/// A client that is initialized.
pub(super) struct Client {
    service: RunningService<RoleClient, ()>,
    /// The server, when it is this client's own.
    _server: Option<Child>,
}

impl Client {
    /// Starts the server and speaks with it on its standard streams.
    pub(super) async fn direct(tools: usize) -> Result<Self> {
        let mut server = Command::new(std::env::current_exe()?)
            .args(["serve", &tools.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = server.stdin.take().ok_or("its input is a pipe")?;
        let stdout = server.stdout.take().ok_or("its output is a pipe")?;
        Ok(Self {
            service: ().serve((stdout, stdin)).await?,
            _server: Some(server),
        })
    }

    /// Speaks with the door, on connections that are kept, as agents do.
    pub(super) async fn at_door(door: &Door) -> Result<Self> {
        let http = reqwest::Client::builder().no_proxy().tcp_nodelay(true).build()?;
        let config = StreamableHttpClientTransportConfig::with_uri(format!("http://{}/mcp", door.address))
            .auth_header(TOKEN)
            .max_concurrent_requests(AT_ONCE);
        let transport = StreamableHttpClientTransport::with_client(http, config);
        Ok(Self {
            service: ().serve(transport).await?,
            _server: None,
        })
    }

    /// Calls a tool that has to succeed.
    pub(super) async fn call(&self, tool: &str) -> Result<()> {
        let arguments = Map::from_iter([("text".to_owned(), Value::from(TEXT))]);
        let call = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let result = self.service.call_tool(call).await?;
        let said = result.content.first().and_then(|content| content.as_text());
        if said.is_some_and(|said| said.text == TEXT) {
            return Ok(());
        }
        Err(format!("{tool} answers {:?}", result.content).into())
    }

    /// How many tools there are.
    pub(super) async fn tools(&self) -> Result<usize> {
        Ok(self.service.list_all_tools().await?.len())
    }

    /// Goes away.
    pub(super) async fn leave(self) -> Result<()> {
        self.service.cancel().await?;
        Ok(())
    }
}
