//! Counts tokens by listening to answers as they pass. It reads bytes and never holds, delays or changes one.
//!
//! Memory is bounded whatever the answer: a stream is read an event at a time, a document member by member, and what is
//! too long to be an account of tokens is skipped.

mod frames;
mod json;
mod request;
mod sse;
mod tap;

use serde::Serialize;
use serde_json::Value;

pub(crate) use request::{Asked, RequestTap};
pub(crate) use tap::{Heard, UsageTap};

/// Longest event or member that is looked into; the provider's accounts take a few hundred bytes.
const MAX_PIECE: usize = 64 * 1024;

/// What a session used so far at the model proxy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Usage {
    /// Requests that were sent on to the provider.
    pub requests: u64,
    /// Those of them that failed: an error status, or a connection that broke.
    pub failed_requests: u64,
    /// Requests that were answered here and not sent on.
    pub refused_requests: u64,
    /// Requests that are under way now.
    pub in_flight: u64,
    /// Input tokens, those of the cache apart.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Input tokens that were read from the provider's cache.
    pub cache_read_tokens: u64,
    /// Input tokens that were written to the provider's cache.
    pub cache_creation_tokens: u64,
}

impl Usage {
    /// Adds what one answer used since it was last asked.
    pub(crate) fn add(&mut self, tokens: Tokens) {
        self.input_tokens = self.input_tokens.saturating_add(tokens.input);
        self.output_tokens = self.output_tokens.saturating_add(tokens.output);
        self.cache_read_tokens = self.cache_read_tokens.saturating_add(tokens.cache_read);
        self.cache_creation_tokens = self.cache_creation_tokens.saturating_add(tokens.cache_creation);
    }
}

/// The tokens of one answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) cache_read: u64,
    pub(crate) cache_creation: u64,
    /// Those of `cache_creation` that are kept for an hour.
    pub(crate) cache_creation_1h: u64,
    /// Searches by the provider's own tool: no tokens, and on the same bill.
    pub(crate) searches: u64,
}

impl Tokens {
    /// Takes a `usage` object in. The numbers of a stream are totals that grow, so the greatest one counts; what is absent,
    /// `null` or no count says nothing.
    fn raise(&mut self, usage: &Value) {
        let count = |pointer: &str| usage.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        *self = self.most(Self {
            input: count("/input_tokens"),
            output: count("/output_tokens"),
            cache_read: count("/cache_read_input_tokens"),
            cache_creation: count("/cache_creation_input_tokens"),
            cache_creation_1h: count("/cache_creation/ephemeral_1h_input_tokens"),
            searches: count("/server_tool_use/web_search_requests"),
        });
    }

    /// The greater of both, each count by itself.
    pub(crate) fn most(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            cache_read: self.cache_read.max(other.cache_read),
            cache_creation: self.cache_creation.max(other.cache_creation),
            cache_creation_1h: self.cache_creation_1h.max(other.cache_creation_1h),
            searches: self.searches.max(other.searches),
        }
    }

    /// What came on top of `earlier`, which never exceeds `self`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            input: self.input.saturating_sub(earlier.input),
            output: self.output.saturating_sub(earlier.output),
            cache_read: self.cache_read.saturating_sub(earlier.cache_read),
            cache_creation: self.cache_creation.saturating_sub(earlier.cache_creation),
            cache_creation_1h: self.cache_creation_1h.saturating_sub(earlier.cache_creation_1h),
            searches: self.searches.saturating_sub(earlier.searches),
        }
    }

    /// The prompt: all input, from wherever it came.
    pub(crate) fn prompt(&self) -> u64 {
        self.input
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_creation)
    }
}

/// What one request used, as far as it has a price.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Consumption {
    pub(crate) tokens: Tokens,
    /// In the provider's fast mode.
    pub(crate) fast: bool,
    /// Bound to the vendor's machines in the US.
    pub(crate) us_only: bool,
}

/// Whether a value of the field `speed` is the dear one.
fn is_fast(speed: &Value) -> bool {
    speed.as_str() == Some("fast")
}

/// Whether a value of the field `inference_geo` is the dear one.
fn is_us_only(geo: &Value) -> bool {
    geo.as_str() == Some("us")
}

#[cfg(test)]
mod tests;
