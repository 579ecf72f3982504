//! Hosts that sessions may reach.

use std::str::FromStr;

use session_core::egress::{AllowEntry, HostRule};
use session_core::error::Error;

/// Reads a rule or a preset.
pub fn parse_allow(text: &str) -> Result<AllowEntry, String> {
    explained(text)
}

/// Reads a rule. A name without a dot or a port is none: `npm` is meant as the preset, and would be taken for a host.
pub fn parse_rule(text: &str) -> Result<HostRule, String> {
    match explained(text)? {
        AllowEntry::Rule(rule) => Ok(rule),
        AllowEntry::Preset(name) => Err(format!(
            "{name} is no host; presets are for new sessions (--allow {name}). Write example.com, *.example.com or {name}:443"
        )),
    }
}

/// clap shows one text, so what to write instead is part of it.
pub(super) fn explained<T: FromStr<Err = Error>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: Error| match error.hint() {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_is_not_taken_for_a_host_of_that_name() {
        assert!(parse_rule("npm").unwrap_err().contains("--allow npm"));
        assert_eq!(parse_rule("npm:443").unwrap().to_string(), "npm:443");
        assert_eq!(parse_rule("*.Example.com").unwrap().to_string(), "*.example.com");
    }

    #[test]
    fn what_is_refused_says_what_to_write() {
        assert!(parse_allow("npm").is_ok() && parse_allow("*.example.com:8443").is_ok());
        for (bad, said) in [
            ("*.com", "too wide"),
            ("https://example.com", "port"),
            ("10.0.0.1", "host name"),
            ("", "neither"),
        ] {
            let error = parse_allow(bad).unwrap_err();
            assert!(
                error.contains(said) && error.contains("example.com"),
                "{bad}: {error}"
            );
        }
    }
}
