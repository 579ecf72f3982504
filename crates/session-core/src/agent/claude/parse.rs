//! What a line of Claude Code means.
//!
//! The program grows with every release and its lines come from an untrusted place: fields are looked up where they are
//! needed, in any order, and what is missing or unknown is never an error.

use serde_json::Value;

use super::outcome;
use crate::agent::{AgentSignal, MAX_TOOL_RESULT_BYTES};
use crate::event::EventKind;

/// The longest line or tool input that is kept as it came, in bytes of JSON; of a longer one the start is kept as text.
const MAX_KEPT_JSON: usize = 256 << 10;

/// Lines that say nothing a log needs: echoes, progress of single tokens, answers to our own requests.
const NOISE: &[&str] = &[
    "stream_event",
    "command_lifecycle",
    "keep_alive",
    "control_cancel_request",
    "rate_limit_event",
];
/// The same among `system` lines.
const SYSTEM_NOISE: &[&str] = &["status", "thinking_tokens"];

pub(super) fn parse(line: &[u8]) -> Vec<AgentSignal> {
    let Ok(value) = serde_json::from_slice::<Value>(line) else {
        return vec![other(Value::String(String::from_utf8_lossy(line).into_owned()))];
    };
    match value["type"].as_str() {
        Some("system") => system(value),
        Some("assistant") => assistant(&value),
        Some("user") => tool_results(&value),
        Some("result") => vec![AgentSignal::TurnEnded(outcome::read(&value))],
        Some("control_response") => control_response(value),
        Some(kind) if NOISE.contains(&kind) => Vec::new(),
        _ => vec![other(value)],
    }
}

fn system(value: Value) -> Vec<AgentSignal> {
    match value["subtype"].as_str() {
        Some("init") => vec![
            AgentSignal::Ready {
                conversation: value["session_id"].as_str().map(str::to_owned),
            },
            AgentSignal::Event(EventKind::AgentReady {
                model: value["model"].as_str().map(str::to_owned),
                tools: strings(&value["tools"]),
            }),
        ],
        Some("api_retry") => vec![AgentSignal::Event(EventKind::ModelRetry {
            attempt: value["attempt"].as_u64().unwrap_or_default(),
            delay_ms: value["retry_delay_ms"].as_f64().map_or(0, outcome::whole),
            reason: retry_reason(&value),
        })],
        Some(subtype) if SYSTEM_NOISE.contains(&subtype) => Vec::new(),
        _ => vec![other(value)],
    }
}

fn retry_reason(value: &Value) -> String {
    let name = value["error"].as_str().unwrap_or("no answer");
    match value["error_status"].as_u64() {
        Some(status) => format!("{name} ({status})"),
        None => name.to_owned(),
    }
}

fn assistant(value: &Value) -> Vec<AgentSignal> {
    // What the program itself says about a failure, in the model's place; the result says it better.
    if value["is_api_error_message"].as_bool() == Some(true) {
        return Vec::new();
    }
    blocks(value)
        .filter_map(|block| {
            let text = |name: &str| block[name].as_str().map(str::to_owned);
            Some(AgentSignal::Event(match block["type"].as_str()? {
                "text" => EventKind::AgentText { text: text("text")? },
                "thinking" => EventKind::AgentThinking {
                    text: text("thinking")?,
                },
                "tool_use" => EventKind::ToolCall {
                    id: text("id").unwrap_or_default(),
                    tool: text("name").unwrap_or_default(),
                    input: bounded(block["input"].clone()),
                },
                _ => EventKind::AgentOther {
                    raw: bounded(block.clone()),
                },
            }))
        })
        .collect()
}

fn tool_results(value: &Value) -> Vec<AgentSignal> {
    blocks(value)
        .filter(|block| block["type"].as_str() == Some("tool_result"))
        .map(|block| {
            AgentSignal::Event(EventKind::ToolResult {
                id: block["tool_use_id"].as_str().unwrap_or_default().to_owned(),
                is_error: block["is_error"].as_bool().unwrap_or_default(),
                text: cut(result_text(&block["content"]), MAX_TOOL_RESULT_BYTES),
            })
        })
        .collect()
}

/// A tool's answer is a text or a list of blocks, of which some may be images.
fn result_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts.iter().map(|part| match part["text"].as_str() {
                Some(text) => text.to_owned(),
                None => format!("[{}]", part["type"].as_str().unwrap_or("unknown")),
            });
            texts.collect::<Vec<_>>().join("\n")
        }
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn control_response(value: Value) -> Vec<AgentSignal> {
    let response = &value["response"];
    let interrupt = response["request_id"]
        .as_str()
        .is_some_and(|id| id.starts_with("interrupt-"));
    match response["subtype"].as_str() {
        Some("success") if interrupt => vec![AgentSignal::Interrupted],
        Some("success") => Vec::new(),
        _ => vec![other(value)],
    }
}

fn blocks(value: &Value) -> impl Iterator<Item = &Value> {
    value["message"]["content"].as_array().into_iter().flatten()
}

fn strings(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn other(raw: Value) -> AgentSignal {
    AgentSignal::Event(EventKind::AgentOther { raw: bounded(raw) })
}

fn bounded(value: Value) -> Value {
    let text = value.to_string();
    if text.len() <= MAX_KEPT_JSON {
        value
    } else {
        Value::String(cut(text, MAX_KEPT_JSON))
    }
}

/// The start of a text, cut between characters.
fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit));
    }
    text
}
