//! Decisions about hosts.

use serde::{Deserialize, Serialize};
use session_core::egress::{DecideEgress, HostRule};
use session_core::id::SessionId;
use utoipa::ToSchema;

use crate::object::objects;

/// A decision about hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schema(example = json!({"rule": "registry.example.com", "allow": true}))]
pub struct DecideEgressBody {
    /// The session for which it shall hold; every session, also of the future, when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Uuid)]
    pub session: Option<SessionId>,
    /// Which hosts: `example.com`, `*.example.com` or one of them with `:port`.
    #[schema(value_type = crate::session::HostRuleText)]
    pub rule: HostRule,
    /// Whether they may be reached.
    pub allow: bool,
}

impl From<DecideEgressBody> for DecideEgress {
    fn from(body: DecideEgressBody) -> Self {
        Self {
            session: body.session,
            rule: body.rule,
            allow: body.allow,
        }
    }
}

impl From<DecideEgress> for DecideEgressBody {
    fn from(decision: DecideEgress) -> Self {
        Self {
            session: decision.session,
            rule: decision.rule,
            allow: decision.allow,
        }
    }
}

objects!(DecideEgressBody);
