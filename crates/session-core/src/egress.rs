//! Which hosts a sealed session may reach, in the words that callers, stores and gateways share.
//!
//! A sealed session has no network; what it wants from outside goes through the egress door and is judged by name.
//! These are the values of that judgement and nothing else: matching, resolving and dialling are the gateway's, keeping
//! is the store's. Everything here is pure.

mod rule;
#[cfg(feature = "openapi")]
mod schema;

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::rule::{AllowEntry, HostPattern, HostRule, PresetName};
use crate::error::Result;
use crate::id::SessionId;

/// What a preset stands for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Preset {
    /// Its hosts.
    pub rules: Vec<HostRule>,
    /// What programs inside have to be told to go to those hosts and to no others; the caller's own variables win.
    pub environment: BTreeMap<String, String>,
}

/// Knows what presets stand for on this host. Asked once, when a session is made: what it says is part of the session.
#[async_trait]
pub trait Presets: fmt::Debug + Send + Sync + 'static {
    /// What a preset stands for.
    ///
    /// # Errors
    /// `InvalidArgument` for one that stands for nothing here.
    async fn resolve(&self, name: &PresetName) -> Result<Preset>;
}

/// What a person decided about a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EgressDecision {
    /// The session for which it holds; every session of this state directory when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Which hosts.
    pub rule: HostRule,
    /// Whether they may be reached. A refusal is stronger than every rule that allows.
    pub allow: bool,
    /// When it was given.
    pub at: Timestamp,
}

/// A decision to be made.
///
/// Nothing is ever taken back: deciding the opposite about the same rule replaces what was decided before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DecideEgress {
    /// The session for which it shall hold; every session, also of the future, when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Which hosts.
    pub rule: HostRule,
    /// Whether they may be reached.
    pub allow: bool,
}

impl EgressDecision {
    /// The decision in words: `allow example.com:443 for all`.
    pub(crate) fn verdict(&self) -> String {
        let allow = if self.allow { "allow" } else { "refuse" };
        let scope = if self.session.is_none() { " for all" } else { "" };
        format!("{allow} {}{scope}", self.rule)
    }
}

impl DecideEgress {
    /// The decision, as it is kept since `at`.
    pub fn given(&self, at: Timestamp) -> EgressDecision {
        EgressDecision {
            session: self.session,
            rule: self.rule.clone(),
            allow: self.allow,
            at,
        }
    }
}

/// A host that a session was denied and about which nobody has decided yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EgressRequest {
    /// Who asked.
    pub session: SessionId,
    /// The host, as the gateway wrote it for the judgement: lower case, without a trailing dot.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The narrowest rule that would have allowed it.
    pub rule: HostRule,
    /// When it was denied first.
    pub first_at: Timestamp,
    /// When it was denied last.
    pub last_at: Timestamp,
    /// How often it was denied.
    pub times: u64,
}

/// Why a connection was denied. The serialised names are stable: agents and front ends branch on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DenialReason {
    /// No rule names the host. The one reason that a person can change by approving.
    NotAllowed,
    /// A person refused it.
    Refused,
    /// The name resolves to an address that no session may reach: private, loopback, link-local, metadata, ….
    ForbiddenAddress,
    /// The host is written in a way that two readers could understand differently.
    MalformedHost,
    /// The TLS handshake names another host than the tunnel was asked for.
    NameMismatch,
    /// The session has used up what it may move or have open.
    LimitReached,
}
