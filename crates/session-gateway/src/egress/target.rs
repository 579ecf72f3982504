//! What a request asks for, read in one way only.
//!
//! Two programs that read the same host differently are how allow-lists are passed by, so a host is normalised here once
//! and only what comes out is judged, resolved, dialled, and written into `Host`. What could be read in two ways, or is
//! an address in any spelling, is refused.

use hyper::http::uri::{PathAndQuery, Scheme};
use hyper::{Method, Uri};
use session_core::egress::{HostPattern, HostRule};

/// The longest host of a request that is shown to anybody.
const MAX_SHOWN: usize = 253;

/// A host name in lower case, without a trailing dot, that no reader takes for an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Host(String);

/// Why a host was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HostFault {
    /// It has two readings or none.
    Malformed,
    /// It is an address, in whatever spelling.
    Address,
}

impl Host {
    /// # Errors
    /// Whatever is no plain name. One trailing dot is taken off, and the name without it is the one that is dialled.
    pub(crate) fn read(text: &str) -> Result<Self, HostFault> {
        let lower = text.to_ascii_lowercase();
        let name = lower.strip_suffix('.').unwrap_or(&lower);
        if is_address(name) {
            return Err(HostFault::Address);
        }
        // The grammar of names is that of rules, so that whatever passes here can be named by one.
        match HostRule::exact(name, 443).map(|rule| rule.host().clone()) {
            Ok(HostPattern::Exact(name)) => Ok(Self(name)),
            _ => Err(HostFault::Malformed),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether some reader takes the text for an address: `inet_aton` and URL parsers take anything whose last part is a
/// number, be it decimal, octal or hexadecimal, and fewer than four parts.
fn is_address(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    let numeric = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    name.contains([':', '[', ']']) || numeric || last.starts_with("0x")
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: Host,
    pub(crate) port: u16,
    pub(crate) kind: TargetKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TargetKind {
    /// Bytes both ways.
    Tunnel,
    /// One request over plain HTTP, for this path and query.
    Plain(PathAndQuery),
}

/// Why there is no target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TargetFault {
    /// The request is none for a proxy.
    NotForAProxy(&'static str),
    /// The host cannot be judged. Its text is escaped and cut.
    Host {
        shown: String,
        port: u16,
        fault: HostFault,
    },
}

/// Reads the target of a request.
pub(crate) fn read(method: &Method, uri: &Uri) -> Result<Target, TargetFault> {
    let Some(authority) = uri.authority() else {
        return Err(TargetFault::NotForAProxy(
            "this is a proxy: ask for `CONNECT host:port` or for an absolute `http://` address",
        ));
    };
    let connect = *method == Method::CONNECT;
    if !connect && uri.scheme() != Some(&Scheme::HTTP) {
        return Err(TargetFault::NotForAProxy(
            "absolute addresses are taken for `http://` only; use CONNECT for everything else",
        ));
    }
    let (host, port) = split(authority.as_str());
    let port = match port {
        Some(text) => port_of(text),
        None if connect => None,
        None => Some(80),
    };
    let Some(port) = port else {
        return Err(TargetFault::NotForAProxy("the port is no number from 1 to 65535"));
    };
    let host = Host::read(host).map_err(|fault| TargetFault::Host {
        shown: shown(host),
        port,
        fault,
    })?;
    let kind = if connect {
        TargetKind::Tunnel
    } else {
        let path = uri.path_and_query().cloned();
        TargetKind::Plain(path.unwrap_or_else(|| PathAndQuery::from_static("/")))
    };
    Ok(Target { host, port, kind })
}

/// Host and port of an authority. User information stays with the host, which is refused for it.
fn split(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        // The last colon of `[::1]` is part of the address.
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn port_of(text: &str) -> Option<u16> {
    let digits = text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .filter(|port| *port != 0)
}

/// A hostile host for people to read: escaped, cut, and without what stands before an `@`, which may be a password.
fn shown(host: &str) -> String {
    let host = host.rsplit('@').next().unwrap_or(host);
    let mut shown = String::new();
    for piece in host.chars().map(char::escape_default) {
        if shown.len() + piece.len() > MAX_SHOWN {
            break;
        }
        shown.extend(piece);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::IpAddr;

    fn connect(authority: &str) -> Result<Target, TargetFault> {
        let uri = Uri::try_from(authority);
        uri.map_err(|_| TargetFault::NotForAProxy("no URI"))
            .and_then(|uri| read(&Method::CONNECT, &uri))
    }

    #[test]
    fn one_name_has_one_spelling() {
        for text in ["example.com", "EXAMPLE.com", "example.com.", "Example.Com."] {
            assert_eq!(Host::read(text).unwrap().as_str(), "example.com", "{text}");
        }
        assert_eq!(
            Host::read("XN--bcher-kva.example").unwrap().as_str(),
            "xn--bcher-kva.example"
        );
        assert_eq!(
            Host::read("under_score.example").unwrap().as_str(),
            "under_score.example"
        );
    }

    #[test]
    fn what_has_two_readings_is_refused() {
        for text in [
            "",
            ".",
            "..",
            "example.com..",
            ".example.com",
            "a..example.com",
            "exa\0mple.com",
            "example.com\0.evil.example",
            "good.example@evil.example",
            "good.example%00.evil.example",
            "good.example%2eevil.example",
            "bücher.example",
            "exаmple.com", // a Cyrillic letter
            "ex。ample.com",
            "good.example/evil.example",
            "good.example\\evil.example",
            "good.example#evil",
            "good.example?evil",
            "good.example evil",
            "good.example\r\nhost evil",
            "-a.example",
            "a-.example",
            "*.example.com",
        ] {
            assert_eq!(Host::read(text), Err(HostFault::Malformed), "{text:?}");
        }
        let long = format!("{}.example", "a.".repeat(130));
        assert_eq!(Host::read(&long), Err(HostFault::Malformed));
    }

    #[test]
    fn addresses_in_every_spelling_are_refused() {
        for text in [
            "127.0.0.1",
            "127.0.0.1.",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0X7F.1",
            "0177.0.0.1",
            "1.2.3.0X7f",
            "127.0.0.0x1",
            "example.com.1",
            "[::1]",
            "::1",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[fe80::1%25eth0]",
            "8.8.8.8",
        ] {
            assert_eq!(Host::read(text), Err(HostFault::Address), "{text:?}");
        }
    }

    #[test]
    fn targets_are_read_in_the_two_forms_of_a_proxy() {
        let target = connect("Example.com:0443").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("example.com", 443));
        assert_eq!(target.kind, TargetKind::Tunnel);
        let uri = Uri::from_static("http://example.com/a?b=c");
        let target = read(&Method::GET, &uri).unwrap();
        assert_eq!((target.host.as_str(), target.port), ("example.com", 80));
        assert_eq!(
            target.kind,
            TargetKind::Plain(PathAndQuery::from_static("/a?b=c"))
        );
        let uri = Uri::from_static("http://example.com:8080");
        let target = read(&Method::OPTIONS, &uri).unwrap();
        assert_eq!(
            (target.port, target.kind),
            (8080, TargetKind::Plain(PathAndQuery::from_static("/")))
        );
    }

    #[test]
    fn anything_else_is_no_target() {
        for authority in [
            "example.com",
            "example.com:",
            "example.com:0",
            "example.com:65536",
            "example.com:+1",
        ] {
            assert!(
                matches!(connect(authority), Err(TargetFault::NotForAProxy(_))),
                "{authority}"
            );
        }
        for uri in [
            "/",
            "*",
            "https://example.com/",
            "ftp://example.com/",
            "http://example.com:99999/",
        ] {
            let Ok(uri) = Uri::try_from(uri) else { continue };
            assert!(
                matches!(read(&Method::GET, &uri), Err(TargetFault::NotForAProxy(_))),
                "{uri}"
            );
        }
    }

    #[test]
    fn what_is_shown_of_a_hostile_host_is_short_and_holds_no_password() {
        assert_eq!(shown("user:secret@evil.example"), "evil.example");
        assert_eq!(shown("a\r\nb\u{1b}[2J"), "a\\r\\nb\\u{1b}[2J");
        assert!(shown(&"\u{1F600}".repeat(1000)).len() <= MAX_SHOWN);
    }

    proptest! {
        /// Whatever passes is the text itself but for case and one dot, can be named by a rule, and is no address.
        #[test]
        fn every_host_that_passes_is_dialled_under_exactly_that_name(
            text in prop_oneof![
                "[ -~]{0,40}",
                "\\PC{0,20}",
                "([a-zA-Z0-9_-]{1,8}\\.){0,4}[a-zA-Z0-9_-]{1,8}\\.{0,2}",
                "(0[xX])?[0-9a-fA-F]{1,9}(\\.(0[xX])?[0-9a-fA-F]{1,4}){0,3}\\.?",
            ]
        ) {
            let Ok(host) = Host::read(&text) else { return Ok(()) };
            let host = host.as_str();
            prop_assert_eq!(host, text.strip_suffix('.').unwrap_or(&text).to_ascii_lowercase());
            prop_assert!(host.parse::<IpAddr>().is_err());
            prop_assert!(HostRule::exact(host, 1).unwrap().matches(host, 1));
            let last = host.rsplit('.').next().unwrap();
            let hex = last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
            prop_assert!(!hex && !last.bytes().all(|byte| byte.is_ascii_digit()));
            prop_assert_eq!(Host::read(host).map(|again| again.0), Ok(host.to_owned()));
        }

        /// A URL leads to the host that stands in it or nowhere.
        #[test]
        fn a_url_leads_to_the_host_that_stands_in_it(
            user in prop_oneof![Just(String::new()), "[a-z:.]{1,12}@"],
            host in "[a-zA-Z0-9.@%\\\\_-]{0,20}",
            port in prop_oneof![Just(String::new()), ":[0-9]{0,6}"],
            rest in "[/?#][ -~]{0,20}",
        ) {
            let Ok(uri) = Uri::try_from(format!("http://{user}{host}{port}{rest}")) else { return Ok(()) };
            if let Ok(target) = read(&Method::GET, &uri) {
                prop_assert!(user.is_empty());
                let plain = host.strip_suffix('.').unwrap_or(&host).to_ascii_lowercase();
                prop_assert_eq!(target.host.as_str(), plain);
                prop_assert_eq!(target.port, port.strip_prefix(':').map_or(80, |port| port.parse().unwrap()));
            }
        }

        #[test]
        fn what_is_shown_is_one_short_line(text in "\\PC{0,300}|[\\x00-\\x20]{0,40}") {
            let shown = shown(&text);
            prop_assert!(shown.len() <= MAX_SHOWN && shown.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '));
        }
    }
}
