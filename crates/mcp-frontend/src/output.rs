//! Shapes that several results share.
//!
//! Every result is complete as JSON alone: sizes are the full ones, what was cut says so and how to go on, and an
//! absent field means that there is nothing to say.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::Serialize;
use session_core::turn::TokenUsage;

use crate::text;

/// What a command wrote to one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StreamText {
    /// The text; bytes that are not UTF-8 are replaced, see base64.
    pub(crate) text: String,
    /// The bytes as they are, when they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) base64: Option<String>,
    /// How many bytes the command wrote to this stream so far, those that are not shown here included.
    pub(crate) total_bytes: u64,
}

impl StreamText {
    pub(crate) fn new(bytes: Vec<u8>, total_bytes: u64) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self {
                text,
                base64: None,
                total_bytes,
            },
            Err(error) => Self {
                text: String::from_utf8_lossy(error.as_bytes()).into_owned(),
                base64: Some(STANDARD.encode(error.as_bytes())),
                total_bytes,
            },
        }
    }
}

/// A part of a longer text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) text: String,
    /// The size of the whole.
    pub(crate) total: u64,
    /// Where the next part begins, when there is one.
    pub(crate) next: Option<u64>,
}

/// The part of `whole` from byte `offset` on, at most `limit` bytes.
pub(crate) fn part(whole: &str, offset: u64, limit: usize) -> Part {
    let total = whole.len() as u64;
    let from = text::floor(whole, usize::try_from(offset).unwrap_or(usize::MAX));
    let mut to = text::floor(whole, from.saturating_add(limit));
    // A limit smaller than a character would never get further.
    if to == from {
        to = whole[from..].chars().next().map_or(from, |c| from + c.len_utf8());
    }
    Part {
        text: whole[from..to].to_owned(),
        total,
        next: (to < whole.len()).then_some(to as u64),
    }
}

/// Tokens that a turn used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Usage {
    /// Input tokens, cached ones apart.
    input_tokens: u64,
    /// Output tokens.
    output_tokens: u64,
    /// Input tokens read from the cache.
    cache_read_tokens: u64,
    /// Input tokens written to the cache.
    cache_creation_tokens: u64,
}

impl From<TokenUsage> for Usage {
    fn from(usage: TokenUsage) -> Self {
        Self {
            input_tokens: usage.input,
            output_tokens: usage.output,
            cache_read_tokens: usage.cache_read,
            cache_creation_tokens: usage.cache_creation,
        }
    }
}

/// A path that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Changed {
    /// git's letter: A added, M modified, D deleted, T type changed.
    pub(crate) status: char,
    /// Relative to the workspace.
    pub(crate) path: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_kept() {
        let text = StreamText::new(b"a\xff\xfeb".to_vec(), 4);
        assert_eq!(text.text, "a\u{fffd}\u{fffd}b");
        assert_eq!(STANDARD.decode(text.base64.unwrap()).unwrap(), b"a\xff\xfeb");
        assert_eq!(StreamText::new(b"plain".to_vec(), 5).base64, None);
    }

    proptest! {
        #[test]
        fn parts_together_are_the_whole(whole in any::<String>(), limit in 1_usize..20) {
            let (mut got, mut offset) = (String::new(), 0);
            loop {
                let part = part(&whole, offset, limit);
                got += &part.text;
                match part.next {
                    Some(next) => { prop_assert!(next > offset); offset = next; }
                    None => break,
                }
            }
            prop_assert_eq!(got, whole);
        }

        #[test]
        fn any_offset_is_survived(whole in any::<String>(), offset in any::<u64>(), limit in 0_usize..20) {
            let _ = part(&whole, offset, limit);
        }
    }
}
