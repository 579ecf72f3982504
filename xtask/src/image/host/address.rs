//! The address of a package source: one that may be shown, written into a file and kept.

use std::fmt;
use std::net::IpAddr;

/// An `http` or `https` address without a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address(String);

impl Address {
    /// `None` for anything that is not plain `http(s)://host…`: no password, no query, no blank, no control character.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let address = Self::parse_with_password(text)?;
        let plain = !address.authority().contains('@') && !text.contains(['?', '#']);
        plain.then_some(address)
    }

    /// The same, for an address that is looked at and never shown: a proxy's.
    pub(crate) fn parse_with_password(text: &str) -> Option<Self> {
        let rest = text
            .strip_prefix("http://")
            .or_else(|| text.strip_prefix("https://"))?;
        let clean = !text.contains(|c: char| c.is_whitespace() || c.is_control() || "\"'\\`".contains(c));
        (clean && !rest.is_empty() && !rest.starts_with('/')).then(|| Self(text.to_owned()))
    }

    /// Whether only this machine can reach it.
    pub(crate) fn is_loopback(&self) -> bool {
        let authority = self.authority();
        let host_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let host = match host_port.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((v6, _)) => v6,
            None => host_port.split(':').next().unwrap_or_default(),
        };
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    fn authority(&self) -> &str {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        rest.split('/').next().unwrap_or_default()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<std::ffi::OsStr> for Address {
    fn as_ref(&self) -> &std::ffi::OsStr {
        self.0.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_plain_addresses_only() {
        for good in ["http://a/debian", "https://a:8080/x@y/", "https://[::1]:4873/"] {
            assert!(Address::parse(good).is_some(), "{good}");
        }
        for bad in [
            "https://me:secret@a/",
            "https://token@a/",
            "file:///x",
            "https://",
            "https:///x",
            "https://a/?token=1",
            "https://a/\nregistry=https://b",
            "https://a/ x",
            "http://a\"; evil",
            "",
        ] {
            assert!(Address::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn knows_what_only_this_machine_reaches() {
        let loopback = |text: &str| {
            Address::parse_with_password(text)
                .expect("an address")
                .is_loopback()
        };
        for yes in [
            "http://localhost:4873/",
            "http://127.0.0.1",
            "http://me:pw@127.1.2.3:1/",
            "http://[::1]:1/",
        ] {
            assert!(loopback(yes), "{yes}");
        }
        for no in [
            "http://10.0.0.1:1",
            "http://localhost.example/",
            "http://a/127.0.0.1",
        ] {
            assert!(!loopback(no), "{no}");
        }
    }
}
