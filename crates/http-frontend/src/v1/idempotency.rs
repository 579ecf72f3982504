//! The key that makes a second request the same as the first: in the header that others know, or in the body.

use axum::http::HeaderMap;
use http_api::{SurfaceCode, headers};
use session_core::policy::limits::validate_idempotency_key;

use crate::problem::Failure;

/// The key of a request; that of the header goes before that of the body.
///
/// # Errors
/// 400 when the header is no text, or the body's key is none.
pub(crate) fn key(headers: &HeaderMap, body: Option<String>) -> Result<Option<String>, Failure> {
    let bad = |detail| Err(Failure::new(SurfaceCode::BadRequest, detail));
    let mut given = headers.get_all(headers::IDEMPOTENCY_KEY).iter();
    let (header, more) = (given.next(), given.next());
    if more.is_some() {
        return bad("the header `Idempotency-Key` stands there more than once");
    }
    // Also one that is not used has to be one.
    body.as_deref().map_or(Ok(()), validate_idempotency_key)?;
    let Some(header) = header else { return Ok(body) };
    let Ok(header) = header.to_str() else {
        return bad("the header `Idempotency-Key` is no visible ASCII");
    };
    Ok(Some(header.to_owned()))
}
