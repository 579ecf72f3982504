//! For whom something is published.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use session_core::error::{Error, ErrorKind, Result};
use session_core::mcp::ServerName;

const KNOWN: [&str; 4] = ["claude-code", "claude-desktop", "cursor", "sessions"];
const MAX_BYTES: usize = 32;

/// Who uses a configuration: one of the clients whose files can be written, or `sessions`, which are ours.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientId(String);

impl ClientId {
    /// Sessions of this state directory.
    pub fn sessions() -> Self {
        Self("sessions".to_owned())
    }

    /// All that are known.
    pub fn known() -> Vec<Self> {
        KNOWN.iter().map(|id| Self((*id).to_owned())).collect()
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Only clients that are known: a name that nobody deploys to is a slip of the keyboard.
impl FromStr for ClientId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if KNOWN.contains(&text) {
            return Ok(Self(text.to_owned()));
        }
        Err(refuse().with_hint(format!("the clients are {}", KNOWN.join(", "))))
    }
}

/// What was stored may be of a client that a later version knows.
impl TryFrom<String> for ClientId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > MAX_BYTES || !text.bytes().all(legal) {
            return Err(refuse());
        }
        Ok(Self(text))
    }
}

impl From<ClientId> for String {
    fn from(id: ClientId) -> Self {
        id.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn refuse() -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        "read the name of a client",
        "there is no such client",
    )
}

/// What is drafted and published: a profile of a client.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DraftKey {
    /// The client.
    pub client: ClientId,
    /// The profile.
    pub profile: ServerName,
}

impl DraftKey {
    /// Neither part has a dot, so that the two stay apart.
    pub(super) fn stem(&self) -> String {
        format!("{}.{}", self.client, self.profile)
    }

    pub(super) fn from_stem(stem: &str) -> Option<Self> {
        let (client, profile) = stem.split_once('.')?;
        Some(Self {
            client: client.to_owned().try_into().ok()?,
            profile: profile.parse().ok()?,
        })
    }
}
