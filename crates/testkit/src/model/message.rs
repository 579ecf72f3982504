//! What the model says in one answer, apart from how it is written on the wire.

use std::time::Duration;

use serde_json::Value;

use super::ApiFailure;

/// The token counts of one answer. Every message carries [`Usage::DEFAULT`] unless its script says otherwise, so an account of
/// usage can be asserted to the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt that were not in the cache.
    pub input: u64,
    /// Tokens that were generated.
    pub output: u64,
    /// Tokens of the prompt that were written to the cache.
    pub cache_creation: u64,
    /// Tokens of the prompt that were read from the cache.
    pub cache_read: u64,
}

impl Usage {
    /// 100 in, 10 out, nothing cached.
    pub const DEFAULT: Self = Self {
        input: 100,
        output: 10,
        cache_creation: 0,
        cache_read: 0,
    };
}

impl Default for Usage {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// How an answer that has begun comes to its end. All but `Complete` stop after half of the events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Ending {
    /// With everything that belongs to it.
    #[default]
    Complete,
    /// The connection is torn down: the client sees a body that breaks off.
    Drop,
    /// The body ends as if it were complete, but the message has no end: what a bad proxy makes of a stream.
    Truncate,
    /// Nothing more comes and the connection stays open, until the client goes or the server shuts down.
    Hang,
    /// An `error` event, as the provider sends it when it fails after the head of the answer has gone out.
    Fail(ApiFailure),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Block {
    Thinking(String),
    Text(String),
    Tool { name: String, input: Value },
}

/// One answer of the model: blocks in order, usage, speed and ending.
///
/// The stop reason is `tool_use` when there is a tool among the blocks and `end_turn` otherwise, unless it is set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message {
    pub(super) blocks: Vec<Block>,
    pub(super) usage: Usage,
    pub(super) pace: Duration,
    pub(super) ending: Ending,
    pub(super) stop_reason: Option<String>,
}

impl Message {
    /// A message with nothing in it yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds text.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.blocks.push(Block::Text(text.into()));
        self
    }

    /// Adds a block of thinking, with a signature.
    #[must_use]
    pub fn thinking(mut self, text: impl Into<String>) -> Self {
        self.blocks.push(Block::Thinking(text.into()));
        self
    }

    /// Adds a call of a tool. Several make one answer with parallel calls.
    #[must_use]
    pub fn tool(mut self, name: impl Into<String>, input: Value) -> Self {
        self.blocks.push(Block::Tool {
            name: name.into(),
            input,
        });
        self
    }

    /// Sets the token counts.
    #[must_use]
    pub fn usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }

    /// Waits this long before each delta of a streamed answer.
    #[must_use]
    pub fn pace(mut self, delay: Duration) -> Self {
        self.pace = delay;
        self
    }

    /// Sets how the answer ends.
    #[must_use]
    pub fn ending(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }

    /// Sets the stop reason, for `max_tokens`, `refusal` and whatever comes next.
    #[must_use]
    pub fn stop_reason(mut self, reason: impl Into<String>) -> Self {
        self.stop_reason = Some(reason.into());
        self
    }

    pub(super) fn effective_stop_reason(&self) -> &str {
        match &self.stop_reason {
            Some(reason) => reason,
            None if self
                .blocks
                .iter()
                .any(|block| matches!(block, Block::Tool { .. })) =>
            {
                "tool_use"
            }
            None => "end_turn",
        }
    }
}
