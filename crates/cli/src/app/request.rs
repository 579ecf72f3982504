//! From flags and settings to what is asked of the lifecycle API.

use std::path::Path;

use session_core::error::Result;
use session_core::runtime::{NetworkMode, ResourceLimits};
use session_core::session::{CreateSession, WorkspaceSource};

use crate::args::{RunArgs, SessionArgs, session};
use crate::commands::{ApplyMode, RunSettings};
use crate::own_servers;
use crate::settings::Settings;

/// What `run` shall do.
pub(super) fn run_settings(
    args: &RunArgs,
    settings: Option<&Settings>,
    state_dir: &Path,
    current_dir: &Path,
) -> Result<RunSettings> {
    let mut session = session_request(&args.session, settings, current_dir)?;
    session.warm_agent = true;
    Ok(RunSettings {
        prompt: args.prompt.clone(),
        session,
        timeout: args.timeout,
        keep: args.keep,
        apply: if args.apply {
            ApplyMode::Always {
                executable_config: args.apply_executable_config,
            }
        } else if args.no_apply || args.prompt == "-" {
            // An answer cannot come from where the prompt came from.
            ApplyMode::Never
        } else {
            ApplyMode::Ask
        },
        state_dir: state_dir.to_owned(),
    })
}

/// The session that flags and settings ask for.
pub(super) fn session_request(
    args: &SessionArgs,
    settings: Option<&Settings>,
    current_dir: &Path,
) -> Result<CreateSession> {
    let own = args.servers.mcp_config.as_ref();
    Ok(CreateSession {
        name: args.name.clone(),
        workspace: workspace(args, current_dir),
        image: args.image.clone(),
        network: match args.network {
            session::Network::Sealed | session::Network::Allow => NetworkMode::Sealed,
            session::Network::Open => NetworkMode::Open,
        },
        limits: limits(args),
        mounts: args
            .bind
            .iter()
            .cloned()
            .map(|mut mount| {
                mount.source = current_dir.join(&mount.source);
                mount
            })
            .collect(),
        model: args.model.clone().or_else(|| settings?.model.clone()),
        small_model: args.small_model.clone(),
        allow: args.allow.clone(),
        budget: args.budget.budget(),
        lifetime: args.lifetime.lifetime(),
        on_interrupt: args.lifetime.on_interrupt(),
        env: args.env.iter().cloned().collect(),
        labels: args.label.iter().cloned().collect(),
        mcp_config: own
            .map(|file| own_servers::read(&current_dir.join(file)))
            .transpose()?,
        mcp: args.servers.selection(),
        ..CreateSession::default()
    })
}

fn workspace(args: &SessionArgs, current_dir: &Path) -> WorkspaceSource {
    if args.workspace.empty {
        return WorkspaceSource::Empty;
    }
    if let Some(url) = &args.workspace.clone {
        return WorkspaceSource::Clone {
            url: url.clone(),
            reference: args.workspace.reference.clone(),
        };
    }
    // `join` leaves an absolute path as it is. What the path means is judged by the manager, by handle.
    let path = match &args.workspace.workspace {
        Some(dir) => current_dir.join(dir),
        None => current_dir.to_owned(),
    };
    if args.workspace.mount {
        WorkspaceSource::Mount { path }
    } else {
        WorkspaceSource::Copy { path }
    }
}

fn limits(args: &SessionArgs) -> Option<ResourceLimits> {
    if args.memory.is_none() && args.cpus.is_none() && args.pids.is_none() {
        return None;
    }
    let usual = ResourceLimits::default();
    Some(ResourceLimits {
        memory_bytes: args.memory.unwrap_or(usual.memory_bytes),
        milli_cpus: args.cpus.unwrap_or(usual.milli_cpus),
        pids: args.pids.unwrap_or(usual.pids),
    })
}
