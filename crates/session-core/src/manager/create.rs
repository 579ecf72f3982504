//! What happens before a session's task takes over: judging the request and writing the record.

use std::path::Path;
use std::sync::PoisonError;

use futures::StreamExt;
use jiff::Timestamp;
use secrecy::SecretString;

use super::sameness::{digest, own_key};
use super::{SessionManager, lifetimes};
use crate::checkpoint::Checkpoint;
use crate::driver::{LaunchPlan, Request};
use crate::egress::AllowEntry;
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventKind;
use crate::id::{ContainerName, SessionId};
use crate::lifetime::Lifetime;
use crate::mcp::McpPlan;
use crate::policy;
use crate::policy::mounts::JudgedDir;
use crate::runtime::{HostMount, NetworkMode};
use crate::session::{CreateSession, EventQuery, SessionInfo, WorkspaceSource};
use crate::state::SessionState;
use crate::store::{AgentRecord, Inserted, RecoveryRecord, SessionRecord};

/// The directories of a request, opened and judged.
pub(super) struct Judged {
    workspace: Option<JudgedDir>,
    mounts: Vec<HostMount>,
    /// Of the mounts, in their order.
    sources: Vec<JudgedDir>,
}

impl Judged {
    pub(super) fn into_places(self) -> Vec<JudgedDir> {
        self.workspace.into_iter().chain(self.sources).collect()
    }
}

impl SessionManager {
    pub(super) async fn create_session(&self, request: CreateSession) -> Result<SessionInfo> {
        let keyed = request.idempotency_key.is_some();
        let digest = keyed.then(|| digest(&request)).transpose()?;
        self.create_with(request, digest, None).await
    }

    /// Makes a session, with the work of a checkpoint in it. A request with a key has a digest.
    pub(super) async fn create_with(
        &self,
        request: CreateSession,
        digest: Option<String>,
        restore: Option<Checkpoint>,
    ) -> Result<SessionInfo> {
        let _at_work = self.inner.foundation.work.token();
        policy::limits::validate_create(&request)?;
        let mcp = self.plan_mcp(&request).await?;
        let (warm_agent, account) = (request.warm_agent, request.account.clone());
        let (mut record, judged) = self.prepare_record(request, mcp).await?;
        fail::fail_point!("manager.create.judged", |_| crate::fault::host(
            "create the session"
        ));
        record.request_digest = digest;
        let (_turn, inserted) = self.admit(&mut record).await?;
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
            places: judged.into_places(),
        };
        let driver = self.driver(&record);
        let launched = driver.ask(|answer| Request::Create(Box::new(plan), answer)).await;
        if launched.is_err() {
            self.forget(&id);
        }
        launched?;
        fail::fail_point!("manager.create.launched", |_| crate::fault::store(
            "create the session"
        ));
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
    pub(super) async fn wait_created(&self, id: &SessionId) -> Result<SessionInfo> {
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
        let sources = request
            .mounts
            .iter()
            .map(|mount| policy::mounts::judge_mount_source(&mount.source, host))
            .collect::<Result<Vec<_>>>()?;
        let found = request.mounts.iter().zip(&sources);
        let mounts = found.map(|(mount, source)| HostMount {
            source: source.path().to_owned(),
            ..mount.clone()
        });
        Ok(Judged {
            mounts: mounts.collect(),
            sources,
            workspace,
        })
    }

    /// What the request says of its end, and the operator's word where it says nothing.
    fn lifetime_of(&self, request: &CreateSession) -> Lifetime {
        let usual = self.inner.options.default_lifetime;
        Lifetime {
            idle_ms: request.lifetime.idle_ms.or(usual.idle_ms),
            max_ms: request.lifetime.max_ms.or(usual.max_ms),
            ..request.lifetime
        }
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
            boot_id: None,
            recovery: RecoveryRecord::default(),
            filling: false,
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
                lifetime: self.lifetime_of(request),
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
