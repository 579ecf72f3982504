//! An agent: the protocol library's own client, in both eras, over HTTP and over lines.
#![expect(
    deprecated,
    reason = "sampling, roots and logging are for servers that use them"
)]

use std::sync::{Arc, Mutex};

use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, CreateMessageRequestParams,
    CreateMessageResult, ElicitRequestParams, ElicitResult, ElicitationAction, ErrorData, Implementation,
    ListRootsResult, LoggingMessageNotificationParam, ProgressNotificationParam, ProtocolVersion,
    ResourceUpdatedNotificationParam, Root, SamplingMessage,
};
use rmcp::service::{
    ClientLifecycleMode, ClientServiceExt, NotificationContext, RequestContext, RunningService, ServiceError,
};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, RoleClient};
use serde_json::{Value, json};
use tokio::io::AsyncRead;

use super::{Site, TOKEN};

/// Which revision is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mcp::door) enum Era {
    Legacy,
    Modern,
}

impl Era {
    pub(in crate::mcp::door) const BOTH: [Self; 2] = [Self::Legacy, Self::Modern];

    fn lifecycle(self) -> ClientLifecycleMode {
        match self {
            Self::Legacy => ClientLifecycleMode::Initialize,
            Self::Modern => ClientLifecycleMode::Discover {
                preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            },
        }
    }
}

/// What the agent heard and was asked.
#[derive(Debug, Default)]
pub(in crate::mcp::door) struct Heard {
    pub(in crate::mcp::door) progress: Vec<ProgressNotificationParam>,
    pub(in crate::mcp::door) lists: Vec<&'static str>,
    pub(in crate::mcp::door) updated: Vec<String>,
    pub(in crate::mcp::door) logs: Vec<Value>,
    pub(in crate::mcp::door) asked: Vec<String>,
}

/// The agent's side of the protocol.
#[derive(Debug, Clone)]
pub(in crate::mcp::door) struct Ears {
    pub(in crate::mcp::door) heard: Arc<Mutex<Heard>>,
    capabilities: ClientCapabilities,
}

impl Ears {
    fn hear(&self, note: impl FnOnce(&mut Heard)) {
        note(&mut self.heard.lock().unwrap());
    }
}

impl ClientHandler for Ears {
    fn get_info(&self) -> ClientConfig {
        let mut config = ClientConfig::new(self.capabilities.clone(), Implementation::new("agent", "1"));
        config.protocol_version = ProtocolVersion::V_2025_11_25;
        config
    }

    async fn create_message(
        &self,
        params: CreateMessageRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        self.hear(|heard| heard.asked.push(format!("sampling {}", params.max_tokens)));
        Ok(CreateMessageResult::new(
            SamplingMessage::assistant_text("sampled"),
            "model".to_owned(),
        ))
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let ElicitRequestParams::FormElicitationParams { message, .. } = request else {
            return Err(ErrorData::invalid_params("no form", None));
        };
        self.hear(|heard| heard.asked.push(message.clone()));
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(json!({ "answer": message })))
    }

    async fn list_roots(&self, _context: RequestContext<RoleClient>) -> Result<ListRootsResult, ErrorData> {
        self.hear(|heard| heard.asked.push("roots".to_owned()));
        Ok(ListRootsResult::new(vec![Root::new("file:///workspace")]))
    }

    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.hear(|heard| heard.progress.push(params));
    }

    async fn on_logging_message(
        &self,
        params: LoggingMessageNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.hear(|heard| heard.logs.push(serde_json::to_value(params).unwrap()));
    }

    async fn on_resource_updated(
        &self,
        params: ResourceUpdatedNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.hear(|heard| heard.updated.push(params.uri));
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.hear(|heard| heard.lists.push("tools"));
    }

    async fn on_prompt_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.hear(|heard| heard.lists.push("prompts"));
    }

    async fn on_resource_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.hear(|heard| heard.lists.push("resources"));
    }
}

/// A client that is connected.
pub(in crate::mcp::door) struct Agent {
    pub(in crate::mcp::door) service: RunningService<RoleClient, Ears>,
    pub(in crate::mcp::door) heard: Arc<Mutex<Heard>>,
}

/// Everything that a client can do for servers.
pub(in crate::mcp::door) fn helpful() -> ClientCapabilities {
    serde_json::from_value(json!({ "sampling": {}, "elicitation": { "form": {} }, "roots": {} })).unwrap()
}

impl Agent {
    /// Connects over HTTP.
    pub(in crate::mcp::door) async fn over_http(
        site: &Site,
        era: Era,
        capabilities: ClientCapabilities,
    ) -> Self {
        let mut config =
            StreamableHttpClientTransportConfig::with_uri(format!("http://{}/mcp", site.address));
        config.auth_header = Some(TOKEN.to_owned());
        // Another test may have been faster.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let transport = StreamableHttpClientTransport::from_config(config);
        let ears = Ears {
            heard: Arc::default(),
            capabilities,
        };
        let heard = ears.heard.clone();
        let service = ears
            .serve_with_lifecycle(transport, era.lifecycle())
            .await
            .unwrap();
        Self { service, heard }
    }

    /// Connects over lines.
    pub(in crate::mcp::door) async fn over_lines(
        site: &Site,
        era: Era,
        capabilities: ClientCapabilities,
    ) -> Self {
        let (reader, writer) = tokio::io::split(site.lines());
        let reader: Box<dyn AsyncRead + Send + Unpin> = Box::new(reader);
        let ears = Ears {
            heard: Arc::default(),
            capabilities,
        };
        let heard = ears.heard.clone();
        let service = ears
            .serve_with_lifecycle((reader, writer), era.lifecycle())
            .await
            .unwrap();
        Self { service, heard }
    }

    pub(in crate::mcp::door) async fn tools(&self) -> Vec<String> {
        let tools = self.service.list_all_tools().await.unwrap();
        tools.into_iter().map(|tool| tool.name.into_owned()).collect()
    }

    pub(in crate::mcp::door) async fn call(
        &self,
        tool: &str,
        arguments: Value,
    ) -> Result<CallToolResult, ServiceError> {
        let mut params = CallToolRequestParams::new(tool.to_owned());
        params.arguments = arguments.as_object().cloned();
        self.service.call_tool(params).await
    }

    /// The text of a call's result.
    pub(in crate::mcp::door) async fn text(&self, tool: &str, arguments: Value) -> String {
        text_of(&self.call(tool, arguments).await.unwrap())
    }

    /// Waits until something was heard.
    pub(in crate::mcp::door) async fn hears<T>(&self, what: impl Fn(&Heard) -> Option<T>) -> T {
        for _ in 0..500 {
            if let Some(heard) = what(&self.heard.lock().unwrap()) {
                return heard;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("not heard: {:?}", self.heard.lock().unwrap());
    }
}

pub(in crate::mcp::door) fn text_of(result: &CallToolResult) -> String {
    let text = result.content.first().and_then(|content| content.as_text());
    text.map(|text| text.text.clone()).unwrap_or_default()
}
