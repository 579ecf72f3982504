//! How rules about hosts look in the description of the HTTP API.
//!
//! By hand, because they are texts with a grammar. The patterns say what [`super::rule`] reads, all but the length of a
//! single label; a test generates texts from them and reads those.

use std::borrow::Cow;

use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::{AllowEntry, HostRule, PresetName};

/// One part of a name between two dots.
macro_rules! label {
    () => {
        "[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?"
    };
}

/// The last part: with a letter, and not a number in hexadecimal.
macro_rules! last_label {
    () => {
        concat!(
            "(?:[A-Za-z]|[1-9_][0-9_-]*[A-Za-z]|0[0-9_-]+[A-Za-z]|0[A-WYZa-wyz])",
            "(?:[A-Za-z0-9_-]*[A-Za-z0-9_])?"
        )
    };
}

/// 1 to 65535.
macro_rules! port {
    () => {
        concat!("(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])")
    };
}

pub(super) const RULE_PATTERN: &str = concat!(
    "^(?:[*][.]",
    label!(),
    "[.])?(?:",
    label!(),
    "[.])*",
    last_label!(),
    "(?::",
    port!(),
    ")?$"
);

pub(super) const PRESET_PATTERN: &str = "^[a-z0-9-]{1,32}$";

/// A name of 253 characters, `*.` before it and a port behind.
const MAX_RULE: usize = 253 + 2 + 6;

impl PartialSchema for HostRule {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(
                "Hosts at a port: a name, or `*.` and a name for every name below it; with `:PORT`, else 443 and 80.",
            ))
            .pattern(Some(RULE_PATTERN))
            .max_length(Some(MAX_RULE))
            .examples(["example.com", "*.example.com:8443"]);
        RefOr::T(text.into())
    }
}

impl ToSchema for HostRule {
    fn name() -> Cow<'static, str> {
        "HostRule".into()
    }
}

impl PartialSchema for PresetName {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(
                "The name of a set of hosts that the operator's configuration knows.",
            ))
            .pattern(Some(PRESET_PATTERN))
            .examples(["npm"]);
        RefOr::T(text.into())
    }
}

impl ToSchema for PresetName {
    fn name() -> Cow<'static, str> {
        "PresetName".into()
    }
}

impl PartialSchema for AllowEntry {
    fn schema() -> RefOr<Schema> {
        let refer = |name: Cow<'static, str>| Ref::from_schema_name(name);
        // Not `oneOf`: a word without a dot is a legal name of a host as well, and then it is taken for a preset.
        let either = AnyOfBuilder::new()
            .description(Some(
                "What is allowed: a preset's name, or a rule, which has a dot, a port or a wildcard.",
            ))
            .item(refer(PresetName::name()))
            .item(refer(HostRule::name()));
        RefOr::T(either.into())
    }
}

impl ToSchema for AllowEntry {
    fn name() -> Cow<'static, str> {
        "AllowEntry".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((PresetName::name().into_owned(), PresetName::schema()));
        schemas.push((HostRule::name().into_owned(), HostRule::schema()));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::string::string_regex;

    use super::*;

    fn texts(pattern: &str) -> impl Strategy<Value = String> {
        let plain = pattern.trim_start_matches('^').trim_end_matches('$');
        string_regex(plain).unwrap_or_else(|error| unreachable!("a legal pattern: {error}"))
    }

    fn is_of_legal_length(rule: &str) -> bool {
        rule.len() <= 200 && rule.split([':', '.']).all(|label| label.len() <= 63)
    }

    proptest! {
        #[test]
        fn every_rule_of_the_pattern_is_read(text in texts(RULE_PATTERN).prop_filter("length", |text| is_of_legal_length(text))) {
            prop_assert!(text.parse::<HostRule>().is_ok(), "{text}");
        }

        #[test]
        fn every_preset_of_the_pattern_is_read(text in texts(PRESET_PATTERN)) {
            prop_assert!(text.parse::<PresetName>().is_ok(), "{text}");
        }
    }
}
