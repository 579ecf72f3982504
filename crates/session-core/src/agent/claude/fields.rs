//! Reading JSON that may be anything, in memory near its own length.
//!
//! A tree of values takes a multiple of its text, so texts of many megabytes are never made into one. Fields are read
//! one by one and stay raw until their size is known; a field of the wrong type is as good as absent.

use std::fmt;

use serde::de::{DeserializeOwned, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::agent::MAX_TOOL_RESULT_BYTES;

/// The longest text that the agent says or thinks at once, in an event. No model writes as much.
pub(super) const MAX_TEXT_BYTES: usize = 1 << 20;
/// The longest JSON text that is made into a tree.
const MAX_TREE_BYTES: usize = 256 << 10;
/// The most elements of an array that are looked at.
const MAX_ELEMENTS: usize = 1024;

/// Reads a field, or takes its default when it has another type.
pub(super) fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(
    from: D,
) -> Result<T, D::Error> {
    let raw = <&RawValue>::deserialize(from)?;
    Ok(if raw.get().len() > MAX_TREE_BYTES {
        T::default()
    } else {
        read(raw).unwrap_or_default()
    })
}

/// Reads a text of any length; cut by whoever uses it.
pub(super) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(read(<&RawValue>::deserialize(from)?))
}

/// A whole value, if it has the type.
pub(super) fn read<T: DeserializeOwned>(raw: &RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}

/// The first elements of an array, raw. Empty for what is no array.
#[derive(Debug, Default)]
pub(super) struct Elements<'a>(pub(super) Vec<&'a RawValue>);

impl<'a> Elements<'a> {
    pub(super) fn of(raw: Option<&'a RawValue>) -> Self {
        raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
            .unwrap_or_default()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Elements<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct First;
        impl<'de> Visitor<'de> for First {
            type Value = Vec<&'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut first = Vec::new();
                while first.len() < MAX_ELEMENTS
                    && let Some(element) = seq.next_element()?
                {
                    first.push(element);
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(first)
            }
        }
        from.deserialize_seq(First).map(Self)
    }
}

/// A value for an event: a tree if it is small, else the start of its text.
pub(super) fn tree(raw: &RawValue) -> Value {
    let small = raw.get().len() <= MAX_TREE_BYTES;
    small
        .then(|| read(raw))
        .flatten()
        .unwrap_or_else(|| Value::String(cut(raw.get(), MAX_TOOL_RESULT_BYTES).to_owned()))
}

/// The start of a text, at most `limit` bytes, ending between two characters.
pub(super) fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

/// As [`cut`], without a copy of what is short enough.
pub(super) fn cut_owned(mut text: String, limit: usize) -> String {
    text.truncate(text.floor_char_boundary(limit));
    text
}
