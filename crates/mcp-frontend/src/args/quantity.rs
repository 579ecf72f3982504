//! Memory and CPUs in the forms that container tools take: `"2g"`, `2147483648`, `"1.5"`, `2`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// An amount of memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

/// CPU time per second of wall time, in thousandths of a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cpus(pub(crate) u32);

/// Longest first, so that no suffix hides behind its own end.
const UNITS: &[(&str, u64)] = &[
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("ki", 1 << 10),
    ("mi", 1 << 20),
    ("gi", 1 << 30),
    ("ti", 1 << 40),
    ("kb", 1 << 10),
    ("mb", 1 << 20),
    ("gb", 1 << 30),
    ("tb", 1 << 40),
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
    ("t", 1 << 40),
    ("b", 1),
];

fn size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let (number, factor) = UNITS
        .iter()
        .find_map(|(suffix, factor)| text.strip_suffix(suffix).map(|number| (number, *factor)))
        .unwrap_or((&text, 1));
    scaled(number.trim_end(), factor).filter(|bytes| *bytes > 0)
}

/// `number × factor` in whole units, exactly, for a decimal number with at most nine places.
pub(super) fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return None,
        None => (number, ""),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || fraction.len() > 9 || !digits(whole) || !digits(fraction)
    {
        return None;
    }
    let value = |text: &str| {
        if text.is_empty() {
            Some(0)
        } else {
            text.parse::<u128>().ok()
        }
    };
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let factor = u128::from(factor);
    let total = value(whole)?
        .checked_mul(factor)?
        .checked_add(value(fraction)? * factor / scale)?;
    u64::try_from(total).ok()
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an amount of memory such as \"512m\" or \"2g\", or a number of bytes")
    }

    fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
        Some(bytes)
            .filter(|bytes| *bytes > 0)
            .map(Size)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(bytes), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
        size(text)
            .map(Size)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

struct CpusVisitor;

impl Visitor<'_> for CpusVisitor {
    type Value = Cpus;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of CPUs such as 2 or 0.5")
    }

    fn visit_u64<E: de::Error>(self, cpus: u64) -> Result<Cpus, E> {
        self.visit_str(&cpus.to_string())
    }

    fn visit_f64<E: de::Error>(self, cpus: f64) -> Result<Cpus, E> {
        self.visit_str(&cpus.to_string())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Cpus, E> {
        scaled(text.trim(), 1000)
            .and_then(|milli| u32::try_from(milli).ok())
            .filter(|milli| *milli > 0)
            .map(Cpus)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

impl<'de> Deserialize<'de> for Cpus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CpusVisitor)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // Two schemas and not one with two types: some clients know one type a schema.
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "integer" }] })
    }
}

impl JsonSchema for Cpus {
    fn schema_name() -> Cow<'static, str> {
        "Cpus".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "number" }, { "type": "string" }] })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn sizes_as_container_tools_write_them() {
        let read = |value| serde_json::from_value::<Size>(value).map(|size| size.0);
        for (value, bytes) in [
            (json!("2g"), 2 << 30),
            (json!("512m"), 512 << 20),
            (json!("1.5G"), 3 << 29),
            (json!("2 GiB"), 2 << 30),
            (json!("2Gi"), 2 << 30),
            (json!("1024"), 1024),
            (json!(1024), 1024),
        ] {
            assert_eq!(read(value.clone()).unwrap(), bytes, "{value}");
        }
        for bad in [
            json!("0"),
            json!(0),
            json!(-1),
            json!("-1g"),
            json!("g"),
            json!("1."),
            json!("1e9"),
            json!(null),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
        assert!(read(json!("99999999999t")).is_err());
    }

    #[test]
    fn cpus_as_numbers_and_texts() {
        let read = |value| serde_json::from_value::<Cpus>(value).map(|cpus| cpus.0);
        for (value, milli) in [
            (json!(2), 2000),
            (json!(0.5), 500),
            (json!("1.0"), 1000),
            (json!(1.0), 1000),
        ] {
            assert_eq!(read(value.clone()).unwrap(), milli, "{value}");
        }
        for bad in [
            json!(0),
            json!(-1),
            json!("two"),
            json!(1e12),
            json!(true),
            json!(0.0001),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in ".{0,40}", number in any::<f64>()) {
            let _ = serde_json::from_value::<Size>(json!(text));
            let _ = serde_json::from_value::<Cpus>(json!(number));
        }
    }
}
