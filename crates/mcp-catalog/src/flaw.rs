//! Where in a declaration something is wrong, never what stands there.
//!
//! People write secrets into these files by mistake, and errors end in logs. So a flaw has a place and what is wanted
//! there; the messages of parsers, which quote what they found, are cut down to what they expected.

use std::borrow::Cow;
use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;
use session_core::error::{Error, ErrorKind};
use session_core::policy::limits::looks_secret;

/// The longest part of a place that is shown.
const MAX_SHOWN: usize = 64;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flaw {
    path: Vec<String>,
    message: Cow<'static, str>,
    hint: Option<Cow<'static, str>>,
}

impl Flaw {
    pub(crate) fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            path: Vec::new(),
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The flaw as seen from one level above.
    pub(crate) fn within(mut self, step: impl Into<String>) -> Self {
        self.path.insert(0, step.into());
        self
    }

    /// Keys and indices from the outside in, as they are written.
    pub(crate) fn path(&self) -> &[String] {
        &self.path
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The place for people: `env.TOKEN`, `args.3`.
    pub(crate) fn place(&self) -> String {
        let steps: Vec<&str> = self.path.iter().map(|step| shown(step)).collect();
        steps.join(".")
    }

    pub(crate) fn into_error(self, operation: &'static str) -> Error {
        let place = self.place();
        let mut error = Error::new(ErrorKind::InvalidArgument, operation, self.message);
        if !place.is_empty() {
            error = error.with_context("field", place);
        }
        match self.hint {
            Some(hint) => error.with_hint(hint),
            None => error.with_hint("see docs/guides/mcp-gateway.md for every key"),
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.place())?;
        }
        f.write_str(&self.message)
    }
}

/// A key as it may be shown: one that a person would choose as a name, or nothing of it.
pub(crate) fn shown(key: &str) -> &str {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./*".contains(c);
    let fine = !key.is_empty() && key.len() <= MAX_SHOWN && key.chars().all(plain) && !looks_secret(key);
    if fine { key } else { "…" }
}

/// Reads a table into a form, and says where it does not fit.
pub(crate) fn read<T: DeserializeOwned>(value: &Value) -> Result<T, Flaw> {
    // serde would read a list as the fields in their order.
    if !value.is_object() {
        return Err(Flaw::new("this does not fit, expected a table of keys"));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let steps = error.path().iter().filter_map(|segment| match segment {
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Map { key } => Some(key.clone()),
            Segment::Enum { variant } => Some(variant.clone()),
            Segment::Unknown => None,
        });
        Flaw {
            path: steps.collect(),
            message: expected(&error.inner().to_string()).into(),
            hint: None,
        }
    })
}

/// What a parser wanted, without what it found instead.
fn expected(said: &str) -> String {
    let wanted = said.rsplit_once(", expected ").map(|(_, wanted)| wanted);
    if said.starts_with("missing field `") {
        said.to_owned()
    } else if said.starts_with("unknown field `") {
        match wanted {
            Some(wanted) => format!("there is no such key, expected {wanted}"),
            None => "there is no such key".to_owned(),
        }
    } else if let Some(wanted) = wanted {
        format!("this does not fit, expected {wanted}")
    } else if let Some(own) = said.strip_prefix(OURS) {
        own.to_owned()
    } else {
        "this cannot be understood".to_owned()
    }
}

/// Begins the messages of our own readers, which are known to repeat nothing.
pub(crate) const OURS: &str = "here: ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_is_wanted_and_nothing_of_what_is_there() {
        for (said, told) in [
            (
                "invalid type: string \"canary, expected canary\", expected u64",
                "this does not fit, expected u64",
            ),
            (
                "unknown variant `canary`, expected `a` or `b`",
                "this does not fit, expected `a` or `b`",
            ),
            (
                "unknown field `canary`, expected one of `a`, `b`",
                "there is no such key, expected one of `a`, `b`",
            ),
            (
                "unknown field `canary`, there are no fields",
                "there is no such key",
            ),
            ("missing field `client_id`", "missing field `client_id`"),
            ("here: write a name", "write a name"),
            ("something else with canary", "this cannot be understood"),
        ] {
            assert_eq!(expected(said), told);
        }
    }

    #[test]
    fn keys_that_nobody_would_choose_are_not_shown() {
        for key in ["TOKEN", "my-server_2", "git__*", "0"] {
            assert_eq!(shown(key), key);
        }
        for key in [
            "",
            "a b",
            "ghp_0123456789012345678901234567890123456",
            "a\nb",
            &"a".repeat(65),
        ] {
            assert_eq!(shown(key), "…");
        }
    }
}
