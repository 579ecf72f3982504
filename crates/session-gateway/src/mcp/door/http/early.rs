//! Opens the stream of an answer before there is one.
//!
//! Clients give up when no byte has come for a minute, and the protocol library sends none before a request of the
//! stateless revision has something to say. So an answer that takes its time is begun as a stream of events, which is
//! kept alive with comments until the rest is there.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use rmcp::model::{ErrorData, RequestId};

use super::{Answer, AnswerBody};
use crate::mcp::door::wire::Refusal;

const EVENTS: &str = "text/event-stream";
/// How often a comment is sent.
const PACE: Duration = Duration::from_secs(15);
/// A line of the stream that says nothing.
const COMMENT: &[u8] = b":\n\n";
/// The longest answer that is made one event of: what came within its bounds from a server fits.
const MAX_EVENT: usize = 64 << 20;

type Pieces = BoxStream<'static, Bytes>;

/// The answer, or the beginning of a stream if it takes longer than `patience`. Dropping the stream drops what is waited
/// for.
pub(super) async fn open(
    mut answer: BoxFuture<'static, Answer>,
    id: Option<RequestId>,
    patience: Duration,
) -> Answer {
    if let Ok(answer) = tokio::time::timeout(patience, &mut answer).await {
        return answer;
    }
    let pieces = stream::once(async { Bytes::from_static(COMMENT) })
        .chain(stream::unfold(Stage::Waiting(answer, id), |stage| async move {
            stage.next().await
        }));
    let body = StreamBody::new(pieces.map(|piece| Ok(Frame::data(piece)))).boxed_unsync();
    let mut opened = Response::new(body);
    *opened.status_mut() = StatusCode::OK;
    opened
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(EVENTS));
    opened
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    opened
}

enum Stage {
    Waiting(BoxFuture<'static, Answer>, Option<RequestId>),
    Passing(Pieces),
}

impl Stage {
    async fn next(self) -> Option<(Bytes, Self)> {
        match self {
            Self::Waiting(mut answer, id) => match tokio::time::timeout(PACE, &mut answer).await {
                Err(_) => Some((Bytes::from_static(COMMENT), Self::Waiting(answer, id))),
                Ok(answer) => {
                    let mut pieces = pass_on(answer, id).await;
                    let first = pieces.next().await?;
                    Some((first, Self::Passing(pieces)))
                }
            },
            Self::Passing(mut pieces) => {
                let piece = pieces.next().await?;
                Some((piece, Self::Passing(pieces)))
            }
        }
    }
}

async fn pass_on(answer: Answer, id: Option<RequestId>) -> Pieces {
    let kind = answer
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    if kind.starts_with(EVENTS) {
        return data(answer.into_body());
    }
    let is_json = kind.starts_with("application/json");
    let mut whole = Vec::new();
    let mut pieces = data(answer.into_body());
    while let Some(piece) = pieces.next().await {
        if whole.len() + piece.len() > MAX_EVENT {
            break;
        }
        whole.extend_from_slice(&piece);
    }
    // A line break would end the event; JSON has none that it needs.
    if !is_json || whole.contains(&b'\n') {
        let error = ErrorData::internal_error("the request failed in the gateway; its log says more", None);
        whole = Refusal { id, error }.into_bytes();
    }
    let event = [b"data: ".as_slice(), &whole, b"\n\n"].concat();
    stream::once(async { Bytes::from(event) }).boxed()
}

fn data(body: AnswerBody) -> Pieces {
    body.into_data_stream()
        .filter_map(|piece| async { piece.ok() })
        .boxed()
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    fn answer(kind: &'static str, text: &'static str) -> Answer {
        let body = Full::new(Bytes::from_static(text.as_bytes())).boxed_unsync();
        let mut answer = Response::new(body);
        answer
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        answer
    }

    async fn opened(kind: &'static str, text: &'static str) -> (String, String) {
        let slow = async move {
            tokio::time::sleep(Duration::from_secs(40)).await;
            answer(kind, text)
        };
        let opened = open(Box::pin(slow), Some(RequestId::Number(7)), Duration::from_secs(1)).await;
        let kind = opened.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
        let body = opened.into_body().collect().await.unwrap().to_bytes();
        (kind, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_quick_answer_is_left_alone() {
        let quick = Box::pin(async { answer("application/json", "{}") });
        let answer = open(quick, None, Duration::from_secs(1)).await;
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/json");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_answer_becomes_an_event_after_comments() {
        let (kind, body) = opened("application/json", r#"{"id":7}"#).await;
        assert_eq!(kind, EVENTS);
        assert_eq!(body, ":\n\n:\n\n:\n\ndata: {\"id\":7}\n\n");
    }

    #[tokio::test(start_paused = true)]
    async fn events_are_passed_on_as_they_are() {
        let (_, body) = opened("text/event-stream", "id: 1\ndata: x\n\n").await;
        assert!(body.ends_with(":\n\nid: 1\ndata: x\n\n"), "{body}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_message_becomes_an_error_for_the_request() {
        let (_, body) = opened("text/plain", "internal: canary").await;
        let (_, event) = body.split_once("data: ").unwrap();
        let error: serde_json::Value = serde_json::from_str(event).unwrap();
        assert_eq!(
            (error["id"].as_i64(), error["error"]["code"].as_i64()),
            (Some(7), Some(-32603))
        );
        assert!(!body.contains("canary"));
    }
}
