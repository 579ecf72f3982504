//! The address of a package source: one that may be shown and may go inside.

use std::fmt;

use session_core::egress::HostRule;
use session_core::error::{Error, ErrorKind, Result};

use super::OPERATION;

/// An `http` or `https` address without a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    /// Reads what a tool's configuration says.
    ///
    /// # Errors
    /// `InvalidArgument` for anything but plain `http(s)://HOST…`. The text is not repeated: it may hold a password.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let text = text.strip_prefix("sparse+").unwrap_or(text);
        let rest = text
            .strip_prefix("http://")
            .or_else(|| text.strip_prefix("https://"));
        let authority = rest
            .and_then(|rest| rest.split(['/', '?', '#']).next())
            .unwrap_or_default();
        let clean = !text.contains(|c: char| c.is_whitespace() || c.is_control() || "\"'\\`".contains(c));
        if !clean || authority.is_empty() {
            return Err(refuse(
                "a tool's configuration names a source that is no plain web address",
            ));
        }
        if authority.contains('@') {
            return Err(
                refuse("a tool's configuration names a source with a password in its address").with_hint(
                    "take the password out of the address and give it to the operator's policy, under \
                            [[egress.credentials]]: it is added on this machine and never goes inside",
                ),
            );
        }
        Ok(Self(text.to_owned()))
    }

    /// The rule that lets it through: its host at its port.
    ///
    /// # Errors
    /// `InvalidArgument` when its host is no name, such as an address by number.
    pub fn rule(&self) -> Result<HostRule> {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("https", &self.0));
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let default = if scheme == "http" { 80 } else { 443 };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().unwrap_or(0)),
            None => (authority, default),
        };
        HostRule::exact(host, port)
    }
}

fn refuse(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidArgument, OPERATION, message)
        .with_hint("name the hosts in the operator's policy, under [egress.presets]")
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_becomes_the_narrowest_rule() {
        for (text, rule) in [
            ("https://a.example/npm/", "a.example:443"),
            ("http://A.example", "a.example:80"),
            ("sparse+https://a.example:8443/index/", "a.example:8443"),
        ] {
            assert_eq!(
                Address::parse(text).unwrap().rule().unwrap(),
                rule.parse().unwrap()
            );
        }
        for text in [
            "",
            "file:///x",
            "https://",
            "https://a b/",
            "https://me@a.example/",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
        assert!(Address::parse("https://10.0.0.1/").unwrap().rule().is_err());
    }
}
