//! What a server says of itself.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::object::objects;

/// How a server shall stop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StopBody {
    /// Only when nothing is under way: decided by the server at the moment when it stops taking requests.
    #[serde(default)]
    pub if_idle: bool,
}

/// How what no session wants shall be removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schema(example = json!({"dry_run": true}))]
pub struct GarbageBody {
    /// Only says what would be removed.
    #[serde(default)]
    pub dry_run: bool,
}

/// The server that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerInfo {
    /// The version of the program.
    #[schema(example = "0.1.0")]
    pub version: String,
    /// Its process.
    #[schema(minimum = 1)]
    pub pid: u32,
    /// Since when it runs.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// A digest of the settings with which it was started: two servers with the same digest behave alike.
    pub settings: String,
    /// The same without the credentials, for whoever brings none of their own.
    #[serde(default)]
    pub settings_without_credentials: String,
    /// Whether a client started it, so that it leaves by itself when it has nothing to do.
    pub auto_started: bool,
    /// Whether it has work under way: a turn, a command, a terminal or a request that is not this one.
    pub working: bool,
}

objects!(GarbageBody);
