//! Money and minutes of a budget: `2.5`, `"2.50"`. Both are positive, and exact.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::quantity::scaled;

/// US dollars, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usd(pub(crate) u64);

/// Minutes, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Minutes(pub(crate) u64);

/// Reads a positive decimal number as so many parts of one.
struct Parts {
    factor: u64,
    expected: &'static str,
}

impl Parts {
    fn read(&self, text: &str) -> Option<u64> {
        scaled(text.trim(), self.factor).filter(|parts| *parts > 0)
    }
}

impl Visitor<'_> for Parts {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<u64, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
        self.read(text)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parts = Parts {
            factor: 1_000_000,
            expected: "a positive amount of US dollars such as 2.5",
        };
        deserializer.deserialize_any(parts).map(Self)
    }
}

impl<'de> Deserialize<'de> for Minutes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parts = Parts {
            factor: 60_000,
            expected: "a positive number of minutes such as 30",
        };
        deserializer.deserialize_any(parts).map(Self)
    }
}

macro_rules! a_number {
    ($($type:ident),*) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "number", "exclusiveMinimum": 0 })
            }
        }
    )*};
}

a_number!(Usd, Minutes);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn amounts_are_exact_and_positive() {
        for (value, micros) in [
            (json!(5), 5_000_000),
            (json!(0.1), 100_000),
            (json!("2.50"), 2_500_000),
        ] {
            assert_eq!(serde_json::from_value::<Usd>(value).unwrap(), Usd(micros));
        }
        assert_eq!(
            serde_json::from_value::<Minutes>(json!(1.5)).unwrap(),
            Minutes(90_000)
        );
        for bad in [
            json!(0),
            json!(-1),
            json!(-0.5),
            json!(1e300),
            json!(1e-12),
            json!("much"),
            json!(""),
            json!([]),
            json!(true),
        ] {
            assert!(serde_json::from_value::<Usd>(bad.clone()).is_err(), "{bad}");
            assert!(serde_json::from_value::<Minutes>(bad.clone()).is_err(), "{bad}");
        }
    }
}
