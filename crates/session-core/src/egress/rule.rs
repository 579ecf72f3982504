//! Rules: hosts by name and port, with a wildcard for the names below one, and named sets of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

const OPERATION: &str = "read a rule about hosts";
/// The longest name in the DNS, in characters (RFC 1035, 2.3.4).
const MAX_HOST: usize = 253;
/// The longest part of one between two dots.
const MAX_LABEL: usize = 63;
const MAX_PRESET: usize = 32;
/// A wildcard stands below at least this many labels: `*.com` would allow half the world.
const LABELS_BELOW_WILDCARD: usize = 2;

/// One thing that is allowed: a set of hosts with a name, or a rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum AllowEntry {
    /// A set of hosts that the operator's configuration knows, for example `npm`.
    Preset(PresetName),
    /// A rule.
    Rule(HostRule),
}

/// The name of a set of hosts: `a-z 0-9 -`, without a dot, so that it is never taken for a host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PresetName(String);

/// Hosts at a port: `example.com`, `*.example.com`, `example.com:8443`, `localhost:*` is not one.
///
/// Without a port it means 443 and 80.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostRule {
    host: HostPattern,
    port: Option<u16>,
}

/// A name, or every name below one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// That name alone, in lower case.
    Exact(String),
    /// Every name below it, at any depth, but not the name itself.
    Below(String),
}

impl HostRule {
    /// The rule for one host at one port.
    ///
    /// # Errors
    /// `InvalidArgument` when `host` is no plain name.
    pub fn exact(host: &str, port: u16) -> Result<Self> {
        Ok(Self {
            host: HostPattern::Exact(plain_name(host)?),
            port: Some(port),
        })
    }

    /// Which names.
    pub fn host(&self) -> &HostPattern {
        &self.host
    }

    /// Which port; 443 and 80 when `None`.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether `host`, which is in lower case and without a trailing dot, at `port` is meant.
    pub fn matches(&self, host: &str, port: u16) -> bool {
        let port_fits = match self.port {
            Some(own) => own == port,
            None => matches!(port, 80 | 443),
        };
        let host_fits = match &self.host {
            HostPattern::Exact(name) => name == host,
            HostPattern::Below(name) => host
                .strip_suffix(name.as_str())
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|below| !below.is_empty()),
        };
        port_fits && host_fits
    }
}

impl PresetName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AllowEntry {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.contains(['.', ':', '*']) {
            text.parse().map(Self::Rule)
        } else {
            text.parse().map(Self::Preset)
        }
    }
}

impl FromStr for PresetName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > MAX_PRESET || !text.bytes().all(plain) {
            return Err(refuse(
                text,
                "this names neither a preset nor a host",
                "presets are npm, pypi, crates, debian and git; hosts have a dot or a port, for example example.com:443",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for HostRule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port_of(text, port)?)),
            None => (text, None),
        };
        let host = match host.strip_prefix("*.") {
            Some(below) => HostPattern::Below(wide_enough(plain_name(below)?)?),
            None => HostPattern::Exact(plain_name(host)?),
        };
        Ok(Self { host, port })
    }
}

fn port_of(rule: &str, text: &str) -> Result<u16> {
    let port = text
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok());
    port.flatten().filter(|port| *port != 0).ok_or_else(|| {
        refuse(
            rule,
            "the port is no number from 1 to 65535",
            "write example.com:443",
        )
    })
}

/// A host name that every reader understands alike: ASCII labels in lower case, at least one of which is not a number,
/// so that it is no address in any spelling.
fn plain_name(text: &str) -> Result<String> {
    let text = text.to_ascii_lowercase();
    let label_is_plain = |label: &str| {
        !label.is_empty()
            && label.len() <= MAX_LABEL
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let last_is_a_word = text
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().any(|byte| byte.is_ascii_alphabetic()) && !last.starts_with("0x"));
    if text.len() > MAX_HOST || !text.split('.').all(label_is_plain) || !last_is_a_word {
        return Err(refuse(
            &text,
            "this is no host name",
            "write a name such as example.com or *.example.com; names in other scripts in their xn-- form; addresses are not allowed by number",
        ));
    }
    Ok(text)
}

fn wide_enough(name: String) -> Result<String> {
    if name.split('.').count() < LABELS_BELOW_WILDCARD {
        return Err(refuse(
            &name,
            "the wildcard is too wide",
            "a wildcard stands before a name of two parts or more, for example *.example.com",
        ));
    }
    Ok(name)
}

/// The text is a person's own or an attacker's; it is quoted short and escaped.
fn refuse(text: &str, message: &'static str, hint: &'static str) -> Error {
    let quoted: String = text.chars().take(80).collect();
    Error::new(ErrorKind::InvalidArgument, OPERATION, message)
        .with_context("rule", quoted.escape_debug())
        .with_hint(hint)
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(name) => write!(f, "*.{name}"),
        }
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => self.host.fmt(f),
        }
    }
}

impl fmt::Display for PresetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for AllowEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preset(name) => name.fmt(f),
            Self::Rule(rule) => rule.fmt(f),
        }
    }
}

macro_rules! as_string {
    ($($type:ty),*) => {$(
        impl TryFrom<String> for $type {
            type Error = Error;

            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    )*};
}

as_string!(AllowEntry, PresetName, HostRule);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(text: &str) -> HostRule {
        text.parse().unwrap()
    }

    #[test]
    fn a_rule_means_names_and_ports() {
        for (text, host, port, means) in [
            ("example.com", "example.com", 443, true),
            ("example.com", "example.com", 80, true),
            ("example.com", "example.com", 22, false),
            ("Example.COM:8443", "example.com", 8443, true),
            ("example.com:8443", "example.com", 443, false),
            ("example.com", "a.example.com", 443, false),
            ("*.example.com", "a.example.com", 443, true),
            ("*.example.com", "a.b.example.com", 443, true),
            ("*.example.com", "example.com", 443, false),
            ("*.example.com", "badexample.com", 443, false),
            ("*.example.com", ".example.com", 443, false),
        ] {
            assert_eq!(rule(text).matches(host, port), means, "{text} {host} {port}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            ".",
            "*",
            "*.",
            "*.com",
            "a..b",
            "example.com.",
            "-a.example",
            "a-.example",
            "10.0.0.1",
            "127.1",
            "0x7f.1",
            "1.2.3.0x7f",
            "[::1]:80",
            "::1",
            "a@b.example",
            "a b.example",
            "exa\0mple.com",
            "bücher.example",
            "a.*.example",
            "example.com:0",
            "example.com:70000",
            "example.com:+80",
            "https://example.com",
        ] {
            let error = text.parse::<HostRule>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text}");
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn an_entry_is_a_preset_or_a_rule() {
        assert!(matches!("npm".parse(), Ok(AllowEntry::Preset(_))));
        assert!(matches!("localhost:80".parse(), Ok(AllowEntry::Rule(_))));
        assert!(matches!("*.example.com".parse(), Ok(AllowEntry::Rule(_))));
        assert!("NPM!".parse::<AllowEntry>().is_err());
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_as_it_was_read(text in "(\\*\\.)?[a-z0-9_.-]{1,20}(:[0-9]{1,5})?") {
            if let Ok(entry) = text.parse::<AllowEntry>() {
                prop_assert_eq!(entry.to_string().parse::<AllowEntry>().unwrap(), entry);
            }
        }
    }
}
