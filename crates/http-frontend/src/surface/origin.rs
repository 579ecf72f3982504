//! Pages of browsers: which may talk to the server, and how they ask.

use axum::body::Body;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use axum::response::Response;

use super::names::{self, Named};
use super::refusal::Refusal;

const METHODS: &str = "GET, POST, PUT, DELETE";
const HEADERS: &str = "authorization, content-type, idempotency-key, last-event-id, prefer, x-request-id, \
mcp-session-id, mcp-protocol-version";
const EXPOSED: &str = "location, retry-after, ratelimit-limit, ratelimit-policy, ratelimit-remaining, ratelimit-reset, \
x-request-id, mcp-session-id, preference-applied";
const MAX_AGE: &str = "600";

/// The pages that were allowed by name.
pub(super) struct Origins(Vec<String>);

impl Origins {
    pub(super) fn new(allowed: &[String]) -> Self {
        let normal = |origin: &String| origin.trim().trim_end_matches('/').to_ascii_lowercase();
        Self(allowed.iter().map(normal).collect())
    }

    /// Refuses requests of pages that were not allowed and are not this server's own, addressed as `host`; with `schemes`
    /// a page of its own could have come.
    pub(super) fn judge(&self, host: &Named, schemes: &[&str], headers: &HeaderMap) -> Result<(), Refusal> {
        let mut given = headers.get_all(ORIGIN).iter();
        let Some(origin) = given.next() else {
            return without_origin(headers);
        };
        let origin = origin.to_str().map_err(|_| Refusal::Origin)?.to_ascii_lowercase();
        let ours = origin.split_once("://").is_some_and(|(scheme, name)| {
            schemes.contains(&scheme) && names::authority(name).is_some_and(|named| named == *host)
        });
        if given.next().is_none() && (ours || self.0.contains(&origin)) {
            Ok(())
        } else {
            Err(Refusal::Origin)
        }
    }

    /// The value of `Origin`, if it is one that was allowed by name: answers name it.
    pub(super) fn to_name(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        let text = origin.to_str().ok()?.to_ascii_lowercase();
        self.0.contains(&text).then(|| origin.clone())
    }
}

/// A browser does not always say which page it acts for, but whether that is one of the same site.
fn without_origin(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        None | Some(b"none" | b"same-origin") => Ok(()),
        Some(_) => Err(Refusal::Origin),
    }
}

/// The answer to a browser that asks whether a page may ask, if this is such a question. Who asks was judged before.
pub(super) fn preflight(request: &Request<Body>) -> Option<Response> {
    let headers = request.headers();
    if *request.method() != Method::OPTIONS
        || !headers.contains_key(ORIGIN)
        || !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
    {
        return None;
    }
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(HEADERS));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
    Some(answer)
}

/// Lets a page that was allowed by name read the answer.
pub(super) fn let_read(headers: &mut HeaderMap, origin: Option<HeaderValue>) {
    headers.append(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
}
