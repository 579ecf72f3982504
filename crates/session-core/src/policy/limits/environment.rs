//! Environments: what can be passed to a program at all, and what would undo the seal.
//!
//! Whatever runs inside reads the environment, and it is stored with the session. So known names of credentials and
//! values that have the shape of one are refused: this catches accidents, not intent. And a variable that would send the
//! agent to another provider, past the gateway, belongs to the driver alone.

use std::collections::BTreeMap;

use super::{at_most, bad, shown};
use crate::error::{Error, Result};

const MAX_VARIABLES: usize = 1024;
const MAX_NAME_BYTES: usize = 256;
const MAX_VALUE_BYTES: usize = 64 << 10;
const MAX_TOTAL_BYTES: usize = 512 << 10;

/// Credentials by name. Compared without regard to case.
const SECRET_NAMES: &[&str] = &[
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_CLIENT_SECRET",
    "AZURE_OPENAI_API_KEY",
    "CARGO_REGISTRY_TOKEN",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLOUDFLARE_API_TOKEN",
    "DOCKER_AUTH_CONFIG",
    "GEMINI_API_KEY",
    "GH_ENTERPRISE_TOKEN",
    "GH_TOKEN",
    "GITHUB_TOKEN",
    "GITLAB_TOKEN",
    "GOOGLE_API_KEY",
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "NODE_AUTH_TOKEN",
    "NPM_TOKEN",
    "OPENAI_API_KEY",
    "PYPI_TOKEN",
    "SLACK_BOT_TOKEN",
    "TWINE_PASSWORD",
    "VAULT_TOKEN",
];

/// How issued credentials begin, and from how many bytes on such a value is one rather than a word.
const SECRET_SHAPES: &[(&str, usize)] = &[
    ("-----BEGIN ", 64),
    ("AIza", 39),
    ("AKIA", 20),
    ("ASIA", 20),
    ("gho_", 36),
    ("ghp_", 36),
    ("ghs_", 36),
    ("ghu_", 36),
    ("github_pat_", 40),
    ("glpat-", 20),
    ("hf_", 34),
    ("npm_", 36),
    ("sk-ant-", 24),
    ("sk-proj-", 40),
    ("xoxb-", 24),
    ("xoxp-", 24),
];

/// Variables that decide where the agent's requests go and as whom: the driver's own.
const PROVIDER_PREFIXES: &[&str] = &[
    "ANTHROPIC_",
    "CLAUDE_CODE_API_",
    "CLAUDE_CODE_OAUTH_",
    "CLAUDE_CODE_PROVIDER_",
    "CLAUDE_CODE_SKIP_",
    "CLAUDE_CODE_USE_",
];
const PROVIDER_NAMES: &[&str] = &["CLAUDE_CONFIG_DIR"];
/// The choice of a model is the caller's, for example `ANTHROPIC_DEFAULT_HAIKU_MODEL`.
const MODEL_CHOICE: (&str, &str) = ("ANTHROPIC_", "_MODEL");

/// Judges an environment.
///
/// # Errors
/// `InvalidArgument`, without any value in it.
pub fn validate_env(env: &BTreeMap<String, String>) -> Result<()> {
    if env.len() > MAX_VARIABLES {
        return Err(bad("there are too many environment variables")
            .with_context("variables", env.len())
            .with_context("limit", MAX_VARIABLES)
            .with_hint("put them into a file of the workspace"));
    }
    for (name, value) in env {
        validate_variable(name, value).map_err(|error| error.with_context("variable", shown(name)))?;
    }
    // The kernel counts the `=`, a NUL and a pointer for each.
    let total = env
        .iter()
        .map(|(name, value)| name.len() + value.len() + 10)
        .sum();
    at_most("the environment", total, MAX_TOTAL_BYTES)
        .map_err(|error| error.with_hint("put large values into a file of the workspace"))
}

fn validate_variable(name: &str, value: &str) -> Result<()> {
    if name.is_empty() || name.contains(['=', '\0']) || name.chars().any(char::is_control) {
        return Err(
            bad("the name of an environment variable is empty or contains = or a control character")
                .with_hint("write it as NAME=VALUE"),
        );
    }
    if value.contains('\0') {
        return Err(bad("the value of an environment variable contains a NUL")
            .with_hint("leave the NUL out; a file can carry any bytes"));
    }
    at_most("the name of an environment variable", name.len(), MAX_NAME_BYTES)?;
    at_most(
        "the value of an environment variable",
        value.len(),
        MAX_VALUE_BYTES,
    )?;
    if is_secret_name(name) {
        return Err(secret(
            "this variable holds a credential, and whatever runs in a session can read it",
        ));
    }
    if looks_secret(value) {
        return Err(secret(
            "its value looks like a credential, and whatever runs in a session can read it",
        ));
    }
    if steers_provider(name) {
        return Err(bad("this variable would lead the agent past the gateway")
            .with_hint("name the provider in the gateway's configuration; choose a model with `model`"));
    }
    Ok(())
}

fn secret(message: &'static str) -> Error {
    bad(message).with_hint(
        "secrets belong to the gateway, which adds them on the host; a model's key goes into `account` or the \
         environment of the manager",
    )
}

/// Whether a credential usually has this name.
pub fn is_secret_name(name: &str) -> bool {
    SECRET_NAMES
        .iter()
        .any(|secret| secret.eq_ignore_ascii_case(name))
}

/// Whether a value has the shape of an issued credential, alone or after a scheme as in an HTTP header.
pub fn looks_secret(value: &str) -> bool {
    let value = value.trim();
    let value = value.strip_prefix("Bearer ").unwrap_or(value).trim_start();
    SECRET_SHAPES
        .iter()
        .any(|(start, length)| value.len() >= *length && value.starts_with(start))
}

/// Whether a variable decides where the agent's requests go, or as whom.
pub(crate) fn steers_provider(name: &str) -> bool {
    let chooses_model = name.starts_with(MODEL_CHOICE.0) && name.ends_with(MODEL_CHOICE.1);
    let steers =
        PROVIDER_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || PROVIDER_NAMES.contains(&name);
    steers && !chooses_model
}
