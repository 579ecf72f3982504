//! What a line means.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::fields::{Elements, MAX_TEXT_BYTES, cut, cut_owned, lenient, read, text, tree};
use super::{INTERRUPT_PREFIX, outcome};
use crate::agent::{AgentSignal, MAX_TOOL_RESULT_BYTES};
use crate::event::EventKind;

/// The longest id or name in an event.
const MAX_NAME_BYTES: usize = 1 << 10;

/// What every line has.
#[derive(Default, Deserialize)]
struct Head {
    #[serde(rename = "type", default, deserialize_with = "lenient")]
    kind: String,
    #[serde(default, deserialize_with = "lenient")]
    subtype: String,
}

pub(super) fn of(line: &[u8]) -> Vec<AgentSignal> {
    let Ok(text) = std::str::from_utf8(line) else {
        return vec![other_text(&String::from_utf8_lossy(
            &line[..line.len().min(MAX_TOOL_RESULT_BYTES)],
        ))];
    };
    let Ok(head) = serde_json::from_str::<Head>(text) else {
        return vec![unknown(text)];
    };
    let signals = match (head.kind.as_str(), head.subtype.as_str()) {
        ("system", "init") => init(text),
        ("system", "api_retry") => api_retry(text),
        ("assistant", _) => assistant(text),
        ("user", _) => user(text),
        ("result", "error_during_execution") if outcome::is_unknown_conversation(text) => {
            Some(vec![AgentSignal::ConversationLost])
        }
        ("result", _) => outcome::of(text).map(|outcome| vec![AgentSignal::TurnEnded(outcome)]),
        ("control_response", _) => control_response(text),
        ("control_request", _) => control_request(text),
        ("conversation_reset", _) => conversation_reset(text),
        // Parts of what comes whole later, and news about progress that say nothing by themselves.
        ("stream_event" | "command_lifecycle" | "keep_alive" | "tool_progress", _) => Some(Vec::new()),
        ("system", "status" | "thinking_tokens" | "background_tasks_changed") => Some(Vec::new()),
        _ => None,
    };
    signals.unwrap_or_else(|| vec![unknown(text)])
}

fn event(kind: EventKind) -> AgentSignal {
    AgentSignal::Event(kind)
}

fn other_text(text: &str) -> AgentSignal {
    event(EventKind::AgentOther {
        raw: Value::String(cut(text, MAX_TOOL_RESULT_BYTES).to_owned()),
    })
}

fn unknown(text: &str) -> AgentSignal {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) => event(EventKind::AgentOther { raw: tree(raw) }),
        Err(_) => other_text(text),
    }
}

#[derive(Deserialize)]
struct Init {
    #[serde(default, deserialize_with = "lenient")]
    session_id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    model: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    tools: Vec<String>,
}

/// It comes with every turn.
fn init(line: &str) -> Option<Vec<AgentSignal>> {
    let Init {
        session_id,
        model,
        tools,
    } = serde_json::from_str(line).ok()?;
    let ready = AgentSignal::Ready {
        conversation: session_id.filter(|id| is_conversation(id)),
    };
    Some(vec![ready, event(EventKind::AgentReady { model, tools })])
}

/// The name becomes an argument when the conversation is resumed, so it must not look like an option.
pub(super) fn is_conversation(id: &str) -> bool {
    uuid::Uuid::try_parse(id).is_ok()
}

#[derive(Deserialize)]
struct ConversationReset {
    #[serde(default, deserialize_with = "lenient")]
    new_conversation_id: Option<String>,
}

fn conversation_reset(line: &str) -> Option<Vec<AgentSignal>> {
    let reset: ConversationReset = serde_json::from_str(line).ok()?;
    let conversation = reset.new_conversation_id.filter(|id| is_conversation(id))?;
    Some(vec![AgentSignal::Ready {
        conversation: Some(conversation),
    }])
}

#[derive(Deserialize)]
struct ApiRetry {
    #[serde(default, deserialize_with = "lenient")]
    attempt: u64,
    #[serde(default, deserialize_with = "lenient")]
    retry_delay_ms: f64,
    #[serde(default, deserialize_with = "lenient")]
    error_status: Option<u16>,
    #[serde(default, deserialize_with = "lenient")]
    error: Option<String>,
}

fn api_retry(line: &str) -> Option<Vec<AgentSignal>> {
    let retry: ApiRetry = serde_json::from_str(line).ok()?;
    let error = cut_owned(retry.error.unwrap_or_default(), MAX_NAME_BYTES);
    let reason = match retry.error_status {
        Some(status) => format!("{status} {error}"),
        None => format!("no answer ({error})"),
    };
    // `as` saturates, and takes what is no number for 0.
    let delay_ms = retry.retry_delay_ms as u64;
    Some(vec![event(EventKind::ModelRetry {
        attempt: retry.attempt,
        delay_ms,
        reason,
    })])
}

#[derive(Deserialize)]
struct Spoken<'a> {
    #[serde(borrow)]
    message: Message<'a>,
    #[serde(default, deserialize_with = "lenient")]
    is_api_error_message: bool,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(rename = "type", default, deserialize_with = "lenient")]
    kind: String,
    #[serde(default, deserialize_with = "text")]
    text: Option<String>,
    #[serde(default, deserialize_with = "text")]
    thinking: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    id: String,
    #[serde(default, deserialize_with = "lenient")]
    name: String,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "lenient")]
    tool_use_id: String,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "lenient")]
    is_error: bool,
}

fn assistant(line: &str) -> Option<Vec<AgentSignal>> {
    let spoken: Spoken<'_> = serde_json::from_str(line).ok()?;
    // Not the model's words but the program's, about a failure; the turn's outcome says it.
    if spoken.is_api_error_message {
        return Some(Vec::new());
    }
    let blocks = Elements::of(spoken.message.content).0;
    Some(blocks.into_iter().filter_map(said).map(event).collect())
}

fn said(raw: &RawValue) -> Option<EventKind> {
    let other = || EventKind::AgentOther { raw: tree(raw) };
    let Ok(block) = serde_json::from_str::<Block<'_>>(raw.get()) else {
        return Some(other());
    };
    match block.kind.as_str() {
        "text" => block.text.map(|text| EventKind::AgentText {
            text: cut_owned(text, MAX_TEXT_BYTES),
        }),
        "thinking" => block
            .thinking
            .filter(|text| !text.is_empty())
            .map(|text| EventKind::AgentThinking {
                text: cut_owned(text, MAX_TEXT_BYTES),
            }),
        "redacted_thinking" => None,
        "tool_use" | "server_tool_use" | "mcp_tool_use" => Some(EventKind::ToolCall {
            id: cut_owned(block.id, MAX_NAME_BYTES),
            tool: cut_owned(block.name, MAX_NAME_BYTES),
            input: block.input.map_or(Value::Null, tree),
        }),
        kind if kind.ends_with("tool_result") => Some(tool_result(block)),
        _ => Some(other()),
    }
}

/// Of what stands in the name of the user, only results of tools are news: the rest are prompts and the program's notes
/// to the model.
fn user(line: &str) -> Option<Vec<AgentSignal>> {
    let spoken: Spoken<'_> = serde_json::from_str(line).ok()?;
    let blocks = Elements::of(spoken.message.content).0.into_iter();
    let results = blocks
        .filter_map(|raw| serde_json::from_str::<Block<'_>>(raw.get()).ok())
        .filter(|block| block.kind.ends_with("tool_result"));
    Some(results.map(tool_result).map(event).collect())
}

fn tool_result(block: Block<'_>) -> EventKind {
    EventKind::ToolResult {
        id: cut_owned(block.tool_use_id, MAX_NAME_BYTES),
        is_error: block.is_error,
        text: block.content.map(result_text).unwrap_or_default(),
    }
}

/// A text, or blocks of which texts are joined and others named.
fn result_text(raw: &RawValue) -> String {
    if let Some(text) = read::<String>(raw) {
        return cut_owned(text, MAX_TOOL_RESULT_BYTES);
    }
    let mut joined = String::new();
    for raw in Elements::of(Some(raw)).0 {
        let Ok(block) = serde_json::from_str::<Block<'_>>(raw.get()) else {
            continue;
        };
        if !joined.is_empty() {
            joined.push('\n');
        }
        match block.text {
            Some(text) => joined.push_str(&text),
            None => joined.push_str(&format!("[{}]", cut(&block.kind, MAX_NAME_BYTES))),
        }
        if joined.len() > MAX_TOOL_RESULT_BYTES {
            break;
        }
    }
    cut_owned(joined, MAX_TOOL_RESULT_BYTES)
}

#[derive(Deserialize)]
struct ControlResponse {
    response: Answer,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default, deserialize_with = "lenient")]
    subtype: String,
    #[serde(default, deserialize_with = "lenient")]
    request_id: String,
}

#[derive(Deserialize)]
struct ControlRequest {
    request: Question,
}

#[derive(Deserialize)]
struct Question {
    #[serde(default, deserialize_with = "lenient")]
    subtype: String,
    #[serde(default, deserialize_with = "lenient")]
    tool_name: String,
    #[serde(default, deserialize_with = "lenient")]
    tool_use_id: String,
}

/// It asks only whether it may use a tool, and only when it was started to ask.
fn control_request(line: &str) -> Option<Vec<AgentSignal>> {
    let ControlRequest { request } = serde_json::from_str(line).ok()?;
    (request.subtype == "can_use_tool").then(|| {
        vec![event(EventKind::PermissionAsked {
            call: cut_owned(request.tool_use_id, MAX_NAME_BYTES),
            tool: cut_owned(request.tool_name, MAX_NAME_BYTES),
        })]
    })
}

fn control_response(line: &str) -> Option<Vec<AgentSignal>> {
    let ControlResponse { response } = serde_json::from_str(line).ok()?;
    match response.subtype.as_str() {
        "success" if response.request_id.starts_with(INTERRUPT_PREFIX) => {
            Some(vec![AgentSignal::Interrupted])
        }
        "success" => Some(Vec::new()),
        _ => None,
    }
}
