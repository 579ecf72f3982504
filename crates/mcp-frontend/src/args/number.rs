//! Whole numbers and durations, as JSON's only kind of number brings them: 60 and 60.0 are the same.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A number of things, not negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) u64);

/// Whole seconds, at least one and at most thirty days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seconds(u64);

impl Seconds {
    /// The longest time that can be asked for.
    pub(crate) const MAX: u64 = 30 * 24 * 3600;

    /// As milliseconds.
    pub(crate) fn ms(self) -> u64 {
        self.0 * 1000
    }

    /// As a duration.
    pub(crate) fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

struct Whole;

impl Visitor<'_> for Whole {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number that is not negative")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<u64, E> {
        u64::try_from(number).map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<u64, E> {
        /// Up to here every whole number has its own float.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if number.fract() == 0.0 && (0.0..=EXACT).contains(&number) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "whole, not negative and below 2^53"
            )]
            return Ok(number as u64);
        }
        Err(E::invalid_value(de::Unexpected::Float(number), &self))
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Whole).map(Self)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = deserializer.deserialize_any(Whole)?;
        if (1..=Self::MAX).contains(&seconds) {
            return Ok(Self(seconds));
        }
        Err(de::Error::custom(format_args!(
            "{seconds} seconds are not between 1 and {}",
            Self::MAX
        )))
    }
}

impl JsonSchema for Count {
    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 0 })
    }
}

impl JsonSchema for Seconds {
    fn schema_name() -> Cow<'static, str> {
        "Seconds".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": Self::MAX })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn whole_numbers_in_either_form() {
        for good in [json!(60), json!(60.0)] {
            assert_eq!(serde_json::from_value::<Count>(good).unwrap(), Count(60));
        }
        for bad in [
            json!(-1),
            json!(1.5),
            json!("60"),
            json!(null),
            json!(1e300),
            json!(true),
        ] {
            assert!(serde_json::from_value::<Count>(bad.clone()).is_err(), "{bad}");
        }
        assert_eq!(
            serde_json::from_value::<Count>(json!(u64::MAX)).unwrap(),
            Count(u64::MAX)
        );
    }

    #[test]
    fn absurd_times_are_refused() {
        let read = serde_json::from_value::<Seconds>;
        assert_eq!(read(json!(1)).unwrap().duration(), Duration::from_secs(1));
        for bad in [json!(0), json!(-5), json!(u64::MAX), json!(1e15), Value::Null] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }
}
