//! From a request to a response: records it, decides what it is, and plays the answer.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Request, Response, StatusCode};
use serde_json::json;

use super::lanes::Lanes;
use super::playback::Playback;
use super::recorder::Recorder;
use super::wire::{self, Naming};
use super::{ApiFailure, ApiRequest, Ending, Message, Reply, RequestKind, Surface};

/// The real API's limit.
const MAX_BODY: usize = 32 << 20;

/// What `count_tokens` answers, always.
const COUNTED_TOKENS: u64 = 1000;

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// Ends a connection without an answer: hyper closes it when the service fails.
#[derive(Debug)]
pub(super) struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the script closes the connection without an answer")
    }
}

impl std::error::Error for Closed {}

/// What all connections of a server share.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) lanes: Lanes,
    pub(super) recorder: Recorder,
    surface: Surface,
    started: Instant,
    requests: AtomicU64,
}

impl Service {
    pub(super) fn new(lanes: Lanes, surface: Surface) -> Self {
        Self {
            lanes,
            recorder: Recorder::new(),
            surface,
            started: Instant::now(),
            requests: AtomicU64::new(0),
        }
    }

    pub(super) async fn answer(&self, request: Request<Incoming>) -> Result<Response<Playback>, Closed> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let request_id = format!("req_script_{number:06}");
        let (head, body) = request.into_parts();
        let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
            return Ok(self.failure(&ApiFailure::too_large(), &request_id));
        };
        let path = head
            .uri
            .path_and_query()
            .map_or("/", |path| path.as_str())
            .to_owned();
        let method = head.method.as_str().to_owned();
        let asked = self.surface.asked(&path);
        let mut request = ApiRequest::new(
            method,
            path,
            head.headers,
            body.to_bytes(),
            self.started.elapsed(),
            asked,
        );
        if let Some(answer) = self.surface.aside(&request) {
            self.recorder.record(request);
            return Ok(match answer {
                Ok(answer) => json_response(StatusCode::OK, answer.to_string(), &request_id),
                Err(refusal) => oauth_failure(&refusal, &request_id),
            });
        }
        if let Err(refusal) = self.surface.check(&request) {
            // Whoever waits for the conversation waits for what the script answers.
            request.kind = RequestKind::Other;
            self.recorder.record(request);
            return Ok(self.failure(&refusal, &request_id));
        }
        self.route(request, &request_id).await
    }

    async fn route(&self, request: ApiRequest, request_id: &str) -> Result<Response<Playback>, Closed> {
        match request.kind {
            RequestKind::Conversation => self.conversation(request, request_id).await,
            RequestKind::Side => {
                let response = self.message(&side_answer(), &request, request_id, 0);
                self.recorder.record(request);
                Ok(response)
            }
            RequestKind::CountTokens => {
                self.recorder.record(request);
                Ok(json_response(
                    StatusCode::OK,
                    json!({ "input_tokens": COUNTED_TOKENS }).to_string(),
                    request_id,
                ))
            }
            RequestKind::Other => {
                let response = self.other(&request, request_id);
                self.recorder.record(request);
                Ok(response)
            }
        }
    }

    async fn conversation(
        &self,
        request: ApiRequest,
        request_id: &str,
    ) -> Result<Response<Playback>, Closed> {
        // The step is taken before the request can be seen: whoever waited for it may change the script.
        let (taken, step) = self.lanes.take(&request);
        self.recorder.record(request.clone());
        if let Some(gate) = &taken.gate {
            gate.pass().await;
        }
        match taken.reply(&request) {
            // Only a stream can fail after its head has gone out.
            Reply::Message(Message {
                ending: Ending::Fail(refusal),
                ..
            }) if !request.facts.stream => Ok(self.failure(&refusal, request_id)),
            Reply::Message(answer) => Ok(self.message(&answer, &request, request_id, step)),
            Reply::Failure(refusal) => Ok(self.failure(&refusal, request_id)),
            Reply::Raw {
                status,
                content_type,
                body,
            } => Ok(raw(status, &content_type, body, request_id)),
            Reply::Hang => std::future::pending().await,
            Reply::Close => Err(Closed),
        }
    }

    fn message(
        &self,
        answer: &Message,
        request: &ApiRequest,
        request_id: &str,
        step: u64,
    ) -> Response<Playback> {
        let naming = Naming {
            model: request.model(),
            request_id,
            conversation: (request.facts.message_count(), step),
        };
        let encoding = self.surface.encoding();
        let (kind, beats) = if request.facts.stream {
            (encoding.content_type(), wire::events(answer, &naming, encoding))
        } else {
            ("application/json", wire::whole(answer, &naming))
        };
        respond(StatusCode::OK, kind, Playback::new(beats), request_id)
    }

    fn failure(&self, refusal: &ApiFailure, request_id: &str) -> Response<Playback> {
        let status = status(refusal.status());
        let (body, headers) = self.surface.failure(refusal, request_id);
        let mut response = json_response(status, body.to_string(), request_id);
        response.headers_mut().extend(headers);
        if let Some(seconds) = refusal.retry_after_seconds() {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    fn other(&self, request: &ApiRequest, request_id: &str) -> Response<Playback> {
        let path = request.path.split('?').next();
        match request.method.as_str() {
            // Agents warm the connection up with one of these.
            "GET" | "HEAD" if matches!(path, Some("/" | "/api/hello")) => {
                json_response(StatusCode::OK, "{}".to_owned(), request_id)
            }
            _ => self.failure(
                &ApiFailure::not_found(format!("Not found: {} {}", request.method, request.path)),
                request_id,
            ),
        }
    }
}

/// Good for a title and for a check of the quota: agents fall back when it is not what they asked for.
fn side_answer() -> Message {
    Message::new().text("ok")
}

/// The error of a token endpoint, which has a form of its own.
fn oauth_failure(refusal: &ApiFailure, request_id: &str) -> Response<Playback> {
    let body = json!({ "error": refusal.kind(), "error_description": refusal.message() });
    json_response(status(refusal.status()), body.to_string(), request_id)
}

fn raw(code: u16, content_type: &str, body: Bytes, request_id: &str) -> Response<Playback> {
    respond(status(code), content_type, Playback::whole(body), request_id)
}

fn json_response(status: StatusCode, body: String, request_id: &str) -> Response<Playback> {
    respond(status, "application/json", Playback::whole(body), request_id)
}

fn respond(status: StatusCode, content_type: &str, body: Playback, request_id: &str) -> Response<Playback> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in [(CONTENT_TYPE, content_type), (REQUEST_ID, request_id)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
