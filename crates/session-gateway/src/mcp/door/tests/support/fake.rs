//! A server that does what a test says.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::future::BoxFuture;
use mcp_catalog::{Approval, Names, ServerDefinition, Sharing, Times, ToolFilter, Transport};
use rmcp::model::{
    CallToolResult, ClientRequest, ContentBlock, ErrorData, JsonObject, Prompt, Resource, ResourceTemplate,
    ServerCapabilities, ServerResult, Tool,
};
use serde_json::{Value, json};
use session_core::mcp::ServerName;
use tokio::sync::{broadcast, watch};

use crate::mcp::call::{CallError, Caller};
use crate::mcp::door::Upstream;
use crate::mcp::servers::{Change, Offer};

type Answer = Result<ServerResult, CallError>;
type Act = Arc<dyn Fn(ClientRequest, Arc<dyn Caller>) -> BoxFuture<'static, Answer> + Send + Sync>;

/// See the module.
pub(in crate::mcp::door) struct Fake {
    name: ServerName,
    definition: Mutex<Arc<ServerDefinition>>,
    is_own: AtomicBool,
    offer: watch::Sender<Option<Arc<Offer>>>,
    changes: broadcast::Sender<Change>,
    acts: Mutex<HashMap<String, Act>>,
    /// What it was asked, as JSON.
    seen: Mutex<Vec<Value>>,
    /// What asking for its offer fails with.
    failure: Mutex<Option<CallError>>,
}

/// A definition with nothing special about it.
pub(in crate::mcp::door) fn definition() -> ServerDefinition {
    ServerDefinition {
        description: None,
        transport: Transport::Stdio {
            command: "never-run".to_owned(),
            args: Vec::new(),
            env: std::collections::BTreeMap::new(),
            cwd: None,
        },
        sharing: Sharing::default(),
        tools: ToolFilter::default(),
        idempotent: std::collections::BTreeSet::new(),
        approval: Approval::default(),
        names: Names::default(),
        times: Times::default(),
        enabled: true,
    }
}

/// A tool that takes anything.
pub(in crate::mcp::door) fn tool(name: &str, description: &str) -> Tool {
    let schema = json!({ "type": "object", "properties": { "text": { "type": "string" } } });
    let Value::Object(schema) = schema else {
        unreachable!()
    };
    Tool::new(name.to_owned(), description.to_owned(), Arc::new(schema))
}

pub(in crate::mcp::door) fn text(text: impl Into<String>) -> Answer {
    Ok(ServerResult::CallToolResult(CallToolResult::success(vec![
        ContentBlock::text(text),
    ])))
}

/// Everything that a server can have.
pub(in crate::mcp::door) fn able() -> ServerCapabilities {
    serde_json::from_value(json!({
        "tools": { "listChanged": true }, "prompts": { "listChanged": true }, "logging": {}, "completions": {},
        "resources": { "listChanged": true, "subscribe": true },
    }))
    .unwrap()
}

impl Fake {
    /// A server that offers nothing yet, and is not known.
    pub(in crate::mcp::door) fn unknown(name: &str) -> Arc<Self> {
        Arc::new(Self {
            name: name.parse().unwrap(),
            definition: Mutex::new(Arc::new(definition())),
            is_own: false.into(),
            offer: watch::Sender::new(None),
            changes: broadcast::Sender::new(64),
            acts: Mutex::default(),
            seen: Mutex::default(),
            failure: Mutex::default(),
        })
    }

    /// A server with tools that say their name and arguments.
    pub(in crate::mcp::door) fn new(name: &str, tools: &[&str]) -> Arc<Self> {
        let fake = Self::unknown(name);
        fake.offer(|offer| {
            offer.tools = tools.iter().map(|name| tool(name, "Does something.")).collect();
        });
        fake
    }

    pub(in crate::mcp::door) fn define(&self, change: impl FnOnce(&mut ServerDefinition)) {
        let mut definition = self.definition.lock().unwrap();
        let mut changed = definition.as_ref().clone();
        change(&mut changed);
        *definition = Arc::new(changed);
    }

    /// The session has brought it.
    pub(in crate::mcp::door) fn is_brought(&self) {
        self.is_own.store(true, Ordering::SeqCst);
    }

    /// Changes its offer; it is known from then on.
    pub(in crate::mcp::door) fn offer(&self, change: impl FnOnce(&mut Offer)) {
        let mut offer = self.offer.borrow().as_deref().cloned().unwrap_or_else(|| Offer {
            capabilities: able(),
            ..Offer::default()
        });
        change(&mut offer);
        self.offer.send_replace(Some(Arc::new(offer)));
    }

    pub(in crate::mcp::door) fn offer_resources(&self, uris: &[&str], templates: &[&str]) {
        self.offer(|offer| {
            offer.resources = uris.iter().map(|uri| Resource::new(*uri, *uri)).collect();
            offer.resource_templates = templates
                .iter()
                .map(|template| ResourceTemplate::new(*template, *template))
                .collect();
        });
    }

    pub(in crate::mcp::door) fn offer_prompts(&self, names: &[&str]) {
        self.offer(|offer| {
            offer.prompts = names
                .iter()
                .map(|name| Prompt::new(*name, Some("A prompt."), None))
                .collect();
        });
    }

    pub(in crate::mcp::door) fn fail_offers(&self, error: CallError) {
        *self.failure.lock().unwrap() = Some(error);
    }

    pub(in crate::mcp::door) fn change(&self, change: Change) {
        let _ = self.changes.send(change);
    }

    /// Says what a tool does, or, with a method's name, what a request does.
    pub(in crate::mcp::door) fn on<F, R>(&self, name: &str, act: F)
    where
        F: Fn(ClientRequest, Arc<dyn Caller>) -> R + Send + Sync + 'static,
        R: Future<Output = Answer> + Send + 'static,
    {
        let act: Act = Arc::new(move |request, caller| Box::pin(act(request, caller)));
        self.acts.lock().unwrap().insert(name.to_owned(), act);
    }

    /// What it was asked, as method and parameters.
    pub(in crate::mcp::door) fn seen(&self, method: &str) -> Vec<Value> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter(|request| request["method"] == method)
            .map(|request| request["params"].clone())
            .collect()
    }

    fn act(&self, request: &ClientRequest) -> Option<Act> {
        let acts = self.acts.lock().unwrap();
        let tool = match request {
            ClientRequest::CallToolRequest(call) => acts.get(call.params.name.as_ref()),
            _ => None,
        };
        tool.or_else(|| acts.get(request.method())).cloned()
    }
}

/// What a tool was given, as it says it back.
fn echo(name: &str, arguments: Option<JsonObject>) -> Answer {
    text(json!({ "tool": name, "arguments": arguments }).to_string())
}

#[async_trait]
impl Upstream for Fake {
    fn name(&self) -> &ServerName {
        &self.name
    }

    fn definition(&self) -> Arc<ServerDefinition> {
        self.definition.lock().unwrap().clone()
    }

    fn is_own(&self) -> bool {
        self.is_own.load(Ordering::SeqCst)
    }

    fn offer_if_known(&self) -> Option<Arc<Offer>> {
        self.offer.borrow().clone()
    }

    async fn offer(&self) -> Result<Arc<Offer>, CallError> {
        if let Some(failure) = self.failure.lock().unwrap().clone() {
            return Err(failure);
        }
        let mut offer = self.offer.subscribe();
        let known = offer.wait_for(Option::is_some).await.unwrap();
        Ok(known.clone().unwrap())
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    async fn request(&self, request: ClientRequest, caller: Arc<dyn Caller>) -> Answer {
        let seen = serde_json::to_value(&request).unwrap();
        self.seen.lock().unwrap().push(seen);
        if let Some(act) = self.act(&request) {
            return act(request, caller).await;
        }
        match request {
            ClientRequest::CallToolRequest(call) => echo(&call.params.name, call.params.arguments),
            ClientRequest::SetLevelRequest(_)
            | ClientRequest::SubscribeRequest(_)
            | ClientRequest::UnsubscribeRequest(_) => Ok(ServerResult::empty(())),
            other => Err(CallError::Answered(ErrorData::invalid_params(
                format!("nothing was said about {}", other.method()),
                None,
            ))),
        }
    }
}
