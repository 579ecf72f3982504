//! Who may come in.

use hyper::header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN};
use hyper::http::uri::Authority;
use hyper::{StatusCode, Uri};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::HttpOptions;

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
            Self::Host => "the Host is not one of this server's names",
            Self::Origin => "pages of this Origin may not talk to this server",
            Self::Token => "a bearer token is needed",
        }
    }
}

/// A host and its port.
type Named = (String, Option<u16>);

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    token: SecretString,
    hosts: Vec<Named>,
    origins: Vec<String>,
}

impl Gate {
    pub(super) fn new(options: &HttpOptions) -> Self {
        let hosts = options
            .allowed_hosts
            .iter()
            .filter_map(|host| authority(host.trim()));
        let origins = options
            .allowed_origins
            .iter()
            .map(|origin| origin.trim().to_ascii_lowercase());
        Self {
            token: options.token.clone(),
            hosts: hosts.collect(),
            origins: origins.collect(),
        }
    }

    pub(super) fn admit(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let host = self.host(uri, headers)?;
        self.origin(&host, headers)?;
        self.token(headers)
    }

    fn host(&self, uri: &Uri, headers: &HeaderMap) -> Result<Named, Refusal> {
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
        let known = |(name, port): &Named| *name == host.0 && port.is_none_or(|port| host.1 == Some(port));
        if self.hosts.iter().any(known) {
            Ok(host)
        } else {
            Err(Refusal::Host)
        }
    }

    /// Pages that were allowed may talk to us, and those of this very server: a name and port that we are known by.
    fn origin(&self, host: &Named, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut given = headers.get_all(ORIGIN).iter();
        let Some(origin) = given.next() else { return Ok(()) };
        let origin = origin.to_str().map_err(|_| Refusal::Origin)?.to_ascii_lowercase();
        let ours = origin
            .strip_prefix("http://")
            .and_then(authority)
            .is_some_and(|named| named == *host);
        if given.next().is_none() && (ours || self.origins.contains(&origin)) {
            return Ok(());
        }
        Err(Refusal::Origin)
    }

    fn token(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (given.next(), given.next()) else {
            return Err(Refusal::Token);
        };
        let value = value.as_bytes();
        let token = match value.split_at_checked(7) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token,
            _ => return Err(Refusal::Token),
        };
        if bool::from(token.ct_eq(self.token.expose_secret().as_bytes())) {
            Ok(())
        } else {
            Err(Refusal::Token)
        }
    }
}

fn authority(text: &str) -> Option<Named> {
    Authority::try_from(text)
        .ok()
        .filter(|name| !name.as_str().contains('@'))
        .map(|name| normal(&name))
}

fn normal(authority: &Authority) -> Named {
    (authority.host().to_ascii_lowercase(), authority.port_u16())
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    const TOKEN: &str = "0123456789abcdef0123";

    fn gate() -> Gate {
        let mut options = HttpOptions::new(TOKEN.into());
        options.allowed_origins = vec!["https://app.example:8443".into()];
        options.allowed_hosts.push("mcp.example:3001".into());
        Gate::new(&options)
    }

    fn judge(pairs: &[(&'static str, &str)]) -> Result<(), Refusal> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        gate().admit(&Uri::from_static("/mcp"), &headers)
    }

    #[test]
    fn the_right_host_origin_and_token_come_in() {
        let bearer = format!("Bearer {TOKEN}");
        for host in [
            "localhost",
            "LOCALHOST:3001",
            "127.0.0.1:9",
            "[::1]:3001",
            "mcp.example:3001",
        ] {
            assert_eq!(
                judge(&[("host", host), ("authorization", &bearer)]),
                Ok(()),
                "{host}"
            );
        }
        let lower = format!("bearer {TOKEN}");
        assert_eq!(
            judge(&[
                ("host", "localhost"),
                ("origin", "https://APP.example:8443"),
                ("authorization", &lower)
            ]),
            Ok(())
        );
    }

    #[test]
    fn other_hosts_are_refused_also_with_the_token() {
        let bearer = format!("Bearer {TOKEN}");
        for host in [
            "evil.example",
            "localhost.evil.example",
            "mcp.example",
            "mcp.example:1",
            "user@localhost",
            "",
            "127.0.0.1.nip.io",
        ] {
            assert_eq!(
                judge(&[("host", host), ("authorization", &bearer)]),
                Err(Refusal::Host),
                "{host}"
            );
        }
        assert_eq!(judge(&[("authorization", &bearer)]), Err(Refusal::Host));
        assert_eq!(
            judge(&[
                ("host", "localhost"),
                ("host", "localhost"),
                ("authorization", &bearer)
            ]),
            Err(Refusal::Host)
        );
    }

    #[test]
    fn other_origins_are_refused_also_with_the_token() {
        let bearer = format!("Bearer {TOKEN}");
        for origin in [
            "null",
            "https://app.example",
            "http://app.example:8443",
            "https://evil.example",
            "http://localhost:1",
        ] {
            let judged = judge(&[
                ("host", "localhost"),
                ("origin", origin),
                ("authorization", &bearer),
            ]);
            assert_eq!(judged, Err(Refusal::Origin), "{origin}");
        }
    }

    #[test]
    fn a_page_of_this_server_may_come_and_one_beside_it_may_not() {
        let bearer = format!("Bearer {TOKEN}");
        let from = |origin| {
            judge(&[
                ("host", "localhost:3001"),
                ("origin", origin),
                ("authorization", &bearer),
            ])
        };
        assert_eq!(from("http://localhost:3001"), Ok(()));
        for other in [
            "http://localhost:3002",
            "http://localhost",
            "http://127.0.0.1:3001",
            "https://localhost:3001",
            "http://x@localhost:3001",
            "http://localhost:3001/x",
        ] {
            assert_eq!(from(other), Err(Refusal::Origin), "{other}");
        }
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
                judge(&[("host", "localhost"), ("authorization", wrong)]),
                Err(Refusal::Token),
                "{wrong}"
            );
        }
        assert_eq!(judge(&[("host", "localhost")]), Err(Refusal::Token));
        let bearer = format!("Bearer {TOKEN}");
        let twice = judge(&[
            ("host", "localhost"),
            ("authorization", &bearer),
            ("authorization", &bearer),
        ]);
        assert_eq!(twice, Err(Refusal::Token));
    }
}
