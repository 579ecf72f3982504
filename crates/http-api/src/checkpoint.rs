//! Work that is to be brought back.

use serde::{Deserialize, Serialize};
use session_core::checkpoint::RestoreRequest;
use session_core::id::{CheckpointId, SessionId};
use utoipa::ToSchema;

use crate::object::objects;

/// What is to be brought back, and for whom. `{}` is the newest checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schema(example = json!({}))]
pub struct RestoreBody {
    /// The checkpoint; the newest when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Uuid)]
    pub checkpoint: Option<CheckpointId>,
    /// On whose behalf a new session is made. With a token of the scope `use` it is the token's name, and only that may be
    /// said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[!-~][^\x00-\x1f\x7f-\x9f]*$",
        min_length = 1,
        max_length = 128
    )]
    pub owner: Option<String>,
    /// The same key gives the same session. The header `Idempotency-Key` says the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[!-~]+$", min_length = 1, max_length = 255)]
    pub idempotency_key: Option<String>,
}

impl RestoreBody {
    /// The core's request about `session`.
    pub fn into_request(self, session: SessionId) -> RestoreRequest {
        RestoreRequest {
            session,
            checkpoint: self.checkpoint,
            owner: self.owner,
            idempotency_key: self.idempotency_key,
        }
    }
}

impl From<RestoreRequest> for RestoreBody {
    fn from(request: RestoreRequest) -> Self {
        Self {
            checkpoint: request.checkpoint,
            owner: request.owner,
            idempotency_key: request.idempotency_key,
        }
    }
}

objects!(RestoreBody);
