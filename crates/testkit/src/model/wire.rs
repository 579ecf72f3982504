//! A [`Message`] in the Messages API's two forms: one JSON object, or server-sent events.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::message::Block;
use super::playback::Beat;
use super::surface::Encoding;
use super::{Ending, Message, Usage};

/// About what the real API puts into one delta, so that a sentence is several events.
const DELTA_CHARS: usize = 24;

/// Lets what was written leave the buffer before the connection is torn down; without it the client may see nothing at all.
const FLUSH: Duration = Duration::from_millis(20);

/// What names an answer: ids must differ within a conversation, also when it is resumed against another server.
pub(super) struct Naming<'a> {
    pub(super) model: &'a str,
    pub(super) request_id: &'a str,
    /// How many messages the request had, and the number of the answer in its script.
    pub(super) conversation: (usize, u64),
}

impl Naming<'_> {
    fn message_id(&self) -> String {
        let (messages, step) = self.conversation;
        format!("msg_script_{messages:04}_{step:04}")
    }

    fn tool_id(&self, index: usize) -> String {
        let (messages, step) = self.conversation;
        format!("toolu_script_{messages:04}_{step:04}_{index}")
    }
}

/// The answer to a request without `stream`.
pub(super) fn whole(message: &Message, naming: &Naming<'_>) -> Vec<Beat> {
    let content: Vec<Value> = message
        .blocks
        .iter()
        .enumerate()
        .map(|(index, block)| block_json(block, &naming.tool_id(index)))
        .collect();
    let body = json!({
        "id": naming.message_id(),
        "type": "message",
        "role": "assistant",
        "model": naming.model,
        "content": content,
        "stop_reason": message.effective_stop_reason(),
        "stop_sequence": null,
        "usage": usage_json(message.usage, message.usage.output),
    })
    .to_string();
    let pieces = body.len() / 2;
    match &message.ending {
        Ending::Complete => vec![Beat::Data(body.into())],
        other => {
            let mut beats = vec![Beat::Data(Bytes::copy_from_slice(&body.as_bytes()[..pieces]))];
            // Only a stream can end with an error event, and this is none.
            end(&mut beats, other, naming, Encoding::Events);
            beats
        }
    }
}

/// The answer to a request with `stream`.
pub(super) fn events(message: &Message, naming: &Naming<'_>, encoding: Encoding) -> Vec<Beat> {
    let mut frames = vec![start_frame(message, naming)];
    for (index, block) in message.blocks.iter().enumerate() {
        block_frames(&mut frames, index, block, &naming.tool_id(index));
    }
    frames.push(json!({
        "type": "message_delta",
        "delta": { "stop_reason": message.effective_stop_reason(), "stop_sequence": null },
        "usage": { "output_tokens": message.usage.output },
    }));
    frames.push(json!({ "type": "message_stop" }));
    if message.ending != Ending::Complete {
        frames.truncate(frames.len().div_ceil(2));
    }
    let mut beats = pace(&frames, message.pace, encoding);
    end(&mut beats, &message.ending, naming, encoding);
    beats
}

fn start_frame(message: &Message, naming: &Naming<'_>) -> Value {
    json!({
        "type": "message_start",
        "message": {
            "id": naming.message_id(),
            "type": "message",
            "role": "assistant",
            "model": naming.model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            // The real API counts the first token already here.
            "usage": usage_json(message.usage, message.usage.output.min(1)),
        },
    })
}

fn block_frames(frames: &mut Vec<Value>, index: usize, block: &Block, tool_id: &str) {
    let (opening, deltas) = match block {
        Block::Text(text) => (
            json!({ "type": "text", "text": "" }),
            deltas("text_delta", "text", text),
        ),
        Block::Thinking(text) => {
            let mut deltas = deltas("thinking_delta", "thinking", text);
            deltas.push(json!({ "type": "signature_delta", "signature": SIGNATURE }));
            (
                json!({ "type": "thinking", "thinking": "", "signature": "" }),
                deltas,
            )
        }
        Block::Tool { name, input } => (
            json!({ "type": "tool_use", "id": tool_id, "name": name, "input": {} }),
            deltas("input_json_delta", "partial_json", &input.to_string()),
        ),
    };
    frames.push(json!({ "type": "content_block_start", "index": index, "content_block": opening }));
    if index == 0 {
        frames.push(json!({ "type": "ping" }));
    }
    frames.extend(
        deltas
            .into_iter()
            .map(|delta| json!({ "type": "content_block_delta", "index": index, "delta": delta })),
    );
    frames.push(json!({ "type": "content_block_stop", "index": index }));
}

/// Clients send it back and never look into it.
const SIGNATURE: &str = "c2NyaXB0ZWQ=";

fn deltas(kind: &str, field: &str, text: &str) -> Vec<Value> {
    let chars: Vec<char> = text.chars().collect();
    chars
        .chunks(DELTA_CHARS)
        .map(|piece| json!({ "type": kind, field: String::from_iter(piece) }))
        .collect()
}

fn block_json(block: &Block, tool_id: &str) -> Value {
    match block {
        Block::Text(text) => json!({ "type": "text", "text": text }),
        Block::Thinking(text) => json!({ "type": "thinking", "thinking": text, "signature": SIGNATURE }),
        Block::Tool { name, input } => {
            json!({ "type": "tool_use", "id": tool_id, "name": name, "input": input })
        }
    }
}

fn usage_json(usage: Usage, output: u64) -> Value {
    json!({
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_creation,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": output,
        "service_tier": "standard",
    })
}

/// One beat per event when they are to be slow; else one for all, which is one write.
fn pace(frames: &[Value], delay: Duration, encoding: Encoding) -> Vec<Beat> {
    if delay.is_zero() {
        let all: Vec<u8> = frames.iter().flat_map(|frame| encoding.event(frame)).collect();
        return vec![Beat::Data(all.into())];
    }
    let mut beats = Vec::with_capacity(frames.len() * 2);
    for frame in frames {
        if frame["type"] == "content_block_delta" {
            beats.push(Beat::Wait(delay));
        }
        beats.push(Beat::Data(encoding.event(frame).into()));
    }
    beats
}

fn end(beats: &mut Vec<Beat>, ending: &Ending, naming: &Naming<'_>, encoding: Encoding) {
    match ending {
        Ending::Complete | Ending::Truncate => {}
        Ending::Hang => beats.push(Beat::Hang),
        Ending::Drop => beats.extend([Beat::Wait(FLUSH), Beat::Abort]),
        Ending::Fail(failure) => beats.push(Beat::Data(
            encoding.event(&failure.body(naming.request_id)).into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_waits_before_each_delta_and_nowhere_else() {
        let naming = Naming {
            model: "m",
            request_id: "r",
            conversation: (1, 1),
        };
        let delay = Duration::from_millis(10);
        let message = Message::new().text("a".repeat(DELTA_CHARS * 3)).pace(delay);
        let beats = events(&message, &naming, Encoding::Events);
        assert_eq!(beats.iter().filter(|beat| **beat == Beat::Wait(delay)).count(), 3);
        assert_eq!(
            events(&message.pace(Duration::ZERO), &naming, Encoding::Events).len(),
            1
        );
    }

    #[test]
    fn deltas_do_not_split_characters() {
        let text = "ß→🦀".repeat(20);
        let joined: String = deltas("text_delta", "text", &text)
            .iter()
            .filter_map(|delta| delta["text"].as_str())
            .collect();
        assert_eq!(joined, text);
    }
}
