//! How the program is started: its arguments and its whole environment.

use std::collections::BTreeMap;

use secrecy::ExposeSecret;
use serde_json::json;

use super::super::AgentContext;
use super::PROGRAM;
use crate::ambient::LOOPBACK;
use crate::gateway::ModelApi;
use crate::mcp::ENDPOINT_NAME;
use crate::policy::limits::steers_provider;
use crate::runtime::ContainerSpec;
use crate::session::PermissionMode;

/// What the session's environment may override.
///
/// The retries are bounded because with the program's own defaults a provider that never answers holds a turn for more
/// than an hour: six retries take 32 seconds when each fails at once, and a silence of three minutes counts as a failure.
const DEFAULTS: &[(&str, &str)] = &[
    ("API_TIMEOUT_MS", "180000"),
    ("CLAUDE_BYTE_STREAM_IDLE_TIMEOUT_MS", "180000"),
    ("CLAUDE_CODE_MAX_RETRIES", "6"),
    ("LANG", "C.UTF-8"),
    (
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/cofferdam/bin",
    ),
];

/// With an MCP endpoint; the session's environment may override it as well.
///
/// The endpoint answers at once, but behind it a server may have to be started, in a container of its own perhaps, and a
/// call may take long without a word: over HTTP the program would give it up after five minutes, where it waits half an
/// hour for a server of its own. How long a call may take in all is the gateway's to say.
const MCP_DEFAULTS: &[(&str, &str)] = &[
    ("CLAUDE_CODE_MCP_TOOL_IDLE_TIMEOUT", "1800000"),
    ("MCP_CONNECT_TIMEOUT_MS", "30000"),
    ("MCP_TIMEOUT", "60000"),
    ("MCP_TOOL_TIMEOUT", "86400000"),
];

/// Holds the session's token for the MCP endpoint, so that it stands in no argument. The program puts it into the header.
const MCP_TOKEN: &str = "COFFERDAM_MCP_TOKEN";

/// What nothing overrides: everything goes to the gateway, and nothing goes anywhere else.
const FIXED: &[(&str, &str)] = &[
    ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    // A project's settings do not choose another provider (CVE-2026-21852).
    ("CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST", "1"),
    ("DISABLE_AUTOUPDATER", "1"),
    ("DISABLE_ERROR_REPORTING", "1"),
    ("DISABLE_TELEMETRY", "1"),
    ("HOME", ContainerSpec::HOME_DIR),
    ("USER", "agent"),
];

/// The gateway is on loopback; a proxy that the caller names is for what the agent runs.
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// The model for small tasks; the session's environment goes before what was asked for.
const SMALL_MODEL: &str = "ANTHROPIC_SMALL_FAST_MODEL";

pub(super) fn env(context: &AgentContext) -> BTreeMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let mut env: BTreeMap<String, String> = DEFAULTS.iter().map(owned).collect();
    if context.mcp_url.is_some() {
        env.extend(MCP_DEFAULTS.iter().map(owned));
    }
    let ours = |name: &str| steers_provider(name) || name == MCP_TOKEN;
    let theirs = context.env.iter().filter(|(name, _)| !ours(name));
    env.extend(theirs.map(|(name, value)| (name.clone(), value.clone())));
    for name in NO_PROXY {
        let theirs = env
            .get(name)
            .filter(|value| !value.is_empty())
            .map(|value| format!("{value},{LOOPBACK}"));
        env.insert(name.to_owned(), theirs.unwrap_or_else(|| LOOPBACK.to_owned()));
    }
    if restricted(context) {
        // Without it, tools of MCP servers are found by a tool that would have to be allowed as well.
        env.insert("ENABLE_TOOL_SEARCH".to_owned(), "false".to_owned());
    }
    env.extend(FIXED.iter().map(owned));
    if context.mcp_url.is_some() {
        env.insert(MCP_TOKEN.to_owned(), context.token.expose_secret().to_owned());
    }
    env.extend(provider(context).map(|(name, value)| (name.to_owned(), value)));
    if let Some(small_model) = &context.small_model {
        env.entry(SMALL_MODEL.to_owned())
            .or_insert_with(|| small_model.clone());
    }
    env.insert(
        "CLAUDE_CONFIG_DIR".to_owned(),
        format!("{}/.claude", ContainerSpec::HOME_DIR),
    );
    env
}

/// Where the program finds the model, which API is spoken there, and how it shows the session's token.
fn provider(context: &AgentContext) -> impl Iterator<Item = (&'static str, String)> {
    let (url, token) = (&context.model_url, context.token.expose_secret());
    let variables = match &context.model_api {
        ModelApi::Messages => vec![
            ("ANTHROPIC_BASE_URL", url.clone()),
            ("ANTHROPIC_API_KEY", token.to_owned()),
        ],
        ModelApi::Bedrock { region } => vec![
            ("CLAUDE_CODE_USE_BEDROCK", "1".to_owned()),
            ("ANTHROPIC_BEDROCK_BASE_URL", url.clone()),
            ("AWS_REGION", region.clone()),
            // Shown as it is; the gateway signs.
            ("AWS_BEARER_TOKEN_BEDROCK", token.to_owned()),
        ],
        ModelApi::Vertex { region, project } => vec![
            ("CLAUDE_CODE_USE_VERTEX", "1".to_owned()),
            ("ANTHROPIC_VERTEX_BASE_URL", format!("{url}/v1")),
            ("CLOUD_ML_REGION", region.clone()),
            ("ANTHROPIC_VERTEX_PROJECT_ID", project.clone()),
            ("CLAUDE_CODE_SKIP_VERTEX_AUTH", "1".to_owned()),
            ("ANTHROPIC_CUSTOM_HEADERS", format!("x-api-key: {token}")),
        ],
    };
    variables.into_iter()
}

pub(super) fn argv(context: &AgentContext) -> Vec<String> {
    let mut argv: Vec<String> = [
        PROGRAM,
        "-p",
        "--input-format",
        "stream-json",
        "--output-format",
        "stream-json",
    ]
    .map(str::to_owned)
    .into();
    argv.push("--verbose".to_owned());
    add_options(context, &mut argv);
    argv
}

/// What holds with and without a person in front of it.
pub(super) fn add_options(context: &AgentContext, argv: &mut Vec<String>) {
    // The servers are the gateway's; a project's own would be started from a network that is not there.
    argv.push("--strict-mcp-config".to_owned());
    permissions(context, argv);
    if let Some(url) = &context.mcp_url {
        argv.extend(["--mcp-config".to_owned(), mcp_config(url)]);
    }
    if let Some(model) = &context.model {
        argv.extend(["--model".to_owned(), model.clone()]);
    }
    if let Some(conversation) = &context.resume {
        argv.extend(["--resume".to_owned(), conversation.clone()]);
    }
}

/// One server stands for all: the gateway's endpoint.
fn mcp_config(url: &str) -> String {
    let endpoint = json!({
        "type": "http",
        "url": url,
        "headers": { "Authorization": format!("Bearer ${{{MCP_TOKEN}}}") },
    });
    json!({ "mcpServers": { ENDPOINT_NAME: endpoint } }).to_string()
}

fn restricted(context: &AgentContext) -> bool {
    context.permissions == PermissionMode::Strict || !context.allowed_tools.is_empty()
}

/// Denied instead of asked about: there is nobody to ask. With a list of tools, the built-in ones that are not on it do
/// not exist either; otherwise reading would be allowed in any case.
fn permissions(context: &AgentContext, argv: &mut Vec<String>) {
    if !restricted(context) {
        argv.push("--dangerously-skip-permissions".to_owned());
        return;
    }
    argv.extend(["--permission-mode", "dontAsk"].map(str::to_owned));
    if !context.allowed_tools.is_empty() {
        argv.extend(["--tools".to_owned(), built_in(&context.allowed_tools)]);
        argv.extend(["--allowedTools".to_owned(), context.allowed_tools.join(",")]);
    }
}

/// The built-in tools of a list of rules: `Bash(git log *)` is a rule about `Bash`.
fn built_in(rules: &[String]) -> String {
    let mut names: Vec<&str> = rules
        .iter()
        .map(|rule| rule.split('(').next().unwrap_or_default().trim())
        .filter(|name| !name.starts_with("mcp__"))
        .collect();
    names.sort_unstable();
    names.dedup();
    names.join(",")
}
