//! Tokens: who may do what over the wire.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::object::objects;
use crate::secret::SecretText;

/// The longest name of a token, in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// The longest life of a token, in seconds: a hundred years.
pub const MAX_EXPIRY_S: u64 = 3_153_600_000;

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenScope {
    /// Look at every session.
    Read,
    /// Make sessions and work with those that it made.
    Use,
    /// Everything.
    Admin,
}

/// A token to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schema(example = json!({"name": "ci", "scope": "use"}))]
pub struct TokenBody {
    /// Its name: letters, digits and `. _ -`, beginning with a letter or digit.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$", min_length = 1, max_length = 64)]
    pub name: String,
    /// What it may do.
    pub scope: TokenScope,
    /// Whether a token with the scope `use` may work with the sessions of others too.
    #[serde(default)]
    pub all_sessions: bool,
    /// In how many seconds it expires; never when it is left out.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::query::natural"
    )]
    #[schema(minimum = 1, maximum = 3_153_600_000u64)]
    pub expires_in_s: Option<u64>,
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenInfo {
    /// Its name.
    pub name: String,
    /// What it may do.
    pub scope: TokenScope,
    /// Whether it may work with the sessions of others.
    pub all_sessions: bool,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Option<Timestamp>,
}

/// A token that was just made. This is the only time that its secret is told.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenCreated {
    /// What is known of it from now on.
    #[serde(flatten)]
    pub info: TokenInfo,
    /// The secret: `Authorization: Bearer` and this.
    #[schema(value_type = String, pattern = "^cfd_[A-Za-z0-9_-]+$")]
    pub token: SecretText,
}

objects!(TokenBody);
