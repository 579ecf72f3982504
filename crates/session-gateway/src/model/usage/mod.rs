//! Counts tokens by listening to answers as they pass. It reads bytes and never holds, delays or changes one.
//!
//! Memory is bounded whatever the answer: a stream is read an event at a time, a document member by member, and what is
//! too long to be an account of tokens is skipped.

mod json;
mod sse;

use hyper::header::{CONTENT_TYPE, HeaderMap};
use serde::Serialize;
use serde_json::Value;

use json::JsonScanner;
use sse::SseReader;

/// Longest event or member that is looked into; the provider's accounts take a few hundred bytes.
const MAX_PIECE: usize = 64 * 1024;

/// What a session used so far at the model proxy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Usage {
    /// Requests that were sent on to the provider.
    pub requests: u64,
    /// Those of them that failed: an error status, or a connection that broke.
    pub failed_requests: u64,
    /// Requests that were answered here and not sent on.
    pub refused_requests: u64,
    /// Requests that are under way now.
    pub in_flight: u64,
    /// Input tokens, those of the cache apart.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Input tokens that were read from the provider's cache.
    pub cache_read_tokens: u64,
    /// Input tokens that were written to the provider's cache.
    pub cache_creation_tokens: u64,
}

impl Usage {
    /// Adds what one answer used since it was last asked.
    pub(crate) fn add(&mut self, tokens: Tokens) {
        self.input_tokens = self.input_tokens.saturating_add(tokens.input);
        self.output_tokens = self.output_tokens.saturating_add(tokens.output);
        self.cache_read_tokens = self.cache_read_tokens.saturating_add(tokens.cache_read);
        self.cache_creation_tokens = self.cache_creation_tokens.saturating_add(tokens.cache_creation);
    }
}

/// The tokens of one answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) cache_read: u64,
    pub(crate) cache_creation: u64,
}

impl Tokens {
    /// Takes a `usage` object in. The numbers of a stream are totals that grow, so the greatest one counts; what is absent,
    /// `null` or no count says nothing.
    fn raise(&mut self, usage: &Value) {
        let count = |name: &str| usage.get(name).and_then(Value::as_u64).unwrap_or(0);
        self.input = self.input.max(count("input_tokens"));
        self.output = self.output.max(count("output_tokens"));
        self.cache_read = self.cache_read.max(count("cache_read_input_tokens"));
        self.cache_creation = self.cache_creation.max(count("cache_creation_input_tokens"));
    }

    /// What came on top of `earlier`, which never exceeds `self`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            input: self.input.saturating_sub(earlier.input),
            output: self.output.saturating_sub(earlier.output),
            cache_read: self.cache_read.saturating_sub(earlier.cache_read),
            cache_creation: self.cache_creation.saturating_sub(earlier.cache_creation),
        }
    }
}

/// Listens to one answer.
#[derive(Debug)]
pub(crate) struct UsageTap {
    format: Format,
    tokens: Tokens,
}

#[derive(Debug)]
enum Format {
    Stream(SseReader),
    Document(JsonScanner),
    Unread,
}

impl UsageTap {
    /// A tap for an answer with these header fields.
    pub(crate) fn new(headers: &HeaderMap) -> Self {
        let content_type = headers
            .get(CONTENT_TYPE)
            .map_or(&b""[..], |value| value.as_bytes());
        let essence = content_type
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        let format = if essence.eq_ignore_ascii_case(b"text/event-stream") {
            Format::Stream(SseReader::default())
        } else if essence.eq_ignore_ascii_case(b"application/json") {
            Format::Document(JsonScanner::default())
        } else {
            Format::Unread
        };
        Self {
            format,
            tokens: Tokens::default(),
        }
    }

    /// A tap that hears nothing.
    pub(crate) fn deaf() -> Self {
        Self {
            format: Format::Unread,
            tokens: Tokens::default(),
        }
    }

    /// Hears the next bytes.
    pub(crate) fn feed(&mut self, chunk: &[u8]) {
        let tokens = &mut self.tokens;
        match &mut self.format {
            Format::Stream(reader) => reader.feed(chunk, |event| raise_from_event(tokens, event)),
            Format::Document(scanner) => {
                scanner.feed(chunk, |usage| raise_from_document(tokens, usage));
            }
            Format::Unread => {}
        }
    }

    /// The answer ended, perhaps in the middle of something.
    pub(crate) fn finish(&mut self) {
        let tokens = &mut self.tokens;
        if let Format::Stream(reader) = &mut self.format {
            reader.finish(|event| raise_from_event(tokens, event));
        }
    }

    /// What was heard so far. Never falls.
    pub(crate) fn tokens(&self) -> Tokens {
        self.tokens
    }
}

fn raise_from_event(tokens: &mut Tokens, event: &[u8]) {
    // Most events are pieces of text; only those that can hold an account are worth parsing.
    const NAME: &[u8] = b"\"usage\"";
    if !event.windows(NAME.len()).any(|window| window == NAME) {
        return;
    }
    let Ok(event) = serde_json::from_slice::<Value>(event) else {
        return;
    };
    let usage = match event.get("type").and_then(Value::as_str) {
        Some("message_start") => event.get("message").and_then(|message| message.get("usage")),
        Some("message_delta") => event.get("usage"),
        _ => None,
    };
    if let Some(usage) = usage {
        tokens.raise(usage);
    }
}

fn raise_from_document(tokens: &mut Tokens, usage: &[u8]) {
    if let Ok(usage) = serde_json::from_slice(usage) {
        tokens.raise(&usage);
    }
}

#[cfg(test)]
mod tests;
