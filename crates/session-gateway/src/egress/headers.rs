//! Which header fields of plain HTTP pass, in each direction.

use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, EXPECT, HOST, HeaderMap,
    HeaderName, HeaderValue, IF_RANGE, LOCATION, RANGE, SET_COOKIE,
};

use super::target::Host;

/// Fields of one connection, not of the message (RFC 9110, 7.6.1), and those between a client and its proxy.
const HOP_BY_HOP: [&str; 11] = [
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
    "http2-settings",
];

/// The fields of a request as they go to the host. The length is written anew for the body as it is sent, and `Host` is
/// the name that was judged, whatever the client wrote there.
pub(crate) fn to_host(headers: &mut HeaderMap, host: &Host, port: u16, default_port: u16) {
    strip(headers);
    headers.remove(CONTENT_LENGTH);
    // Answered here.
    headers.remove(EXPECT);
    let text = if port == default_port {
        host.as_str().to_owned()
    } else {
        format!("{}:{port}", host.as_str())
    };
    // A host that passed is ASCII.
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.insert(HOST, value);
    }
}

/// The fields of a response as they go to the session.
pub(crate) fn to_session(headers: &mut HeaderMap) {
    strip(headers);
}

/// What else ends here where the door stands in for the client: what the session would authenticate itself with.
pub(crate) fn without_authorization(headers: &mut HeaderMap) {
    headers.remove(AUTHORIZATION);
}

/// Asks for answers that can be searched for the credential: as they are, and whole, since a part of one may hold a
/// part of it.
pub(crate) fn ask_unencoded(headers: &mut HeaderMap) {
    headers.remove(RANGE);
    headers.remove(IF_RANGE);
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}

/// Whether an answer can be searched.
pub(crate) fn is_unencoded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    codings.all(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}

/// What a host that got the credential may not give the session: a cookie stands for whoever showed the credential.
pub(crate) fn without_state(headers: &mut HeaderMap) {
    headers.remove(SET_COOKIE);
    headers.remove(AUTHORIZATION);
}

/// A redirect to the same host comes back to the door, where its credential is, instead of going past it.
pub(crate) fn lead_back(headers: &mut HeaderMap, host: &Host, port: u16) {
    let Some(location) = headers.get(LOCATION).and_then(|value| value.to_str().ok()) else {
        return;
    };
    let Some(rest) = strip_https(location) else { return };
    let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (name, its_port) = match authority.rsplit_once(':') {
        Some((name, text)) => (name, text.parse().ok()),
        None => (authority, Some(443)),
    };
    if its_port != Some(port) || !name.eq_ignore_ascii_case(host.as_str()) {
        return;
    }
    let host = host.as_str();
    let plain = if port == 443 {
        format!("http://{host}{rest}")
    } else {
        format!("http://{host}:{port}{rest}")
    };
    if let Ok(value) = HeaderValue::from_str(&plain) {
        headers.insert(LOCATION, value);
    }
}

fn strip_https(location: &str) -> Option<&str> {
    let (scheme, rest) = location.split_at_checked("https://".len())?;
    scheme.eq_ignore_ascii_case("https://").then_some(rest)
}

fn strip(headers: &mut HeaderMap) {
    for name in named_in_connection(headers) {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

fn named_in_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).iter();
    let names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    names
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        // Framing is ours to write; a response keeps its length.
        .filter(|name| *name != CONTENT_LENGTH)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        headers
    }

    #[test]
    fn requests_lose_what_is_between_a_client_and_its_proxy() {
        let mut headers = map(&[
            ("host", "evil.example"),
            ("accept", "*/*"),
            ("authorization", "Bearer own"),
            ("proxy-authorization", "Basic x"),
            ("proxy-connection", "keep-alive"),
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
        ]);
        to_host(&mut headers, &Host::read("example.com").unwrap(), 80, 80);
        let kept = map(&[
            ("accept", "*/*"),
            ("authorization", "Bearer own"),
            ("host", "example.com"),
        ]);
        assert_eq!(headers, kept);
        to_host(&mut headers, &Host::read("example.com").unwrap(), 8080, 80);
        assert_eq!(headers[HOST], "example.com:8080");
    }

    #[test]
    fn responses_lose_the_connection_and_keep_the_rest() {
        let mut headers = map(&[
            ("connection", "x-hop, content-length, , b@d"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("content-length", "5"),
            ("location", "https://elsewhere.example/"),
            ("set-cookie", "a=b"),
        ]);
        to_session(&mut headers);
        let kept = [
            ("content-length", "5"),
            ("location", "https://elsewhere.example/"),
            ("set-cookie", "a=b"),
        ];
        assert_eq!(headers, map(&kept));
    }

    #[test]
    fn redirects_to_the_same_host_lead_back() {
        let host = Host::read("git.example").unwrap();
        for (port, from, to) in [
            (443, "https://git.example/new?x=1", "http://git.example/new?x=1"),
            (443, "HTTPS://Git.Example:443/new", "http://git.example/new"),
            (443, "https://git.example", "http://git.example"),
            (8443, "https://git.example:8443/a", "http://git.example:8443/a"),
            (443, "https://git.example:8443/a", "https://git.example:8443/a"),
            (443, "https://git.example.evil/a", "https://git.example.evil/a"),
            (
                443,
                "https://git.example@evil.example/a",
                "https://git.example@evil.example/a",
            ),
            (443, "/relative", "/relative"),
            (443, "http://git.example/a", "http://git.example/a"),
        ] {
            let mut headers = map(&[("location", from)]);
            lead_back(&mut headers, &host, port);
            assert_eq!(headers[LOCATION], to, "{from}");
        }
    }

    #[test]
    fn only_identity_is_unencoded() {
        assert!(is_unencoded(&map(&[])));
        assert!(is_unencoded(&map(&[("content-encoding", " Identity")])));
        assert!(!is_unencoded(&map(&[("content-encoding", "gzip")])));
    }
}
