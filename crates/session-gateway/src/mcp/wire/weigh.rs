//! How many values a message has, counted before it is parsed.
//!
//! A short text can be a large tree: `[],[],[],…` takes ten times its length as parsed values. Counting looks at each
//! byte once and allocates nothing.

/// The most values of one message: far above what any server says.
const MAX_VALUES: usize = 500_000;

/// More values than there may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// Counts what opens or separates values outside of strings.
pub(super) fn check(bytes: &[u8]) -> Result<(), TooMany> {
    let mut values = 1_usize;
    let mut rest = bytes;
    // Most of a large message is text, so the search goes from quote to quote.
    while let Some(quote) = memchr::memchr(b'"', rest) {
        let (before, behind) = rest.split_at(quote);
        values += count(before);
        if values > MAX_VALUES {
            return Err(TooMany);
        }
        rest = after_string(&behind[1..]);
    }
    values += count(rest);
    if values > MAX_VALUES { Err(TooMany) } else { Ok(()) }
}

fn count(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .filter(|byte| matches!(byte, b'[' | b'{' | b','))
        .count()
}

/// What stands behind the end of a string.
fn after_string(mut rest: &[u8]) -> &[u8] {
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
        if rest[at] == b'"' {
            return &rest[at + 1..];
        }
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn text_weighs_nothing_and_trees_do() {
        assert!(check(format!("\"{}\"", "[,{\\\"".repeat(1 << 20)).as_bytes()).is_ok());
        assert!(check("[],".repeat(1 << 20).as_bytes()).is_err());
        assert!(check(format!("\"\",{}", "[],".repeat(1 << 20)).as_bytes()).is_err());
    }

    fn values(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(values).sum::<usize>(),
            Value::Object(fields) => 1 + fields.values().map(values).sum::<usize>(),
            _ => 1,
        }
    }

    proptest! {
        /// The count is never below the number of values in what parses.
        #[test]
        fn no_tree_is_larger_than_its_count(bytes in prop::collection::vec(
            prop::sample::select(b"[]{},:\"\\a1 ".to_vec()), 0..60))
        {
            if let Ok(value) = serde_json::from_slice::<Value>(&bytes) {
                let mut counted = 1;
                let mut rest = bytes.as_slice();
                while let Some(quote) = memchr::memchr(b'"', rest) {
                    counted += count(&rest[..quote]);
                    rest = after_string(&rest[quote + 1..]);
                }
                counted += count(rest);
                prop_assert!(counted >= values(&value));
            }
        }
    }
}
