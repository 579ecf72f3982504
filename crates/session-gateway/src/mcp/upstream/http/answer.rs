//! Answers of servers, in bounded memory and judged by their heads first.

use bytes::{Bytes, BytesMut};
use futures::Stream;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, LOCATION};
use hyper::{Response, StatusCode, Uri};

use super::super::words;

pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
/// Longer than any session's id.
const MAX_SESSION: usize = 1 << 10;
/// What is read of an answer that says what went wrong.
const MAX_ERROR: usize = 64 << 10;

/// What an answer's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Json,
    Events,
    Other,
}

/// Reads the kind. What is compressed is something else: nobody asked for it.
pub(super) fn kind(headers: &HeaderMap) -> Kind {
    let plain = headers
        .get(CONTENT_ENCODING)
        .is_none_or(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
    let named = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let named = named.and_then(|value| value.split(';').next()).map(str::trim);
    match named {
        Some(name) if plain && name.eq_ignore_ascii_case("application/json") => Kind::Json,
        Some(name) if plain && name.eq_ignore_ascii_case("text/event-stream") => Kind::Events,
        _ => Kind::Other,
    }
}

/// The session's id, when the server gave one that can be sent back.
pub(super) fn session(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(SESSION)?.to_str().ok()?;
    (!id.is_empty() && id.len() <= MAX_SESSION).then(|| id.to_owned())
}

/// Which host a redirect leads to. A path may hold what was sent in a header or an address: a secret.
pub(super) fn redirect(response: &Response<Incoming>) -> Option<String> {
    let leads = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let location = response.headers().get(LOCATION).map(|value| value.as_bytes());
    let location = String::from_utf8_lossy(location.unwrap_or(b"nowhere")).into_owned();
    leads.then(|| words::one_line(&host(&location)))
}

fn host(location: &str) -> String {
    let Ok(uri) = location.parse::<Uri>() else {
        return "an address that is none".to_owned();
    };
    match (uri.scheme_str(), uri.host()) {
        (scheme, Some(host)) => {
            let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
            format!("{}://{host}{port}", scheme.unwrap_or("https"))
        }
        _ => "another place on the same host".to_owned(),
    }
}

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFault {
    TooLong,
    Broken,
}

/// A whole body of at most so many bytes.
pub(super) async fn whole(mut body: Incoming, most: usize) -> Result<Bytes, BodyFault> {
    if body.size_hint().lower() > most as u64 {
        return Err(BodyFault::TooLong);
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(|_| BodyFault::Broken)?.into_data() else {
            continue;
        };
        if whole.len() + piece.len() > most {
            return Err(BodyFault::TooLong);
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// What there is of a body that says what went wrong; it also frees the connection for others.
pub(super) async fn complaint(body: Incoming) -> Bytes {
    whole(body, MAX_ERROR).await.unwrap_or_default()
}

/// The pieces of a body.
pub(super) fn pieces(body: Incoming) -> impl Stream<Item = Result<Bytes, hyper::Error>> + Send {
    futures::stream::unfold(body, |mut body| async move {
        loop {
            match body.frame().await? {
                Ok(frame) => {
                    if let Ok(piece) = frame.into_data() {
                        return Some((Ok(piece), body));
                    }
                }
                Err(error) => return Some((Err(error), body)),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_from_the_head() {
        let kind_of = |fields: &[(HeaderName, &str)]| {
            let fields = fields
                .iter()
                .map(|(name, value)| (name.clone(), value.parse().unwrap()));
            kind(&fields.collect())
        };
        assert_eq!(
            kind_of(&[(CONTENT_TYPE, "application/json; charset=utf-8")]),
            Kind::Json
        );
        assert_eq!(kind_of(&[(CONTENT_TYPE, "Text/Event-Stream")]), Kind::Events);
        assert_eq!(kind_of(&[(CONTENT_TYPE, "application/jsonx")]), Kind::Other);
        assert_eq!(kind_of(&[]), Kind::Other);
        assert_eq!(
            kind_of(&[(CONTENT_TYPE, "application/json"), (CONTENT_ENCODING, "gzip")]),
            Kind::Other
        );
    }

    #[test]
    fn of_a_redirect_the_host_alone_is_told() {
        for (location, told) in [
            (
                "https://user:pass@docs.test:8443/secret/mcp?a=b#c",
                "https://docs.test:8443",
            ),
            ("https://docs.test/Bearer%20secret", "https://docs.test"),
            ("/secret", "another place on the same host"),
            ("secret", "https://secret"),
            ("\u{1b}secret secret", "an address that is none"),
        ] {
            assert_eq!(host(location), told, "{location}");
        }
    }

    #[test]
    fn ids_of_sessions_are_bounded() {
        let of = |value: &str| session(&HeaderMap::from_iter([(SESSION, value.parse().unwrap())]));
        assert_eq!(of("abc"), Some("abc".to_owned()));
        assert_eq!(of(""), None);
        assert_eq!(of(&"a".repeat(2000)), None);
    }
}
