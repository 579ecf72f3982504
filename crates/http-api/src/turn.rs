//! Prompts, and what interrupting answers.

use serde::{Deserialize, Serialize};
use session_core::session::PromptRequest;
use utoipa::ToSchema;

use crate::object::objects;
use crate::query::{from_ms, to_ms};

/// A prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schema(example = json!({"prompt": "Make the tests pass.", "time_limit_ms": 600_000}))]
pub struct PromptBody {
    /// What the agent shall do; not blank, at most 4 MiB.
    #[schema(pattern = r"\S", min_length = 1, max_length = 4_194_304)]
    pub prompt: String,
    /// The only tools that the agent may use in this turn; all of them when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<crate::session::ToolName>, max_items = 128)]
    pub tools: Vec<String>,
    /// After how many milliseconds of work the turn is interrupted; never when it is left out.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::query::natural"
    )]
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991u64)]
    pub time_limit_ms: Option<u64>,
    /// The same key gives the same turn. The header `Idempotency-Key` says the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[!-~]+$", min_length = 1, max_length = 255)]
    pub idempotency_key: Option<String>,
}

/// What interrupting came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Interrupted {
    /// Whether there was anything to interrupt.
    pub interrupted: bool,
}

impl From<PromptBody> for PromptRequest {
    fn from(body: PromptBody) -> Self {
        Self {
            prompt: body.prompt,
            tools: body.tools,
            time_limit: body.time_limit_ms.map(from_ms),
            idempotency_key: body.idempotency_key,
        }
    }
}

impl From<PromptRequest> for PromptBody {
    fn from(request: PromptRequest) -> Self {
        Self {
            prompt: request.prompt,
            tools: request.tools,
            time_limit_ms: request.time_limit.map(to_ms),
            idempotency_key: request.idempotency_key,
        }
    }
}

objects!(PromptBody);
