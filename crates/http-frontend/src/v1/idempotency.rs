//! The key that makes a second request the same as the first: in the header that others know, or in the body.

use axum::http::HeaderMap;
use http_api::{SurfaceCode, headers};

use crate::problem::Failure;

/// The key of a request.
///
/// # Errors
/// 400 when header and body say different things, or the header is no text.
pub(crate) fn key(headers: &HeaderMap, body: Option<String>) -> Result<Option<String>, Failure> {
    let bad = |detail| Err(Failure::new(SurfaceCode::BadRequest, detail));
    let mut given = headers.get_all(headers::IDEMPOTENCY_KEY).iter();
    let (header, more) = (given.next(), given.next());
    if more.is_some() {
        return bad("the header `Idempotency-Key` stands there more than once");
    }
    let Some(header) = header else { return Ok(body) };
    let Ok(header) = header.to_str() else {
        return bad("the header `Idempotency-Key` is no visible ASCII");
    };
    if body.is_some_and(|body| body != header) {
        return bad("the header `Idempotency-Key` and the body's `idempotency_key` are different keys");
    }
    Ok(Some(header.to_owned()))
}
