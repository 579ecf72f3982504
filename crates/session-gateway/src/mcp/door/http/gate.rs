//! Who may come in: the session's own agent, over loopback, and no page of a browser that somebody opened inside.

use hyper::header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN};
use hyper::http::uri::Authority;
use hyper::{StatusCode, Uri};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

/// Names of the loopback interface, as they are compared.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Why somebody may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Host,
    Origin,
    Token,
}

impl Refusal {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Host | Self::Origin => StatusCode::FORBIDDEN,
            Self::Token => StatusCode::UNAUTHORIZED,
        }
    }

    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Host => "the Host is not loopback",
            Self::Origin => "pages of this Origin may not talk to this server",
            Self::Token => "the session's token is needed as a bearer token",
        }
    }
}

/// Whether a request may come in.
pub(super) fn admit(token: &SecretString, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    host(uri, headers)?;
    origin(headers)?;
    bearer(token, headers)
}

fn host(uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    let mut given = headers.get_all(HOST).iter();
    let host = match (given.next(), given.next()) {
        (Some(host), None) => host.to_str().ok().and_then(authority),
        (None, _) => uri.authority().map(normal),
        (Some(_), Some(_)) => None,
    };
    let host = host.ok_or(Refusal::Host)?;
    // An absolute request line names a host, too; two that differ are a trick.
    if uri.authority().is_some_and(|other| normal(other) != host) {
        return Err(Refusal::Host);
    }
    if LOOPBACK.contains(&host.0.as_str()) {
        Ok(())
    } else {
        Err(Refusal::Host)
    }
}

fn origin(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut given = headers.get_all(ORIGIN).iter();
    let Some(origin) = given.next() else { return Ok(()) };
    let origin = origin.to_str().map_err(|_| Refusal::Origin)?.to_ascii_lowercase();
    let named = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"))
        .and_then(authority);
    let ours = named.is_some_and(|(name, _)| LOOPBACK.contains(&name.as_str()));
    if given.next().is_none() && ours {
        Ok(())
    } else {
        Err(Refusal::Origin)
    }
}

fn bearer(token: &SecretString, headers: &HeaderMap) -> Result<(), Refusal> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (given.next(), given.next()) else {
        return Err(Refusal::Token);
    };
    let presented = match value.as_bytes().split_at_checked(7) {
        Some((scheme, presented)) if scheme.eq_ignore_ascii_case(b"bearer ") => presented,
        _ => return Err(Refusal::Token),
    };
    if bool::from(presented.ct_eq(token.expose_secret().as_bytes())) {
        Ok(())
    } else {
        Err(Refusal::Token)
    }
}

fn authority(text: &str) -> Option<(String, Option<u16>)> {
    Authority::try_from(text)
        .ok()
        .filter(|name| !name.as_str().contains('@'))
        .map(|name| normal(&name))
}

fn normal(authority: &Authority) -> (String, Option<u16>) {
    (authority.host().to_ascii_lowercase(), authority.port_u16())
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    const TOKEN: &str = "0123456789abcdef0123";
    const BEARER: (&str, &str) = ("authorization", "Bearer 0123456789abcdef0123");
    const HERE: (&str, &str) = ("host", "127.0.0.1:9103");

    fn judge(pairs: &[(&'static str, &str)]) -> Result<(), Refusal> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        admit(&TOKEN.into(), &Uri::from_static("/mcp"), &headers)
    }

    #[test]
    fn the_right_host_origin_and_token_come_in() {
        for host in ["localhost", "LOCALHOST:3001", "127.0.0.1:9", "[::1]:3001"] {
            assert_eq!(judge(&[("host", host), BEARER]), Ok(()), "{host}");
        }
        let lower = ("authorization", "bearer 0123456789abcdef0123");
        for origin in [
            "http://localhost:3000",
            "https://LOCALHOST",
            "http://127.0.0.1",
            "http://[::1]:80",
        ] {
            assert_eq!(judge(&[HERE, ("origin", origin), lower]), Ok(()), "{origin}");
        }
    }

    #[test]
    fn other_hosts_are_refused_also_with_the_token() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "user@localhost",
            "",
            "127.0.0.1.nip.io",
            "127.0.0.2",
            "0.0.0.0",
        ] {
            assert_eq!(judge(&[("host", host), BEARER]), Err(Refusal::Host), "{host}");
        }
        assert_eq!(judge(&[BEARER]), Err(Refusal::Host));
        assert_eq!(judge(&[HERE, HERE, BEARER]), Err(Refusal::Host));
        let mut headers = HeaderMap::new();
        headers.append("host", HeaderValue::from_static("localhost"));
        headers.append("authorization", HeaderValue::from_static(BEARER.1));
        let uri = Uri::from_static("http://evil.example/mcp");
        assert_eq!(admit(&TOKEN.into(), &uri, &headers), Err(Refusal::Host));
    }

    #[test]
    fn other_origins_are_refused_also_with_the_token() {
        for origin in [
            "null",
            "https://evil.example",
            "http://localhost.evil.example",
            "http://x@localhost",
            "http://localhost/x",
            "file://",
            "localhost",
        ] {
            let judged = judge(&[HERE, ("origin", origin), BEARER]);
            assert_eq!(judged, Err(Refusal::Origin), "{origin}");
        }
        let loopback = ("origin", "http://localhost");
        assert_eq!(judge(&[HERE, loopback, loopback, BEARER]), Err(Refusal::Origin));
    }

    #[test]
    fn nothing_but_the_token_is_the_token() {
        for wrong in [
            "Bearer ",
            "Bearer 0123456789abcdef012",
            "Bearer 0123456789abcdef01234",
            TOKEN,
            "Basic 0123456789abcdef0123",
        ] {
            assert_eq!(
                judge(&[HERE, ("authorization", wrong)]),
                Err(Refusal::Token),
                "{wrong}"
            );
        }
        assert_eq!(judge(&[HERE]), Err(Refusal::Token));
        assert_eq!(judge(&[HERE, BEARER, BEARER]), Err(Refusal::Token));
    }
}
