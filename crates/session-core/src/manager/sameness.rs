//! When two requests with one key are the same request: what a repeated creation is compared by.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::budget::Budget;
use crate::checkpoint::RestoreRequest;
use crate::egress::AllowEntry;
use crate::error::{Error, ErrorKind, Result};
use crate::gateway::ProviderAccount;
use crate::id::ImageRef;
use crate::lifetime::{Lifetime, OnInterrupt};
use crate::mcp::McpSelection;
use crate::runtime::{HostMount, NetworkMode, ResourceLimits};
use crate::session::{CreateSession, PermissionMode, WorkspaceSource};

/// The key under which a request is stored: of two owners with the same key, neither finds the other's session. Neither
/// an owner's name nor a key has a line end in it.
pub(super) fn own_key(request: &CreateSession) -> Option<String> {
    let key = request.idempotency_key.as_deref()?;
    Some(match &request.owner {
        Some(owner) => format!("{owner}\n{key}"),
        None => key.to_owned(),
    })
}

/// What makes two requests the same. Credentials are left out: rotating a key does not make another session.
///
/// What was added after the first version is left out when it is not named, so that a request stays the same across an
/// upgrade.
#[derive(Serialize)]
struct Sameness<'r> {
    name: &'r Option<String>,
    workspace: &'r WorkspaceSource,
    image: &'r Option<ImageRef>,
    network: NetworkMode,
    limits: &'r Option<ResourceLimits>,
    mounts: &'r [HostMount],
    model: &'r Option<String>,
    permissions: PermissionMode,
    mcp_config: &'r Option<serde_json::Value>,
    env: &'r BTreeMap<String, String>,
    labels: &'r BTreeMap<String, String>,
    warm_agent: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    small_model: &'r Option<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    allow: &'r [AllowEntry],
    #[serde(skip_serializing_if = "Budget::is_unlimited")]
    budget: Budget,
    #[serde(skip_serializing_if = "McpSelection::is_default")]
    mcp: &'r McpSelection,
    #[serde(skip_serializing_if = "has_no_limit")]
    lifetime: Lifetime,
    #[serde(skip_serializing_if = "OnInterrupt::is_stop")]
    on_interrupt: OnInterrupt,
    /// The region of a Bedrock account, which need not be named.
    #[serde(skip_serializing_if = "Option::is_none")]
    bedrock: Option<&'r Option<String>>,
}

impl<'r> Sameness<'r> {
    fn of(request: &'r CreateSession) -> Self {
        Self {
            name: &request.name,
            workspace: &request.workspace,
            image: &request.image,
            network: request.network,
            limits: &request.limits,
            mounts: &request.mounts,
            model: &request.model,
            permissions: request.permissions,
            mcp_config: &request.mcp_config,
            env: &request.env,
            labels: &request.labels,
            warm_agent: request.warm_agent,
            small_model: &request.small_model,
            allow: &request.allow,
            budget: request.budget,
            mcp: &request.mcp,
            lifetime: request.lifetime,
            on_interrupt: request.on_interrupt,
            bedrock: match &request.account {
                Some(ProviderAccount::Bedrock(account)) => Some(&account.region),
                Some(ProviderAccount::ApiKey(_)) | None => None,
            },
        }
    }
}

fn has_no_limit(lifetime: &Lifetime) -> bool {
    *lifetime == Lifetime::default()
}

/// The digest by which a repeated request is told from another one with the same key.
pub(super) fn digest(request: &CreateSession) -> Result<String> {
    // As a value first: its keys are in order, whatever the order of the fields.
    let canonical = serde_json::to_value(Sameness::of(request)).map_err(|source| {
        Error::new(
            ErrorKind::InvalidArgument,
            "create the session",
            "a path in the request is not valid UTF-8",
        )
        .with_hint("use a path without such bytes, or no idempotency key")
        .with_source(source)
    })?;
    Ok(hash(&canonical))
}

/// The same of a request for the work of a session, by what it names: what that session is by now, and which of its
/// checkpoints is the newest, makes no other request of it.
pub(super) fn restore_digest(request: &RestoreRequest) -> String {
    hash(&serde_json::json!({ "restore": request.session, "checkpoint": request.checkpoint }))
}

fn hash(canonical: &serde_json::Value) -> String {
    Sha256::digest(canonical.to_string())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use super::*;
    use crate::gateway::BedrockAccount;

    #[test]
    fn a_request_stays_the_same_across_an_upgrade() {
        // As the version before allow-lists and budgets reckoned it.
        let before = "ef20c65f7ac48bc31c5d83d518d10670c68fdc1ff72b0f223c105d8f261ab458";
        assert_eq!(digest(&CreateSession::default()).unwrap(), before);
    }

    #[test]
    fn what_changes_the_session_changes_the_digest_and_a_key_does_not() {
        let plain = || CreateSession::default();
        let same = [
            plain(),
            CreateSession {
                account: Some(ProviderAccount::ApiKey("key".to_owned().into())),
                ..plain()
            },
            CreateSession {
                idempotency_key: Some("key".to_owned()),
                ..plain()
            },
        ];
        let region = |region: Option<&str>| CreateSession {
            account: Some(ProviderAccount::Bedrock(BedrockAccount {
                region: region.map(str::to_owned),
                credentials: None,
            })),
            ..plain()
        };
        let others = [
            CreateSession {
                allow: vec!["npm".parse().unwrap()],
                ..plain()
            },
            CreateSession {
                budget: Budget {
                    tokens: Some(1),
                    ..Budget::default()
                },
                ..plain()
            },
            CreateSession {
                small_model: Some("small".to_owned()),
                ..plain()
            },
            CreateSession {
                mcp: McpSelection {
                    servers: vec!["git".parse().unwrap()],
                    ..McpSelection::default()
                },
                ..plain()
            },
            CreateSession {
                lifetime: Lifetime {
                    idle_ms: Some(1),
                    ..Lifetime::default()
                },
                ..plain()
            },
            CreateSession {
                on_interrupt: OnInterrupt::Resume,
                ..plain()
            },
            CreateSession {
                mcp: McpSelection {
                    none: true,
                    ..McpSelection::default()
                },
                ..plain()
            },
            region(None),
            region(Some("eu-central-1")),
            CreateSession {
                network: NetworkMode::Open,
                ..plain()
            },
        ];
        let mut digests: Vec<String> = same.iter().map(|request| digest(request).unwrap()).collect();
        digests.dedup();
        assert_eq!(digests.len(), 1);
        digests.extend(others.iter().map(|request| digest(request).unwrap()));
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), 1 + others.len());
    }

    #[test]
    fn a_path_that_is_no_text_is_refused() {
        let path = Path::new(std::ffi::OsStr::from_bytes(b"/\xff")).to_owned();
        let request = CreateSession {
            workspace: WorkspaceSource::Mount { path },
            ..CreateSession::default()
        };
        assert_eq!(digest(&request).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}
