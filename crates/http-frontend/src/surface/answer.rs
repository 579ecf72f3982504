//! Answers on their way out: what they all bear, and one form for every failure.

use axum::body::Body;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use http_api::SurfaceCode;
use tokio_util::sync::CancellationToken;

use super::RequestId;
use super::origin;
use super::record::{self, Record};
use crate::body::Measured;
use crate::connection::Peer;
use crate::mount::FromMount;
use crate::problem::Failure;

/// How much of a text that says why a request cannot be read is told.
const MAX_TEXT: usize = 4 << 10;

/// Nothing that is served here is a page: browsers shall do nothing with it.
const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

/// Puts on what every answer bears.
pub(super) fn dress(answer: &mut Response, peer: Peer, id: &RequestId, origin: Option<HeaderValue>) {
    let headers = answer.headers_mut();
    headers.extend(HEADERS);
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    if matches!(peer, Peer::Remote { encrypted: true, .. }) {
        headers.insert(
            STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=31536000"),
        );
    }
    if let Ok(id) = HeaderValue::from_str(&id.0) {
        headers.insert("x-request-id", id);
    }
    origin::let_read(headers, origin);
}

/// Tells failures of the library beneath us, which are empty or plain text, as problems.
pub(super) async fn as_problem(answer: Response) -> Response {
    let Some(code) = code_of(answer.status()) else {
        return answer;
    };
    // What is mounted has answers of its own.
    if answer.extensions().get::<FromMount>().is_some() {
        return answer;
    }
    let plain = answer
        .headers()
        .get(CONTENT_TYPE)
        .is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !plain {
        return answer;
    }
    let (parts, body) = answer.into_parts();
    let text = axum::body::to_bytes(body, MAX_TEXT).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let detail = match (text.trim(), code) {
        ("", SurfaceCode::MethodNotAllowed) => "the path has other methods, see `Allow`",
        ("", SurfaceCode::NoSuchPath) => "there is nothing at this path",
        ("", _) => "the request cannot be read",
        (text, _) => text,
    };
    let mut failure = Failure::new(code, detail).into_response();
    // `Allow` and the like.
    for (name, value) in &parts.headers {
        if !failure.headers().contains_key(name) && !name.as_str().starts_with("content-") {
            failure.headers_mut().append(name, value.clone());
        }
    }
    failure
}

fn code_of(status: StatusCode) -> Option<SurfaceCode> {
    Some(match status {
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::UPGRADE_REQUIRED => {
            SurfaceCode::BadRequest
        }
        StatusCode::NOT_FOUND => SurfaceCode::NoSuchPath,
        StatusCode::METHOD_NOT_ALLOWED => SurfaceCode::MethodNotAllowed,
        StatusCode::NOT_ACCEPTABLE => SurfaceCode::NotAcceptable,
        StatusCode::REQUEST_TIMEOUT => SurfaceCode::RequestTimeout,
        StatusCode::PAYLOAD_TOO_LARGE => SurfaceCode::PayloadTooLarge,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => SurfaceCode::UnsupportedMediaType,
        StatusCode::INTERNAL_SERVER_ERROR => SurfaceCode::Internal,
        _ => return None,
    })
}

/// Sees the answer to its end. One without an end of its own ends with the server.
pub(super) fn watch(answer: Response, record: Record, head: bool, closing: &CancellationToken) -> Response {
    let closing = (record::is_event_stream(&answer) && !head).then(|| closing.clone().cancelled_owned());
    answer.map(|body| Body::new(Measured::new(body, record, closing)))
}
