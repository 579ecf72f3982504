//! Content addresses.
//!
//! What is addressed is written as canonical JSON first: the members of objects sorted by the bytes of their names, no
//! blanks, strings and numbers as serde_json writes them. Equal content has one address, in whatever order or file it was
//! written down; what cannot be told apart in JSON has the same address.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use session_core::error::{Error, ErrorKind, Result};
use sha2::{Digest as _, Sha256};

const PREFIX: &str = "sha256:";

/// A content address: `sha256:` and 64 hexadecimal digits in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// The address of a value.
    pub fn of(value: &Value) -> Self {
        Self(format!("{PREFIX}{}", hex(&Sha256::digest(canonical(value)))))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digits without `sha256:`, fit for the name of a file.
    pub fn hex(&self) -> &str {
        &self.0[PREFIX.len()..]
    }

    /// The address of something of ours that is always JSON.
    pub(crate) fn of_own<T: Serialize>(own: &T) -> Self {
        Self::of(&to_value(own))
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        match text.strip_prefix(PREFIX) {
            Some(digits) if digits.len() == 64 && digits.bytes().all(digit) => Ok(Self(text.to_owned())),
            _ => Err(Error::new(
                ErrorKind::InvalidArgument,
                "read a content address",
                "this is not sha256: and 64 hexadecimal digits",
            )
            .with_hint("copy it from `cofferdam mcp publish` or `cofferdam mcp diff`")),
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Canonical JSON, see the module.
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        Value::Object(members) => {
            // Whether the map keeps an order of its own is decided by what else is built with serde_json.
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| name.as_str());
            out.push(b'{');
            for (index, (name, member)) in members.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                leaf(&Value::from(name.as_str()), out);
                out.push(b':');
                write(member, out);
            }
            out.push(b'}');
        }
        plain => leaf(plain, out),
    }
}

fn leaf(value: &Value, out: &mut Vec<u8>) {
    out.extend_from_slice(value.to_string().as_bytes());
}

/// JSON of a type of ours. Their maps have strings as keys and nothing in them can fail to be written.
pub(crate) fn to_value<T: Serialize>(own: &T) -> Value {
    serde_json::to_value(own).unwrap_or_default()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::testing::json_with_canary;

    /// The same value, each object written in the opposite order.
    fn reversed(value: &Value) -> String {
        match value {
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(reversed).collect();
                format!("[ {} ]", items.join(" , "))
            }
            Value::Object(members) => {
                let mut members: Vec<(&String, &Value)> = members.iter().collect();
                members.sort_by_key(|(name, _)| *name);
                let members: Vec<String> = members
                    .iter()
                    .rev()
                    .map(|(name, member)| format!("{} : {}", Value::from(name.as_str()), reversed(member)))
                    .collect();
                format!("{{\n{}\n}}", members.join(",\n"))
            }
            plain => plain.to_string(),
        }
    }

    #[test]
    fn an_address_is_that_of_other_programs() {
        // printf '{"a":[1,true,null],"b":"ä"}' | sha256sum
        assert_eq!(
            String::from_utf8(canonical(&json!({"b": "ä", "a": [1, true, null]}))).unwrap(),
            r#"{"a":[1,true,null],"b":"ä"}"#
        );
        assert_eq!(
            Digest::of(&json!({"b": "ä", "a": [1, true, null]})).as_str(),
            "sha256:969f837dc907ce425d3075e4047f12a0b40019a48623474c735721c438c5f60f"
        );
    }

    #[test]
    fn an_address_is_read_in_one_form_alone() {
        let digest = Digest::of(&json!(null));
        assert_eq!(digest.as_str().parse::<Digest>().unwrap(), digest);
        for text in [
            "",
            "sha256:",
            digest.hex(),
            &digest.as_str().to_uppercase(),
            &format!("{digest}0"),
            &digest.as_str()[..70],
            &digest.as_str().replace("sha256", "sha512"),
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_address_depends_on_neither_order_nor_blanks(value in json_with_canary()) {
            let again: Value = serde_json::from_str(&reversed(&value)).unwrap();
            prop_assert_eq!(Digest::of(&again), Digest::of(&value));
        }

        #[test]
        fn different_values_have_different_addresses(one in json_with_canary(), other in json_with_canary()) {
            prop_assert_eq!(Digest::of(&one) == Digest::of(&other), one == other);
        }
    }
}
