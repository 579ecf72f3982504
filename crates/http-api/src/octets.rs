//! Bytes in JSON: text where they are UTF-8, `{"base64": "…"}` where they are not.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AdditionalProperties, Object, ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::patterns;

/// Bytes: a string for UTF-8, an object with `base64` for anything. Both may be sent; text is answered where it can be.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Octets(pub Vec<u8>);

impl Octets {
    /// The bytes in base64.
    pub fn base64(bytes: &[u8]) -> String {
        STANDARD.encode(bytes)
    }

    /// Bytes from base64; `None` when it is none.
    pub fn from_base64(text: &str) -> Option<Vec<u8>> {
        STANDARD.decode(text).ok()
    }
}

impl From<Vec<u8>> for Octets {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<Octets> for Vec<u8> {
    fn from(octets: Octets) -> Self {
        octets.0
    }
}

impl fmt::Debug for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("base64", &STANDARD.encode(&self.0))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OctetsVisitor)
    }
}

/// Reads both forms.
struct OctetsVisitor;

impl<'de> Visitor<'de> for OctetsVisitor {
    type Value = Octets;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or {\"base64\": \"…\"}")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Octets, E> {
        Ok(Octets(text.as_bytes().to_vec()))
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Octets, E> {
        Ok(Octets(text.into_bytes()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Octets, A::Error> {
        let told = || A::Error::custom("bytes are a string or {\"base64\": \"…\"}");
        let (key, text) = map.next_entry::<Cow<'_, str>, Cow<'_, str>>()?.ok_or_else(told)?;
        if key != "base64" || map.next_key::<Cow<'_, str>>()?.is_some() {
            return Err(told());
        }
        Octets::from_base64(&text)
            .map(Octets)
            .ok_or_else(|| A::Error::custom("this is no standard base64 with padding"))
    }
}

/// The schema of bytes, each form with its own pattern.
pub(crate) fn schema(text: &str, base64: &str) -> OneOfBuilder {
    let string = |pattern: &str| {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(pattern))
    };
    let object: Object = ObjectBuilder::new()
        .property("base64", string(base64).content_encoding("base64"))
        .required("base64")
        .additional_properties(Some(AdditionalProperties::FreeForm(false)))
        .build();
    OneOfBuilder::new().item(string(text)).item(object)
}

impl PartialSchema for Octets {
    fn schema() -> RefOr<Schema> {
        schema("", patterns::BASE64)
            .description(Some(
                "Bytes: a string when they are UTF-8, else an object with `base64`.",
            ))
            .into()
    }
}

impl ToSchema for Octets {}
