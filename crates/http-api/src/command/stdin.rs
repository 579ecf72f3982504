//! A command's standard input, as a request speaks of it.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::octets::{self, Octets};
use crate::patterns;

/// A command's standard input.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Stdin {
    /// Nothing: `false`, `null` or left out.
    #[default]
    Empty,
    /// It follows: `true`.
    Open,
    /// The whole of it.
    Data(Octets),
}

impl Stdin {
    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        *self == Self::Empty
    }
}

impl Serialize for Stdin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Empty => serializer.serialize_bool(false),
            Self::Open => serializer.serialize_bool(true),
            Self::Data(octets) => octets.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Stdin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// The forms, told apart by their types.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Nothing(()),
            Open(bool),
            Data(Octets),
        }
        // An untagged reader says only that nothing fits; what would fit is more use.
        match Written::deserialize(deserializer) {
            Ok(Written::Nothing(()) | Written::Open(false)) => Ok(Self::Empty),
            Ok(Written::Open(true)) => Ok(Self::Open),
            Ok(Written::Data(octets)) => Ok(Self::Data(octets)),
            Err(_) => Err(D::Error::custom(
                "standard input is a string, {\"base64\": \"…\"} or true",
            )),
        }
    }
}

impl PartialSchema for Stdin {
    fn schema() -> RefOr<Schema> {
        octets::schema("", patterns::BASE64)
            .item(ObjectBuilder::new().schema_type(Type::Boolean))
            .item(ObjectBuilder::new().schema_type(Type::Null))
            .description(Some("The whole of it, or `true` when it follows."))
            .into()
    }
}

impl ToSchema for Stdin {}
