//! A request as it arrived, and what kind of request it is: an agent sends more than its conversation, and a step of a script
//! must not be spent on a title.

use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::USER_AGENT;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::surface::Asked;

/// What a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// A message of a conversation: takes a step of the script.
    Conversation,
    /// A message the agent asks for on its own account (a title, a summary of a command, a check of the quota): answered with
    /// something harmless.
    Side,
    /// `POST /v1/messages/count_tokens`.
    CountTokens,
    /// Everything else.
    Other,
}

/// One request, kept as it came.
#[derive(Debug, Clone)]
pub struct ApiRequest {
    /// `POST`, …
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// All headers, the credential among them.
    pub headers: HeaderMap,
    /// The body, byte for byte.
    pub body: Bytes,
    /// When it had arrived in full, counted from the server's start.
    pub at: Duration,
    /// What it wants.
    pub kind: RequestKind,
    pub(super) facts: Facts,
}

impl ApiRequest {
    pub(super) fn new(
        method: String,
        path: String,
        headers: HeaderMap,
        body: Bytes,
        at: Duration,
        asked: Asked,
    ) -> Self {
        let mut facts = serde_json::from_slice::<Facts>(&body).unwrap_or_default();
        facts.model = asked.model.unwrap_or(facts.model);
        facts.stream = asked.stream.unwrap_or(facts.stream);
        let kind = classify(&method, asked.path.unwrap_or(&path), &headers, &facts);
        Self {
            method,
            path,
            headers,
            body,
            at,
            kind,
            facts,
        }
    }

    /// The body as JSON; `Null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// A header as text; absent when it is missing or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The key it came with: `x-api-key`, else the bearer token.
    pub fn credential(&self) -> Option<&str> {
        self.header("x-api-key")
            .or_else(|| self.header("authorization")?.strip_prefix("Bearer "))
    }

    /// The model that was asked for.
    pub fn model(&self) -> &str {
        &self.facts.model
    }

    /// All text of the first message of the user: the first prompt, with what the agent puts around it.
    pub fn first_user_text(&self) -> String {
        let messages = &self.facts.messages;
        messages
            .iter()
            .find(|message| message.role == "user")
            .map(Turn::text)
            .unwrap_or_default()
    }

    /// All text of the last message of the user, without results of tools.
    pub fn last_user_text(&self) -> String {
        let messages = &self.facts.messages;
        messages
            .iter()
            .rfind(|message| message.role == "user")
            .map(Turn::text)
            .unwrap_or_default()
    }

    /// The results of tools since the model spoke last, in order, as it sees them. A reminder of the agent's behind them
    /// may be a message of its own.
    pub fn tool_results(&self) -> Vec<String> {
        let messages = &self.facts.messages;
        let spoke = messages.iter().rposition(|message| message.role == "assistant");
        messages[spoke.map_or(0, |at| at + 1)..]
            .iter()
            .flat_map(Turn::blocks)
            .filter(|block| block.kind == "tool_result")
            .map(|block| block.content.text())
            .collect()
    }
}

/// The few things the server must know about a request. Everything is optional: what is sent is an attacker's, or a new
/// release's.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Facts {
    pub(super) model: String,
    pub(super) stream: bool,
    max_tokens: Option<u64>,
    thinking: Option<IgnoredAny>,
    context_management: Option<IgnoredAny>,
    messages: Vec<Turn>,
    tools: Vec<IgnoredAny>,
}

impl Facts {
    pub(super) fn message_count(&self) -> usize {
        self.messages.len()
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Turn {
    role: String,
    content: Content,
}

impl Turn {
    fn text(&self) -> String {
        self.content.text()
    }

    fn blocks(&self) -> impl Iterator<Item = &ContentBlock> {
        match &self.content {
            Content::Blocks(blocks) => blocks.as_slice(),
            Content::Text(_) | Content::Unknown(_) => &[],
        }
        .iter()
    }
}

/// The API takes content as a string or as a list of blocks.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Blocks(Vec<ContentBlock>),
    Unknown(IgnoredAny),
}

impl Default for Content {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl Content {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Blocks(blocks) => {
                let texts: Vec<&str> = blocks.iter().filter_map(|block| block.text.as_deref()).collect();
                texts.join("\n")
            }
            Self::Unknown(_) => String::new(),
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ContentBlock {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    content: Content,
}

fn classify(method: &str, path: &str, headers: &HeaderMap, facts: &Facts) -> RequestKind {
    let path = path.split('?').next().unwrap_or(path);
    match (method, path) {
        ("POST", "/v1/messages") if is_side(headers, facts) => RequestKind::Side,
        ("POST", "/v1/messages") => RequestKind::Conversation,
        ("POST", "/v1/messages/count_tokens") => RequestKind::CountTokens,
        _ => RequestKind::Other,
    }
}

/// Claude Code's own small requests (titles, summaries, checks of a key or the quota) come without tools and without the
/// fields that steer a conversation; a conversation that was started with `--tools ""` still has those. Requests of other
/// clients are conversations unless they ask for a single token.
fn is_side(headers: &HeaderMap, facts: &Facts) -> bool {
    if !facts.tools.is_empty() {
        return false;
    }
    let agent = headers
        .get(USER_AGENT)
        .and_then(|agent| agent.to_str().ok())
        .unwrap_or_default();
    let steered = facts.thinking.is_some() || facts.context_management.is_some();
    facts.max_tokens == Some(1) || (agent.starts_with("claude-cli/") && !steered)
}
