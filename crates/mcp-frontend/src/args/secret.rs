//! A secret among arguments: hidden from the moment it is read.
//!
//! serde's own messages repeat the value that they refuse, so a key in the wrong place of the right field would end up
//! in an error. This type refuses without looking.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A text that is never shown.
#[derive(Debug, Clone)]
pub(crate) struct Secret(SecretString);

impl Secret {
    /// The secret, for those who pass it on; `None` when it is empty, which is how some clients leave it out.
    pub(crate) fn into_given(self) -> Option<SecretString> {
        (!self.0.expose_secret().is_empty()).then_some(self.0)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretVisitor)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "writeOnly": true })
    }
}

struct SecretVisitor;

impl SecretVisitor {
    fn refuse<T, E: de::Error>() -> Result<T, E> {
        Err(E::custom(
            "a text was expected (the value is not shown, because it may be a secret)",
        ))
    }
}

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret(SecretString::from(text)))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Secret, E> {
        Ok(Secret(SecretString::from(text)))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
        Self::refuse()
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
        Self::refuse()
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
        Self::refuse()
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
        Self::refuse()
    }

    fn visit_unit<E: de::Error>(self) -> Result<Secret, E> {
        Self::refuse()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Secret, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Self::refuse()
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Secret, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Self::refuse()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CANARY: &str = "sk-canary-5f0b";

    #[test]
    fn it_is_read_and_never_shown() {
        let secret: Secret = serde_json::from_value(json!(CANARY)).unwrap();
        assert!(!format!("{secret:?}").contains("canary"));
        assert_eq!(secret.into_given().unwrap().expose_secret(), CANARY);
    }

    #[test]
    fn refusals_do_not_repeat_it() {
        for wrong in [
            json!([CANARY]),
            json!({"key": CANARY}),
            json!({CANARY: 1}),
            json!(517),
            json!(true),
            json!(1.5),
        ] {
            let error = serde_json::from_value::<Secret>(wrong).unwrap_err().to_string();
            assert!(!error.contains("canary") && !error.contains("517"), "{error}");
        }
    }

    #[test]
    fn an_empty_one_is_none() {
        let secret: Secret = serde_json::from_value(json!("")).unwrap();
        assert!(secret.into_given().is_none());
    }
}
