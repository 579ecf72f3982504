//! Bearer tokens in requests.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

/// The one token that a request presents.
pub(super) fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (given.next(), given.next()) else {
        return None;
    };
    match value.as_bytes().split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => Some(token),
        _ => None,
    }
}
