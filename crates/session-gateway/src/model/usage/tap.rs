//! The ear at one answer: which form it has, and what is taken from it.

use hyper::header::{CONTENT_TYPE, HeaderMap};
use memchr::memmem;
use serde_json::Value;
use session_core::gateway::ModelFailure;

use super::frames::{Frame, FrameReader};
use super::json::JsonScanner;
use super::sse::SseReader;
use super::{Consumption, is_fast, is_us_only};
use crate::model::accounts::ModelName;

/// About what an event with a piece of text has beside it.
const ENVELOPE: usize = 90;

/// What an answer has said so far.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Never falls.
    pub(crate) used: Consumption,
    /// The model that answers, in the provider's words.
    pub(crate) model: Option<ModelName>,
    /// Text that came since the provider last said how much it was, in bytes.
    pub(crate) uncounted: u64,
    /// An error in the middle of a stream that began well.
    pub(crate) failure: Option<ModelFailure>,
}

/// Listens to one answer.
#[derive(Debug)]
pub(crate) struct UsageTap {
    format: Format,
    heard: Heard,
}

#[derive(Debug)]
enum Format {
    Stream(SseReader),
    Frames(FrameReader),
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
        let is = |name: &[u8]| essence.eq_ignore_ascii_case(name);
        Self::of(if is(b"text/event-stream") {
            Format::Stream(SseReader::default())
        } else if is(b"application/vnd.amazon.eventstream") {
            Format::Frames(FrameReader::default())
        } else if is(b"application/json") {
            Format::Document(JsonScanner::new(&["model", "usage"]))
        } else {
            Format::Unread
        })
    }

    /// A tap that hears nothing.
    pub(crate) fn deaf() -> Self {
        Self::of(Format::Unread)
    }

    fn of(format: Format) -> Self {
        Self {
            format,
            heard: Heard::default(),
        }
    }

    /// Hears the next bytes.
    pub(crate) fn feed(&mut self, chunk: &[u8]) {
        let heard = &mut self.heard;
        match &mut self.format {
            Format::Stream(reader) => reader.feed(chunk, |event| heard.event(event)),
            Format::Frames(reader) => reader.feed(chunk, |frame| heard.frame(frame)),
            Format::Document(scanner) => {
                if !heard.is_counted() {
                    heard.uncounted = heard.uncounted.saturating_add(chunk.len() as u64);
                }
                scanner.feed(chunk, |name, value| heard.member(name, value));
            }
            Format::Unread => {}
        }
    }

    /// The answer ended, perhaps in the middle of something.
    pub(crate) fn finish(&mut self) {
        let heard = &mut self.heard;
        if let Format::Stream(reader) = &mut self.format {
            reader.finish(|event| heard.event(event));
        }
    }

    /// What was heard so far.
    pub(crate) fn heard(&self) -> &Heard {
        &self.heard
    }
}

impl Heard {
    fn member(&mut self, name: &str, value: &[u8]) {
        let Ok(value) = serde_json::from_slice::<Value>(value) else {
            return;
        };
        match name {
            "usage" => {
                self.usage(&value);
                if self.is_counted() {
                    self.uncounted = 0;
                }
            }
            _ => self.model(&value),
        }
    }

    /// Whether the provider said what the request used.
    fn is_counted(&self) -> bool {
        self.used.tokens.prompt() > 0
    }

    fn event(&mut self, event: &[u8]) {
        // Most events are pieces of text; only those that can hold an account or an error are worth parsing.
        let names = |name: &[u8]| memmem::find(event, name).is_some();
        if !names(b"\"usage\"") && !names(b"\"error\"") {
            let text = event.len().saturating_sub(ENVELOPE) as u64;
            self.uncounted = self.uncounted.saturating_add(text);
            return;
        }
        let Ok(event) = serde_json::from_slice::<Value>(event) else {
            return;
        };
        match event.get("type").and_then(Value::as_str) {
            Some("message_start") => {
                self.model(&event["message"]["model"]);
                self.usage(&event["message"]["usage"]);
            }
            Some("message_delta") => {
                self.usage(&event["usage"]);
                self.uncounted = 0;
            }
            Some("error") => self.failure = failure_of(event["error"]["type"].as_str().unwrap_or_default()),
            _ => {}
        }
    }

    fn frame(&mut self, frame: Frame<'_>) {
        match frame {
            Frame::Event(event) => self.event(event),
            Frame::Exception(name) => self.failure = failure_of(name),
        }
    }

    fn usage(&mut self, usage: &Value) {
        self.used.tokens.raise(usage);
        self.used.fast |= is_fast(&usage["speed"]);
        self.used.us_only |= is_us_only(&usage["inference_geo"]);
    }

    fn model(&mut self, model: &Value) {
        if let Some(name) = model.as_str().and_then(ModelName::parse) {
            self.model = Some(name);
        }
    }
}

/// How an error that a provider names in a stream makes it fail. `None` for one that is the request's own fault.
fn failure_of(name: &str) -> Option<ModelFailure> {
    match name {
        "overloaded_error" | "rate_limit_error" | "throttlingException" | "serviceUnavailableException" => {
            Some(ModelFailure::Overloaded)
        }
        "authentication_error" | "permission_error" => Some(ModelFailure::Unauthorized),
        "timeout_error" | "modelTimeoutException" => Some(ModelFailure::Silent),
        "invalid_request_error" | "not_found_error" | "request_too_large" | "validationException" => None,
        _ => Some(ModelFailure::Failing),
    }
}
