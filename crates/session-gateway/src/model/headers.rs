//! Which header fields pass, in each direction. Everything passes that is not named here, `anthropic-beta` and
//! fields that do not exist yet among them.

use hyper::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue};

use super::dialect::Dialect;
use super::redact::Needle;

/// Fields of one connection, not of the message (RFC 9110, 7.6.1), and those of proxies.
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fields of a request that end here: ours to set (host, length, credential, coding), answered here (`expect`), or able
/// to make a proxy after us read another method, path or sender than we did.
const NOT_TO_UPSTREAM: [&str; 19] = [
    "accept-encoding",
    "authorization",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "x-api-key",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
];

/// Fields of a response that end here: state or credentials of the host's relation with the provider, and directions to
/// go elsewhere, which a session cannot.
const NOT_TO_SESSION: [&str; 7] = [
    "alt-svc",
    "authorization",
    "location",
    "refresh",
    "set-cookie",
    "strict-transport-security",
    "x-api-key",
];

/// Beginnings of fields that steer a cloud's own services: signatures, tokens, whom to bill. Those of Bedrock's own
/// features (`x-amzn-bedrock-…`) are the session's business.
const CLOUD_PREFIXES: [&str; 3] = ["x-amz-", "x-amzn-trace", "x-goog-"];

/// The fields of a request as they go to the upstream, still without a credential.
pub(crate) fn to_upstream(mut headers: HeaderMap, dialect: Dialect) -> HeaderMap {
    strip(&mut headers, &NOT_TO_UPSTREAM);
    if dialect != Dialect::Messages {
        let steers = |name: &&HeaderName| {
            CLOUD_PREFIXES
                .iter()
                .any(|prefix| name.as_str().starts_with(prefix))
        };
        let steering: Vec<_> = headers.keys().filter(steers).cloned().collect();
        for name in steering {
            headers.remove(name);
        }
    }
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers
}

/// The fields of a response as they go to the session. A value that holds the key has it masked.
pub(crate) fn to_session(mut headers: HeaderMap, needle: &Needle) -> HeaderMap {
    strip(&mut headers, &NOT_TO_SESSION);
    for value in headers.values_mut() {
        if let Some(masked) = needle.masked(value.as_bytes()) {
            *value = HeaderValue::from_bytes(&masked).unwrap_or_else(|_| HeaderValue::from_static(""));
        }
    }
    headers
}

/// Whether a response's body can be read as it is.
pub(crate) fn is_unencoded(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(CONTENT_ENCODING).iter();
    codings
        .into_iter()
        .all(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}

fn strip(headers: &mut HeaderMap, also: &[&str]) {
    for name in named_in_connection(headers) {
        headers.remove(name);
    }
    for name in HOP_BY_HOP.iter().chain(also) {
        headers.remove(*name);
    }
}

fn named_in_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).iter();
    let names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    names
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&str, &str)| {
            (
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            )
        };
        let mut headers = HeaderMap::new();
        for (name, value) in fields.iter().map(field) {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn requests_keep_what_the_provider_needs() {
        let kept = [
            ("anthropic-version", "2023-06-01"),
            ("anthropic-beta", "a,b"),
            ("anthropic-beta", "c"),
            ("content-type", "application/json"),
            ("user-agent", "claude-cli"),
            ("x-stainless-retry-count", "0"),
            ("x-of-tomorrow", "1"),
        ];
        let mut sent = kept.to_vec();
        sent.extend([
            ("host", "127.0.0.1"),
            ("x-api-key", "token"),
            ("authorization", "Bearer token"),
            ("connection", "keep-alive, x-hop"),
            ("connection", "X-Other-Hop"),
            ("x-hop", "1"),
            ("x-other-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("content-length", "3"),
            ("expect", "100-continue"),
            ("accept-encoding", "gzip, br"),
            ("x-forwarded-host", "evil"),
            ("x-http-method-override", "DELETE"),
        ]);
        let mut expected = map(&kept);
        expected.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        assert_eq!(to_upstream(map(&sent), Dialect::Messages), expected);
    }

    #[test]
    fn connection_cannot_bring_a_field_back() {
        let headers = map(&[("connection", "accept-encoding, x-api-key, , b@d, close")]);
        let headers = to_upstream(headers, Dialect::Messages);
        assert_eq!(headers, map(&[("accept-encoding", "identity")]));
    }

    #[test]
    fn what_steers_a_cloud_is_not_the_session_s_to_send() {
        let sent = map(&[
            ("x-amz-date", "20200101T000000Z"),
            ("x-amz-security-token", "theirs"),
            ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
            ("x-amzn-trace-id", "root"),
            ("x-goog-user-project", "somebody-else"),
            ("x-goog-api-key", "theirs"),
            ("x-amzn-bedrock-guardrailidentifier", "kept"),
            ("anthropic-beta", "kept"),
        ]);
        let kept = map(&[
            ("x-amzn-bedrock-guardrailidentifier", "kept"),
            ("anthropic-beta", "kept"),
            ("accept-encoding", "identity"),
        ]);
        for dialect in [Dialect::Bedrock, Dialect::Vertex] {
            assert_eq!(to_upstream(sent.clone(), dialect), kept);
        }
    }

    #[test]
    fn responses_lose_state_and_the_key() {
        let headers = map(&[
            ("request-id", "req_1"),
            ("content-length", "10"),
            ("x-debug", "key=sk-canary-key!"),
            ("set-cookie", "a=b"),
            ("location", "https://elsewhere"),
            ("connection", "close"),
        ]);
        let expected = map(&[
            ("request-id", "req_1"),
            ("content-length", "10"),
            ("x-debug", "key=*************!"),
        ]);
        assert_eq!(to_session(headers, &Needle::new(b"sk-canary-key")), expected);
    }

    #[test]
    fn only_identity_is_unencoded() {
        assert!(is_unencoded(&HeaderMap::new()));
        assert!(is_unencoded(&map(&[("content-encoding", "Identity")])));
        assert!(!is_unencoded(&map(&[("content-encoding", "gzip")])));
        assert!(!is_unencoded(&map(&[
            ("content-encoding", "identity"),
            ("content-encoding", "br")
        ])));
    }
}
