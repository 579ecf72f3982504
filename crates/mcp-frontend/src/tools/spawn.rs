//! `spawn_claude_container`: a session for one task, from its making to its end, in one call.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use session_core::gateway::ProviderAccount;
use session_core::id::ContainerName;
use session_core::session::{CreateSession, PromptRequest, SessionInfo, WorkspaceSource};
use session_core::turn::TurnOutcome;
use tokio::time::Instant;

use super::create::{Limits, McpConfig, Network, Reach, Servers, Workspace, limits, own};
use super::{DiffPart, Hints, Spec, Tool, diff_part, no_changes};
use crate::args::{self, Count, Minutes, Seconds, Secret, Size, Usd, given};
use crate::call::{Call, Stop};
use crate::core::Core;
use crate::failure::Failure;
use crate::tasks::turns;
use crate::tasks::view::{TurnResult, silence};
use crate::{making, reaper};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);
const DEFAULT_MEMORY: Size = Size(2 << 30);
/// How much longer than its time limit a call may exist at all, before others may put its session away.
const GRACE: Duration = Duration::from_secs(300);

/// See the module.
pub(super) struct Spawn;

/// What `spawn_claude_container` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Args {
    /// What the agent shall do.
    task_description: String,
    /// A repository (https://…) to work in. A sealed session reaches its host only when `allow` names it, or the preset "git".
    repository_url: Option<String>,
    /// The branch, tag or commit of repositoryUrl.
    #[serde(rename = "ref")]
    reference: Option<String>,
    /// Absolute path of a project directory on this host to work in.
    project_path: Option<String>,
    /// A provider key for this task alone. It stays on the host.
    api_key: Option<Secret>,
    /// How long all of it may take; 300 when absent.
    timeout_seconds: Option<Seconds>,
    /// Memory; "2g" when absent.
    memory: Option<Size>,
    /// With projectPath. copy (default): projectPath stays as it is and the diff is the result. mount: the agent changes projectPath itself.
    workspace: Option<Workspace>,
    /// sealed (default): nothing but the model. allow: the hosts in `allow`, too; giving `allow` is enough. open: unrestricted network, which the operator may forbid.
    network: Option<Network>,
    /// Hosts that the session may reach: "docs.example.com", "*.example.com", "host.example.com:8443", or the presets npm, pypi, crates, debian, git.
    #[serde(default)]
    allow: Vec<String>,
    /// The most money in US dollars that it may spend on the model.
    budget_usd: Option<Usd>,
    /// The most tokens of all kinds.
    budget_tokens: Option<Count>,
    /// The most requests to the model.
    budget_requests: Option<Count>,
    /// The most minutes with a request to the model under way.
    budget_minutes: Option<Minutes>,
    /// Names of MCP servers of the operator that the agent may use, beside those of the profile.
    #[serde(default)]
    mcp_servers: Vec<String>,
    /// The operator's profile of MCP servers; "default", if there is one, when neither it nor mcpServers is given.
    mcp_profile: Option<String>,
    /// Only these tools of theirs: "server__tool" or "server__*".
    #[serde(default)]
    mcp_tools: Vec<String>,
    /// true: none of the operator's MCP servers.
    no_mcp: Option<bool>,
    /// MCP servers that the session brings itself, as in a `.mcp.json` file. No secrets.
    #[schemars(with = "Option<McpConfig>")]
    mcp_config: Option<Value>,
    /// The container image.
    image: Option<String>,
    /// The model for the agent.
    model: Option<String>,
}

/// What `spawn_claude_container` gives.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Output {
    /// The session, which is gone by now; its log stays readable.
    session_id: String,
    /// The name that its container had on the engine.
    container_name: String,
    /// Always succeeded: everything else is an error.
    status: &'static str,
    #[serde(flatten)]
    result: TurnResult,
    /// What the agent changed.
    diff: DiffPart,
    /// From the call to the ready session, in milliseconds.
    ready_ms: u64,
    /// From the call to the end, in milliseconds.
    total_ms: u64,
    /// Whether nothing is left of the container.
    cleaned_up: bool,
    /// What to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

fn workspace(args: &Args) -> Result<WorkspaceSource, Failure> {
    let path = given(args.project_path.as_deref()).map(PathBuf::from);
    let url = given(args.repository_url.as_deref());
    let reference = given(args.reference.as_deref()).map(str::to_owned);
    match (path, url) {
        (Some(_), Some(_)) => Err(Failure::invalid(
            "projectPath and repositoryUrl are both given, and a workspace has one source",
            "leave one of them out",
        )),
        (_, None) if args.workspace == Some(Workspace::Clone) => Err(Failure::invalid(
            "workspace: \"clone\" needs a repository",
            "give repositoryUrl",
        )),
        (Some(path), None) if args.workspace == Some(Workspace::Mount) => Ok(WorkspaceSource::Mount { path }),
        (Some(path), None) => Ok(WorkspaceSource::Copy { path }),
        (None, Some(url)) => Ok(WorkspaceSource::Clone {
            url: url.to_owned(),
            reference,
        }),
        (None, None) if reference.is_some() => Err(Failure::invalid(
            "ref: there is no repository that it could be of",
            "give repositoryUrl, too",
        )),
        (None, None) => Ok(WorkspaceSource::Empty),
    }
}

fn request(args: &mut Args, call: &Call, limit: Duration) -> Result<CreateSession, Failure> {
    let options = &call.core.options;
    let workspace = workspace(args)?;
    let (network, allow) = Reach {
        network: args.network,
        allow: &args.allow,
    }
    .read()?;
    let budget = Limits {
        usd: args.budget_usd,
        tokens: args.budget_tokens,
        requests: args.budget_requests,
        minutes: args.budget_minutes,
    }
    .budget()?;
    let mcp = Servers {
        names: &args.mcp_servers,
        profile: args.mcp_profile.as_deref(),
        tools: &args.mcp_tools,
        none: args.no_mcp,
    }
    .read()?;
    Ok(CreateSession {
        workspace,
        mcp,
        mcp_config: own(args.mcp_config.take())?,
        network,
        allow,
        budget,
        image: args::image(args.image.as_deref())?.or_else(|| options.default_image.clone()),
        limits: limits(
            options.default_limits,
            Some(args.memory.unwrap_or(DEFAULT_MEMORY)),
            None,
            None,
        )?,
        model: given(args.model.as_deref())
            .map(str::to_owned)
            .or_else(|| options.default_model.clone()),
        account: args
            .api_key
            .take()
            .and_then(Secret::into_given)
            .map(ProviderAccount::ApiKey),
        labels: BTreeMap::from([(reaper::LABEL.to_owned(), reaper::deadline(limit + GRACE))]),
        warm_agent: options.warm_agents,
        ..CreateSession::default()
    })
}

/// Puts the session away, whatever becomes of the call.
struct Cleanup {
    core: Arc<Core>,
    info: SessionInfo,
    done: bool,
}

impl Cleanup {
    async fn finish(mut self) -> bool {
        self.done = true;
        let gone = making::destroy_for_sure(&*self.core.api, &self.info).await;
        self.core.changes.nudge();
        gone
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        if !self.done {
            let (core, info) = (self.core.clone(), self.info.clone());
            // The tracker owns the work, and the server's end waits for it.
            self.core.tasks.spawn(async move {
                making::destroy_for_sure(&*core.api, &info).await;
                core.changes.nudge();
            });
        }
    }
}

/// Prompts, waits, compares.
async fn work(
    call: &Call,
    info: &SessionInfo,
    prompt: String,
    limit: Duration,
) -> Result<(TurnOutcome, Result<DiffPart, Failure>), Stop> {
    let api = &call.core.api;
    let request = PromptRequest {
        prompt,
        time_limit: Some(limit),
        ..PromptRequest::default()
    };
    let turn = api.prompt(&info.id, request).await?;
    let outcome = turns::follow(call, &turn).await?;
    let diff = api.diff(&info.id).await.map_err(Failure::from);
    Ok((
        outcome,
        diff.map(|diff| diff_part(&diff, 0, call.core.options.output_limit / 2)),
    ))
}

/// The failure of a task whose workspace is gone with it: what was changed until then is told now or never.
fn lost(outcome: &TurnOutcome, diff: &Result<DiffPart, Failure>) -> Option<Failure> {
    let failure = Failure::of_turn(outcome)?;
    Some(match diff {
        Ok(diff) if diff.changed => {
            failure.with_more(format!("What it had changed until then:\n{}", diff.patch))
        }
        _ => failure,
    })
}

impl Tool for Spawn {
    const SPEC: Spec = Spec {
        name: "spawn_claude_container",
        title: "Run one task in a container of its own",
        description: "Makes a session, lets its agent do one task, gives the answer and the diff, and removes the session \
            again, all in one call. Use it for a single task with nothing to follow; use create_session when you may \
            want to go on, look inside, or wait longer than some minutes.",
        hints: Hints {
            read_only: false,
            destructive: true,
            idempotent: false,
            open_world: true,
        },
    };
    type Args = Args;
    type Output = Output;

    async fn run(mut args: Args, call: &Call) -> Result<Output, Stop> {
        let begun = Instant::now();
        let limit = args.timeout_seconds.map_or(DEFAULT_TIMEOUT, Seconds::duration);
        if args.task_description.trim().is_empty() {
            return Err(Failure::invalid("taskDescription is empty", "say what the agent shall do").into());
        }
        let request = request(&mut args, call, limit)?;
        let info = making::make(call, request, limit).await?;
        let ready_ms = millis(begun);
        let cleanup = Cleanup {
            core: call.core.clone(),
            info: info.clone(),
            done: false,
        };
        let left = limit.saturating_sub(begun.elapsed()).max(Duration::from_secs(1));
        let worked = work(call, &info, args.task_description, left).await;
        // A client that gave up waits for nothing any more: what is left is done behind its back.
        if call.cancelled.is_cancelled() {
            return Err(Failure::cancelled("the call was cancelled; its session is removed").into());
        }
        let cleaned_up = cleanup.finish().await;
        let (outcome, diff) = worked?;
        if let Some(failure) = lost(&outcome, &diff) {
            return Err(failure.into());
        }
        let diff = diff?;
        let note = silence(&outcome).or_else(|| no_changes(&diff)).or_else(|| {
            diff.next_offset.map(|_| {
                "the patch is not complete, and its session is gone: use create_session for changes of this size".to_owned()
            })
        });
        if !cleaned_up {
            call.warn(format!(
                "session {} could not be removed; destroy_session may be tried again",
                info.id
            ));
        }
        Ok(Output {
            session_id: info.id.to_string(),
            container_name: ContainerName::of(&info.id).to_string(),
            status: "succeeded",
            result: TurnResult::new(&outcome, 0, call.core.options.output_limit / 2),
            diff: DiffPart {
                next_offset: None,
                incomplete: diff.incomplete || diff.next_offset.is_some(),
                ..diff
            },
            ready_ms,
            total_ms: millis(begun),
            cleaned_up,
            note,
        })
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
