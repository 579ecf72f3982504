//! From the arguments of `create_session` to a request of the lifecycle API.

use std::path::PathBuf;

use session_core::lifetime::{Lifetime, OnInterrupt};
use session_core::runtime::{HostMount, ResourceLimits};
use session_core::session::{CreateSession, PermissionMode, WorkspaceSource};

use super::{Args, Interruption, Limits, McpMount, Reach, Servers, Workspace, account, own};
use crate::args::{self, Count, Cpus, Seconds, Size, given};
use crate::call::Call;
use crate::failure::Failure;

/// Builds the request.
pub(super) fn build(args: Args, call: &Call) -> Result<CreateSession, Failure> {
    let options = &call.core.options;
    let account = account::read(&args, call)?;
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
    let workspace = workspace(&args)?;
    let mcp = Servers {
        names: &args.mcp_servers,
        profile: args.mcp_profile.as_deref(),
        tools: &args.mcp_tools,
        none: args.no_mcp,
    }
    .read()?;
    Ok(CreateSession {
        name: given(args.session_name.as_deref()).map(str::to_owned),
        workspace,
        image: args::image(args.image.as_deref())?.or_else(|| options.default_image.clone()),
        network,
        limits: limits(options.default_limits, args.memory, args.cpus, args.pids)?,
        mounts: args.mcp_mounts.iter().map(mount).collect(),
        allow,
        budget,
        model: account.model.or_else(|| options.default_model.clone()),
        small_model: account.small_model,
        labels: args.labels,
        account: account.account,
        idempotency_key: given(args.idempotency_key.as_deref()).map(str::to_owned),
        permissions: if args.strict_permissions == Some(true) {
            PermissionMode::Strict
        } else {
            PermissionMode::Bypass
        },
        mcp,
        mcp_config: own(args.mcp_config)?,
        warm_agent: options.warm_agents,
        lifetime: Lifetime {
            idle_ms: args.idle_timeout_seconds.map(Seconds::ms),
            max_ms: args.max_life_seconds.map(Seconds::ms),
            // Whoever answers to a model cannot promise to come back in time.
            lease_ms: None,
            keep_on_failure: args.keep_on_failure == Some(true),
        },
        on_interrupt: match args.on_interrupt {
            Some(Interruption::Resume) => OnInterrupt::Resume,
            Some(Interruption::Stop) | None => OnInterrupt::Stop,
        },
        ..CreateSession::default()
    })
}

fn workspace(args: &Args) -> Result<WorkspaceSource, Failure> {
    let path = given(args.project_path.as_deref()).map(PathBuf::from);
    let url = given(args.repository_url.as_deref());
    let reference = given(args.reference.as_deref()).map(str::to_owned);
    if reference.is_some() && url.is_none() {
        return Err(Failure::invalid(
            "ref: there is no repository that it could be of",
            "give repositoryUrl, too",
        ));
    }
    match (args.workspace, path, url) {
        (_, Some(_), Some(_)) => Err(Failure::invalid(
            "projectPath and repositoryUrl are both given, and a workspace has one source",
            "leave one of them out",
        )),
        (None | Some(Workspace::Clone), None, Some(url)) => Ok(WorkspaceSource::Clone {
            url: url.to_owned(),
            reference,
        }),
        (None | Some(Workspace::Mount), Some(path), None) => Ok(WorkspaceSource::Mount { path }),
        (Some(Workspace::Copy), Some(path), None) => Ok(WorkspaceSource::Copy { path }),
        (None, None, None) => Ok(WorkspaceSource::Empty),
        (Some(Workspace::Clone), ..) => Err(Failure::invalid(
            "workspace: \"clone\" needs a repository",
            "give repositoryUrl instead of projectPath",
        )),
        (Some(Workspace::Mount | Workspace::Copy), ..) => Err(Failure::invalid(
            "workspace: \"mount\" and \"copy\" need a directory of this host",
            "give projectPath instead of repositoryUrl",
        )),
    }
}

/// The limits that were asked for, on top of the defaults; `None` when none was asked for.
pub(in crate::tools) fn limits(
    defaults: ResourceLimits,
    memory: Option<Size>,
    cpus: Option<Cpus>,
    pids: Option<Count>,
) -> Result<Option<ResourceLimits>, Failure> {
    if memory.is_none() && cpus.is_none() && pids.is_none() {
        return Ok(None);
    }
    let pids = pids
        .map(|Count(pids)| u32::try_from(pids))
        .transpose()
        .map_err(|_| {
            Failure::invalid(
                "pids: the number is out of range",
                "1024 is plenty for most projects",
            )
        })?;
    Ok(Some(ResourceLimits {
        memory_bytes: memory.map_or(defaults.memory_bytes, |Size(bytes)| bytes),
        milli_cpus: cpus.map_or(defaults.milli_cpus, |Cpus(milli)| milli),
        pids: pids.unwrap_or(defaults.pids),
    }))
}

fn mount(mount: &McpMount) -> HostMount {
    HostMount {
        source: PathBuf::from(&mount.host_path),
        target: mount.container_path.clone(),
        read_only: mount.read_only,
    }
}
