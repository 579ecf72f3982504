//! Secrets on the wire: a client has to write them out, nothing else ever does.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A secret in a body. It is written out when the body is, and never by `Debug`.
#[derive(Clone)]
pub struct SecretText(SecretString);

impl SecretText {
    /// The secret, for the core.
    pub fn into_inner(self) -> SecretString {
        self.0
    }
}

impl From<SecretString> for SecretText {
    fn from(secret: SecretString) -> Self {
        Self(secret)
    }
}

impl From<String> for SecretText {
    fn from(secret: String) -> Self {
        Self(secret.into())
    }
}

impl ExposeSecret<str> for SecretText {
    fn expose_secret(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose_secret())
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}
