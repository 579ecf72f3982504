//! Judges how a server over HTTP is reached: its address, its header fields, its login.

use std::collections::{BTreeMap, BTreeSet};

use session_core::policy::limits::{is_secret_name, looks_secret};
use url::{Host, Url};

use super::check::{MAX_ENV_NAME, MAX_PATTERN, at_most, check_line, check_reference};
use super::secrets::{is_secret_header, refuse_plain, sounds_secret};
use super::{OAuth, Value};
use crate::flaw::Flaw;

const MAX_URL: usize = 4096;
const MAX_HEADERS: usize = 64;
const MAX_HEADER: usize = 8 << 10;
const MAX_SCOPES: usize = 64;

/// Fields that the protocol itself sets.
const OWN_HEADERS: &[&str] = &[
    "accept",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "last-event-id",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const OWN_HEADER_PREFIXES: &[&str] = &["mcp-", "proxy-"];

pub(super) fn check_url(url: &str, private: bool) -> Result<(), Flaw> {
    at_most(url.len(), MAX_URL)?;
    // A parser of addresses drops some of these silently, so that two readers would see two addresses.
    if url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Flaw::new("an address has no blanks in it"));
    }
    let url = Url::parse(url)
        .map_err(|_| Flaw::new("this is no address").with_hint("for example https://mcp.example.com/mcp"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Flaw::new("an address holds no credentials").with_hint(
            "put the secret into `headers`, for example Authorization = { prefix = \"Bearer \", env = \"NAME\" }",
        ));
    }
    if url.fragment().is_some() {
        return Err(
            Flaw::new("an address of a server has no fragment").with_hint("leave out # and what follows")
        );
    }
    let secret = |name: &str, value: &str| !value.is_empty() && (sounds_secret(name) || looks_secret(value));
    if url.query_pairs().any(|(name, value)| secret(&name, &value)) {
        return Err(Flaw::new("the address holds a secret, and addresses end in logs")
            .with_hint("most servers take it as a header: put a reference into `headers`"));
    }
    check_host(&url, private)
}

fn check_host(url: &Url, private: bool) -> Result<(), Flaw> {
    let loopback = is_loopback(url);
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        _ => {
            return Err(Flaw::new(
                "a server is reached over https, over http on this host alone",
            ));
        }
    }
    if loopback && !private {
        return Err(
            Flaw::new("the endpoint is on this host, and that is not permitted")
                .with_hint("if it is meant, write private = true"),
        );
    }
    Ok(())
}

/// Whether an address says by itself that it is this host.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(address)) => address.is_loopback() || address.is_unspecified(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback() || address.is_unspecified(),
        None => false,
    }
}

pub(super) fn check_headers(headers: &BTreeMap<String, Value>, login: bool) -> Result<(), Flaw> {
    at_most(headers.len(), MAX_HEADERS)?;
    let mut names = BTreeSet::new();
    for (name, value) in headers {
        check_header(name, value, login).map_err(|flaw| flaw.within(name.as_str()))?;
        if !names.insert(name.to_ascii_lowercase()) {
            return Err(Flaw::new("this field stands here twice").within(name.as_str()));
        }
    }
    Ok(())
}

fn check_header(name: &str, value: &Value, login: bool) -> Result<(), Flaw> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > MAX_ENV_NAME || !name.bytes().all(token) {
        return Err(Flaw::new("this is not the name of a header field"));
    }
    let lower = name.to_ascii_lowercase();
    if OWN_HEADERS.contains(&lower.as_str())
        || OWN_HEADER_PREFIXES.iter().any(|prefix| lower.starts_with(prefix))
    {
        return Err(Flaw::new("this field is set by the protocol itself").with_hint("leave it out"));
    }
    if login && lower == "authorization" {
        return Err(Flaw::new("with a login, this field holds what the login gives")
            .with_hint("leave out either `oauth` or this field"));
    }
    let text = match value {
        Value::Plain(text) => text,
        Value::Secret(secret) => {
            check_reference(&secret.secret)?;
            &secret.prefix
        }
    };
    if !text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        return Err(Flaw::new("the value of a header field is one line of ASCII"));
    }
    at_most(text.len(), MAX_HEADER)?;
    refuse_plain(value, is_secret_header(name) || is_secret_name(name))
}

pub(super) fn check_oauth(oauth: &OAuth) -> Result<(), Flaw> {
    if let Some(id) = &oauth.client_id {
        let checked = check_line(id, MAX_PATTERN).and_then(|()| {
            if looks_secret(id) {
                Err(Flaw::new(
                    "the id of a client is no secret, and this looks like one",
                ))
            } else {
                Ok(())
            }
        });
        checked.map_err(|flaw| flaw.within("client_id"))?;
    }
    if let Some(secret) = &oauth.client_secret {
        check_reference(secret).map_err(|flaw| flaw.within("client_secret"))?;
        if oauth.client_id.is_none() {
            return Err(Flaw::new("a client that has a secret has an id").within("client_id"));
        }
    }
    at_most(oauth.scopes.len(), MAX_SCOPES).map_err(|flaw| flaw.within("scopes"))?;
    for (index, scope) in oauth.scopes.iter().enumerate() {
        // RFC 6749, 3.3.
        let legal = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        if scope.is_empty() || scope.len() > MAX_PATTERN || !scope.bytes().all(legal) {
            return Err(Flaw::new("this is no scope")
                .within(index.to_string())
                .within("scopes"));
        }
    }
    Ok(())
}
