//! How Claude Code is started in a session.

use std::collections::BTreeMap;

use secrecy::ExposeSecret;

use crate::agent::{AgentContext, AgentLaunch};
use crate::runtime::ContainerSpec;
use crate::session::PermissionMode;

/// What a caller may set otherwise through the session's environment.
///
/// With the agent's own defaults a model that never answers holds a turn for more than an hour (11 attempts of 360 s),
/// and a refused credential is tried for three minutes.
const TUNING: &[(&str, &str)] = &[
    // 0.5 + 1 + 2 + 4 + 8 + 16 s and some jitter: rides out a short overload, reports a long one within a minute.
    ("CLAUDE_CODE_MAX_RETRIES", "6"),
    ("API_TIMEOUT_MS", "180000"),
    ("CLAUDE_BYTE_STREAM_IDLE_TIMEOUT_MS", "180000"),
    ("LANG", "C.UTF-8"),
    (
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ),
];

/// What nobody may set otherwise.
const FIXED: &[(&str, &str)] = &[
    ("HOME", ContainerSpec::HOME_DIR),
    ("USER", "agent"),
    // The conversation lives in the session's own storage.
    ("CLAUDE_CONFIG_DIR", "/home/agent/.claude"),
    ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    ("DISABLE_AUTOUPDATER", "1"),
    ("DISABLE_TELEMETRY", "1"),
    ("DISABLE_ERROR_REPORTING", "1"),
    // A project's settings cannot reroute the provider (CVE-2026-21852).
    ("CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST", "1"),
];

pub(super) fn launch(context: &AgentContext) -> AgentLaunch {
    AgentLaunch {
        argv: argv(context),
        env: env(context),
    }
}

fn argv(context: &AgentContext) -> Vec<String> {
    let program = format!("{}/bin/claude", ContainerSpec::TOOLBOX_DIR);
    let mut argv = vec![program, "-p".into(), "--verbose".into()];
    let mut flag = |name: &str, value: &str| argv.extend([name.to_owned(), value.to_owned()]);
    flag("--input-format", "stream-json");
    flag("--output-format", "stream-json");
    if let Some(model) = &context.model {
        flag("--model", model);
    }
    if let Some(conversation) = &context.resume {
        flag("--resume", conversation);
    }
    if let Some(servers) = &context.mcp_config {
        flag("--mcp-config", &servers.to_string());
    }
    if !context.allowed_tools.is_empty() {
        flag("--allowedTools", &context.allowed_tools.join(","));
    }
    if context.mcp_config.is_some() {
        argv.push("--strict-mcp-config".into());
    }
    // A list of tools means that what is not on it is denied, so permissions cannot be skipped then.
    if context.permissions == PermissionMode::Bypass && context.allowed_tools.is_empty() {
        argv.push("--dangerously-skip-permissions".into());
    }
    argv
}

fn env(context: &AgentContext) -> BTreeMap<String, String> {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let mut env: BTreeMap<String, String> = TUNING.iter().map(own).collect();
    env.extend(context.env.clone());
    env.extend(FIXED.iter().map(own));
    env.insert("ANTHROPIC_BASE_URL".into(), context.model_url.clone());
    // The session's own token: worth nothing anywhere but at this session's door.
    env.insert(
        "ANTHROPIC_API_KEY".into(),
        context.token.expose_secret().to_owned(),
    );
    env
}
