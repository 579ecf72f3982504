//! What happens before a session's task takes over: judging the request and writing the record.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::PoisonError;

use futures::StreamExt;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{SessionManager, lifetimes};
use crate::budget::Budget;
use crate::checkpoint::Checkpoint;
use crate::driver::{LaunchPlan, Request};
use crate::egress::AllowEntry;
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventKind;
use crate::gateway::ProviderAccount;
use crate::id::{CheckpointId, ContainerName, ImageRef, SessionId};
use crate::lifetime::{Lifetime, OnInterrupt};
use crate::mcp::{McpPlan, McpSelection};
use crate::policy;
use crate::policy::mounts::JudgedDir;
use crate::runtime::{HostMount, NetworkMode, ResourceLimits};
use crate::session::{CreateSession, EventQuery, PermissionMode, SessionInfo, WorkspaceSource};
use crate::state::SessionState;
use crate::store::{AgentRecord, Inserted, RecoveryRecord, SessionRecord};

/// The directories of a request, opened and judged.
pub(super) struct Judged {
    workspace: Option<JudgedDir>,
    mounts: Vec<HostMount>,
}

impl SessionManager {
    pub(super) async fn create_session(&self, request: CreateSession) -> Result<SessionInfo> {
        self.create_with(request, None).await
    }

    /// Makes a session, with the work of a checkpoint in it.
    pub(super) async fn create_with(
        &self,
        request: CreateSession,
        restore: Option<Checkpoint>,
    ) -> Result<SessionInfo> {
        let _at_work = self.inner.foundation.work.token();
        policy::limits::validate_create(&request)?;
        let digest = request
            .idempotency_key
            .is_some()
            .then(|| digest(&request, restore.as_ref().map(|restore| &restore.id)))
            .transpose()?;
        let mcp = self.plan_mcp(&request).await?;
        let (warm_agent, account) = (request.warm_agent, request.account.clone());
        let (mut record, judged) = self.prepare_record(request, mcp).await?;
        fail::fail_point!("manager.create.judged", |_| crate::fault::host(
            "create the session"
        ));
        record.request_digest = digest;
        let (_turn, inserted) = self.admit(&record).await?;
        if let Inserted::Existing(existing) = inserted {
            return self.wait_created(&existing.info.id).await;
        }
        fail::fail_point!("manager.create.recorded", |_| crate::fault::store(
            "create the session"
        ));
        let id = record.info.id;
        let (name, owner) = (&record.info.name, &record.info.owner);
        tracing::info!(session = %id, name, owner, "a session is made");
        if let Some(account) = account.clone() {
            self.inner
                .accounts
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(id, account);
        }
        let plan = LaunchPlan {
            info: record.info.clone(),
            warm_agent,
            account,
            restore,
        };
        let driver = self.driver(&record);
        let launched = driver.ask(|answer| Request::Create(Box::new(plan), answer)).await;
        if launched.is_err() {
            self.forget(&id);
        }
        launched?;
        if let Some(workspace) = &judged.workspace {
            fail::fail_point!("manager.create.launched", |_| crate::fault::store(
                "create the session"
            ));
            // The engine resolved the path again when it mounted it: it must still be what was judged.
            if let Err(moved) = workspace.verify_unmoved() {
                self.destroy_session(&id).await?;
                return Err(moved);
            }
        }
        Ok(self.record(&id, "create the session").await?.info)
    }

    /// Judges a request that was validated, and writes down what becomes of it. Nothing is made yet.
    pub(super) async fn prepare_record(
        &self,
        request: CreateSession,
        mcp: Option<McpPlan>,
    ) -> Result<(SessionRecord, Judged)> {
        self.check_capability(&request)?;
        let request = self.with_presets(request).await?;
        let judged = self.judge(&request)?;
        Ok((self.new_record(&request, &judged, mcp), judged))
    }

    /// The request with what its presets stand for in their place, so that the session's record says which hosts it was
    /// given, whatever the presets stand for tomorrow.
    async fn with_presets(&self, mut request: CreateSession) -> Result<CreateSession> {
        let entries = std::mem::take(&mut request.allow);
        for entry in entries {
            let rules = match (entry, &self.inner.options.presets) {
                (AllowEntry::Preset(name), Some(presets)) => {
                    let preset = presets.resolve(&name).await?;
                    for (name, value) in preset.environment {
                        request.env.entry(name).or_insert(value);
                    }
                    preset.rules.into_iter().map(AllowEntry::Rule).collect()
                }
                // The gateway may know it.
                (entry, _) => vec![entry],
            };
            for rule in rules {
                if !request.allow.contains(&rule) {
                    request.allow.push(rule);
                }
            }
        }
        Ok(request)
    }

    /// Which MCP servers it gets; none of them is asked.
    async fn plan_mcp(&self, request: &CreateSession) -> Result<Option<McpPlan>> {
        let gateway = &self.inner.foundation.gateway;
        let plan = gateway
            .plan_mcp(&request.mcp, request.mcp_config.as_ref())
            .await?;
        Ok(Some(plan).filter(|plan| !plan.is_empty()))
    }

    /// Waits until a session that somebody else makes is ready.
    async fn wait_created(&self, id: &SessionId) -> Result<SessionInfo> {
        let mut events = self.inner.foundation.store.follow(*id, 0);
        loop {
            let info = self.record(id, "create the session").await?.info;
            match &info.state {
                SessionState::Creating => {}
                SessionState::Failed { cause } => {
                    return Err(self.failure_again(id, cause.clone()).await);
                }
                _ => return Ok(info),
            }
            // Every change of the state is an event; whichever comes, the record says what is true now.
            if events.next().await.transpose()?.is_none() {
                return Ok(info);
            }
        }
    }

    /// What a creation failed with, for a request that repeats it.
    async fn failure_again(&self, id: &SessionId, cause: String) -> Error {
        let newest = EventQuery {
            limit: 8,
            tail: true,
            ..EventQuery::default()
        };
        let told = self.inner.foundation.store.events(id, newest).await;
        let report = told
            .into_iter()
            .flatten()
            .rev()
            .find_map(|event| match event.kind {
                EventKind::Problem { error } if error.message == cause => Some(error),
                _ => None,
            });
        let code = report
            .as_ref()
            .map_or(ErrorKind::EngineFailed, |report| report.code);
        let again = "use another idempotency key to try again";
        let hint = match report.and_then(|report| report.hint) {
            Some(hint) => format!("{hint}; then {again}"),
            None => again.to_owned(),
        };
        Error::new(code, "create the session", cause)
            .with_context("session", id)
            .with_hint(hint)
            .with_retryable(false)
    }

    fn check_capability(&self, request: &CreateSession) -> Result<()> {
        let capability = self.inner.foundation.runtime.capability();
        let wants_mount =
            matches!(request.workspace, WorkspaceSource::Mount { .. }) || !request.mounts.is_empty();
        if wants_mount && !capability.host_mounts {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "create the session",
                "the engine does not run on this host, so it cannot mount this host's directories",
            )
            .with_hint("use a copy of the workspace instead"));
        }
        if request.network == NetworkMode::Open && !self.inner.options.allow_open {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "create the session",
                "the operator of this manager allows no session a network of its own",
            )
            .with_hint(
                "name the hosts that it needs instead, for example with --allow npm --allow example.com",
            ));
        }
        if request.network == NetworkMode::Open && !capability.open_network {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "create the session",
                "this runtime has no open network",
            ));
        }
        Ok(())
    }

    fn judge(&self, request: &CreateSession) -> Result<Judged> {
        let host = &self.inner.options.host;
        let workspace = match &request.workspace {
            WorkspaceSource::Empty => None,
            WorkspaceSource::Clone { url, reference } => {
                judge_clone(url, reference.as_deref())?;
                None
            }
            WorkspaceSource::Mount { path } | WorkspaceSource::Copy { path } => {
                Some(policy::mounts::judge(path, host)?)
            }
        };
        if let (WorkspaceSource::Mount { .. }, Some(dir)) = (&request.workspace, &workspace) {
            policy::mounts::check_writable(dir, policy::mounts::user_for(Some(dir)))?;
        }
        let mounts = request.mounts.iter().map(|mount| {
            let source = policy::mounts::judge_mount_source(&mount.source, host)?;
            Ok(HostMount {
                source: source.path().to_owned(),
                ..mount.clone()
            })
        });
        Ok(Judged {
            mounts: mounts.collect::<Result<_>>()?,
            workspace,
        })
    }

    fn new_record(&self, request: &CreateSession, judged: &Judged, mcp: Option<McpPlan>) -> SessionRecord {
        let id = SessionId::new();
        let now = Timestamp::now();
        let options = &self.inner.options;
        let path = |fallback: &Path| match &judged.workspace {
            Some(dir) => dir.path().to_owned(),
            None => fallback.to_owned(),
        };
        let workspace = match &request.workspace {
            WorkspaceSource::Empty => WorkspaceSource::Empty,
            WorkspaceSource::Mount { path: asked } => WorkspaceSource::Mount { path: path(asked) },
            WorkspaceSource::Copy { path: asked } => WorkspaceSource::Copy { path: path(asked) },
            clone @ WorkspaceSource::Clone { .. } => clone.clone(),
        };
        SessionRecord {
            container: ContainerName::of(&id),
            token: new_token(),
            request_digest: None,
            idempotency_key: own_key(request),
            agent: AgentRecord::default(),
            base_tree: None,
            container_id: None,
            recovery: RecoveryRecord::default(),
            timers: None,
            expiry: None,
            info: SessionInfo {
                id,
                name: request.name.clone(),
                state: SessionState::Creating,
                created_at: now,
                updated_at: now,
                image: request
                    .image
                    .clone()
                    .unwrap_or_else(|| options.default_image.clone()),
                network: request.network,
                limits: request.limits.unwrap_or(options.default_limits),
                workspace,
                mounts: judged.mounts.clone(),
                user: policy::mounts::user_for(judged.workspace.as_ref()),
                agent: self.inner.foundation.agent.name().to_owned(),
                model: request.model.clone().or_else(|| options.default_model.clone()),
                small_model: request
                    .small_model
                    .clone()
                    .or_else(|| options.default_small_model.clone()),
                allow: request.allow.clone(),
                budget: request.budget,
                permissions: request.permissions,
                mcp_config: request.mcp_config.clone(),
                mcp,
                certificates: self.inner.foundation.certificates.is_some(),
                env: request.env.clone(),
                labels: request.labels.clone(),
                owner: request.owner.clone(),
                lifetime: request.lifetime,
                lease_until: request.lifetime.lease_ms.map(lifetimes::lease_until),
                on_interrupt: request.on_interrupt,
                turns: 0,
                last_event: 0,
                cost_usd: 0.0,
            },
        }
    }
}

fn judge_clone(url: &str, reference: Option<&str>) -> Result<()> {
    policy::clone::judge_url(url)?;
    reference.map_or(Ok(()), policy::clone::judge_reference)
}

/// A session's token at the gateway: 256 random bits in a form that an agent takes for a key.
fn new_token() -> SecretString {
    use std::fmt::Write as _;
    let mut token = String::from("cofferdam-session-");
    for byte in rand::random::<[u8; 32]>() {
        let _ = write!(token, "{byte:02x}");
    }
    token.into()
}

/// The key under which a request is stored: of two owners with the same key, neither finds the other's session. Neither
/// an owner's name nor a key has a line end in it.
fn own_key(request: &CreateSession) -> Option<String> {
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
    #[serde(skip_serializing_if = "Option::is_none")]
    restore: Option<&'r CheckpointId>,
}

impl<'r> Sameness<'r> {
    fn of(request: &'r CreateSession, restore: Option<&'r CheckpointId>) -> Self {
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
            restore,
        }
    }
}

fn has_no_limit(lifetime: &Lifetime) -> bool {
    *lifetime == Lifetime::default()
}

fn digest(request: &CreateSession, restore: Option<&CheckpointId>) -> Result<String> {
    // As a value first: its keys are in order, whatever the order of the fields.
    let canonical = serde_json::to_value(Sameness::of(request, restore)).map_err(|source| {
        Error::new(
            ErrorKind::InvalidArgument,
            "create the session",
            "a path in the request is not valid UTF-8",
        )
        .with_hint("use a path without such bytes, or no idempotency key")
        .with_source(source)
    })?;
    Ok(Sha256::digest(canonical.to_string())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;
    use crate::gateway::BedrockAccount;

    #[test]
    fn a_request_stays_the_same_across_an_upgrade() {
        // As the version before allow-lists and budgets reckoned it.
        let before = "ef20c65f7ac48bc31c5d83d518d10670c68fdc1ff72b0f223c105d8f261ab458";
        assert_eq!(digest(&CreateSession::default(), None).unwrap(), before);
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
        let mut digests: Vec<String> = same
            .iter()
            .map(|request| digest(request, None).unwrap())
            .collect();
        digests.dedup();
        assert_eq!(digests.len(), 1);
        digests.extend(others.iter().map(|request| digest(request, None).unwrap()));
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
        assert_eq!(
            digest(&request, None).unwrap_err().kind(),
            ErrorKind::InvalidArgument
        );
    }
}
