//! Which API the server has: the vendor's own, or a cloud's around the same messages. A cloud's checks who asks, as the real
//! one does: a gateway that signs wrongly must not pass here.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::bedrock::{self, AwsGate};
use super::vertex::{self, GoogleGate};
use super::{ApiFailure, ApiRequest};

/// The API of a [`ModelServer`](super::ModelServer).
#[derive(Debug, Clone, Default)]
pub enum Surface {
    /// The vendor's. Everybody may ask, whatever the key.
    #[default]
    Messages,
    /// AWS Bedrock's: signed requests, answers in event-stream frames.
    Bedrock(AwsGate),
    /// Google Vertex's: bearer tokens, which the same server gives out.
    Vertex(GoogleGate),
}

/// What a path asks for, in the vendor's words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// The vendor's path for the same.
    pub(super) path: Option<&'static str>,
    /// The model, where it stands in the path.
    pub(super) model: Option<String>,
    /// Whether the answer is to be streamed, where the path says so.
    pub(super) stream: Option<bool>,
}

/// How the events of a stream are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Server-sent events.
    Events,
    /// AWS's event-stream frames.
    Frames,
}

impl Encoding {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Events => "text/event-stream; charset=utf-8",
            Self::Frames => "application/vnd.amazon.eventstream",
        }
    }

    pub(super) fn event(self, event: &Value) -> Vec<u8> {
        match self {
            Self::Events => {
                let name = event["type"].as_str().unwrap_or("message");
                format!("event: {name}\ndata: {event}\n\n").into_bytes()
            }
            Self::Frames => bedrock::frame(event),
        }
    }
}

impl Surface {
    pub(super) fn asked(&self, path: &str) -> Asked {
        match self {
            Self::Messages => Asked::default(),
            Self::Bedrock(_) => bedrock::asked(path),
            Self::Vertex(_) => vertex::asked(path),
        }
    }

    pub(super) fn encoding(&self) -> Encoding {
        match self {
            Self::Messages | Self::Vertex(_) => Encoding::Events,
            Self::Bedrock(_) => Encoding::Frames,
        }
    }

    /// Whether a request may be answered.
    pub(super) fn check(&self, request: &ApiRequest) -> Result<(), ApiFailure> {
        match self {
            Self::Messages => Ok(()),
            Self::Bedrock(gate) => gate.check(request),
            Self::Vertex(gate) => gate.check(request),
        }
    }

    /// What is answered beside the model's API: where tokens are given out.
    pub(super) fn aside(&self, request: &ApiRequest) -> Option<Result<Value, ApiFailure>> {
        match self {
            Self::Messages | Self::Bedrock(_) => None,
            Self::Vertex(gate) => gate.token(request),
        }
    }

    /// A failure as this API writes it, and the fields that go with it.
    pub(super) fn failure(&self, failure: &ApiFailure, request_id: &str) -> (Value, HeaderMap) {
        let mut headers = HeaderMap::new();
        let body = match self {
            Self::Messages => failure.body(request_id),
            Self::Bedrock(_) => {
                let kind = HeaderName::from_static("x-amzn-errortype");
                headers.insert(
                    kind,
                    HeaderValue::from_static(bedrock::error_type(failure.status())),
                );
                serde_json::json!({ "message": failure.message() })
            }
            Self::Vertex(_) => serde_json::json!({
                "error": {
                    "code": failure.status(),
                    "message": failure.message(),
                    "status": vertex::error_status(failure.status()),
                },
            }),
        };
        (body, headers)
    }
}
