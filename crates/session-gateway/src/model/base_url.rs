//! A provider's address.
//!
//! It is the operator's. A request from inside a session never changes host, port, scheme or prefix: its path and query are
//! appended to this URL and that is all it contributes.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use hyper::Uri;
use hyper::http::uri::{Authority, InvalidUri, PathAndQuery, Scheme};

use crate::error::{GatewayError, GatewayErrorKind};

/// The vendor's address, used when the operator names no other.
const VENDOR: &str = "https://api.anthropic.com";

/// The provider's address: `https`, or `http` on loopback, with an optional path prefix.
///
/// A credential goes to this address, so plain `http` to anywhere but this machine is refused, and so is a URL that
/// carries a user, a query or a fragment.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl {
    scheme: Scheme,
    authority: Authority,
    /// Empty, or starts with `/` and does not end with it.
    prefix: String,
}

impl BaseUrl {
    /// The same without this end of its path, which other programs want in it.
    #[must_use]
    pub(crate) fn without(mut self, suffix: &str) -> Self {
        if let Some(prefix) = self.prefix.strip_suffix(suffix) {
            self.prefix = prefix.to_owned();
        }
        self
    }

    /// The full address of a path (and query) that the policy has let pass.
    pub(crate) fn join(&self, path_and_query: &str) -> Result<Uri, hyper::http::Error> {
        let joined = PathAndQuery::from_maybe_shared(format!("{}{path_and_query}", self.prefix))?;
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(joined)
            .build()
    }
}

impl Default for BaseUrl {
    fn default() -> Self {
        let uri = Uri::from_static(VENDOR);
        let authority = uri
            .authority()
            .cloned()
            .unwrap_or_else(|| Authority::from_static("api.anthropic.com"));
        Self {
            scheme: Scheme::HTTPS,
            authority,
            prefix: String::new(),
        }
    }
}

impl FromStr for BaseUrl {
    type Err = GatewayError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The rejected text is not repeated: a URL with `user:password@` in it is one of the things rejected.
        let refuse = |message: &'static str| {
            GatewayError::new(
                GatewayErrorKind::InvalidBaseUrl,
                "read the model provider's base URL",
                message,
            )
            .with_hint("give an address such as https://api.anthropic.com, or http://127.0.0.1:PORT")
        };
        let text = text.trim();
        if text.contains('#') {
            return Err(refuse("it has a fragment"));
        }
        let uri: Uri = text
            .parse()
            .map_err(|error: InvalidUri| refuse("it is not a URL").with_source(error))?;
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(refuse("it is not an absolute URL"));
        };
        if authority.as_str().contains('@') {
            return Err(refuse("it has a user in it"));
        }
        if scheme != Scheme::HTTPS && scheme != Scheme::HTTP {
            return Err(refuse("its scheme is neither https nor http"));
        }
        if scheme == Scheme::HTTP && !is_loopback(authority.host()) {
            return Err(refuse(
                "plain http to another machine would send the key in clear",
            ));
        }
        let path = parts
            .path_and_query
            .unwrap_or_else(|| PathAndQuery::from_static("/"));
        if path.query().is_some() {
            return Err(refuse("it has a query"));
        }
        let prefix = path.path().trim_end_matches('/');
        if prefix.contains("//") || prefix.contains('%') || prefix.split('/').any(|s| s == "." || s == "..") {
            return Err(refuse("its path has an empty, dotted or escaped segment"));
        }
        Ok(Self {
            scheme,
            authority,
            prefix: prefix.to_owned(),
        })
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.prefix)
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_https_anywhere_and_http_on_loopback() {
        for (text, shown) in [
            ("https://api.anthropic.com", "https://api.anthropic.com"),
            (
                "https://gate.example.com:8443/anthropic/",
                "https://gate.example.com:8443/anthropic",
            ),
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
            ("http://[::1]:9000/a/b", "http://[::1]:9000/a/b"),
            (" http://localhost:1\n", "http://localhost:1"),
        ] {
            assert_eq!(text.parse::<BaseUrl>().unwrap().to_string(), shown);
        }
        assert_eq!(BaseUrl::default().to_string(), VENDOR);
    }

    #[test]
    fn refuses_what_would_leak_or_confuse() {
        for text in [
            "",
            "api.anthropic.com",
            "/v1",
            "ftp://example.com",
            "http://example.com",
            "http://10.0.0.1",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "https://user:canary@example.com",
            "https://example.com/?a=b",
            "https://example.com/#x",
            "https://example.com/a/../b",
            "https://example.com/a//b",
            "https://example.com/%2e",
        ] {
            let error = text.parse::<BaseUrl>().unwrap_err();
            assert_eq!(error.kind(), GatewayErrorKind::InvalidBaseUrl, "{text}");
            assert!(!format!("{error} {error:?}").contains("canary"));
        }
    }

    #[test]
    fn joins_below_the_prefix() {
        let base: BaseUrl = "https://gate.example.com/anthropic".parse().unwrap();
        let uri = base.join("/v1/messages?beta=true").unwrap();
        assert_eq!(uri, "https://gate.example.com/anthropic/v1/messages?beta=true");
    }
}
