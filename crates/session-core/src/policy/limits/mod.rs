//! Bounds of what callers send: names, labels, environments, argument vectors, prompts, resources.
//!
//! Everything is refused here, with a reason and a hint, before a store, an engine or a container sees it. The bounds are
//! what the kernel and the engines take, or far above what anybody needs. Values of variables and credentials never
//! appear in an error.

mod agent;
mod environment;
mod paths;
mod seal;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

pub use self::agent::{validate_mcp_config, validate_mcp_selection, validate_tools};
pub(crate) use self::environment::steers_provider;
pub use self::environment::{is_secret_name, looks_secret, validate_env};
pub use self::paths::{validate_copy_path, validate_cwd, validate_mount_target};
pub use self::seal::MAX_ALLOW_ENTRIES;
use crate::agent::MAX_PROMPT_BYTES;
use crate::command::{CommandRequest, OnDisconnect};
use crate::error::{Error, ErrorKind, Result};
use crate::lifetime::Lifetime;
use crate::runtime::{HostMount, ResourceLimits};
use crate::session::{CreateSession, PromptRequest};

/// The longest name of a session, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// The most labels of a session.
pub const MAX_LABELS: usize = 64;
/// The longest key of a label, in bytes.
pub const MAX_LABEL_KEY_BYTES: usize = 128;
/// The longest value of a label, in bytes.
pub const MAX_LABEL_VALUE_BYTES: usize = 4 << 10;
/// The most further mounts of a session.
pub const MAX_MOUNTS: usize = 64;
/// The longest argument, in bytes: the kernel's `MAX_ARG_STRLEN` without its final NUL.
pub const MAX_ARGUMENT_BYTES: usize = (128 << 10) - 1;
/// All arguments together, in bytes. With the environment's bound this stays below the kernel's 2 MiB.
pub const MAX_ARGV_BYTES: usize = 1 << 20;
/// The longest idempotency key, in bytes.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 255;
/// Memory of a session, in bytes.
pub const MEMORY_BYTES: RangeInclusive<u64> = (32 << 20)..=(16 << 40);
/// CPU time of a session, in thousandths of a core.
pub const MILLI_CPUS: RangeInclusive<u32> = 10..=1_024_000;
/// Processes and threads of a session.
pub const PIDS: RangeInclusive<u32> = 16..=4_194_304;

/// What may be said of a session's lifetime, in milliseconds: at most ten years.
pub const LIFETIME_MS: RangeInclusive<u64> = 1..=315_360_000_000;

/// Labels under this prefix are ours: they sign what we made.
const RESERVED_LABELS: &str = "dev.cofferdam.";

/// Judges a request for a session, all but its directories on the host (see [`super::mounts`]).
///
/// # Errors
/// `InvalidArgument`.
pub fn validate_create(request: &CreateSession) -> Result<()> {
    if let Some(name) = &request.name {
        validate_name(name)?;
    }
    validate_labels(&request.labels)?;
    if let Some(owner) = &request.owner {
        validate_name(owner)?;
    }
    validate_env(&request.env)?;
    if let Some(limits) = &request.limits {
        validate_limits(limits)?;
    }
    validate_mounts(&request.mounts)?;
    if let Some(config) = &request.mcp_config {
        validate_mcp_config(config)?;
    }
    validate_mcp_selection(&request.mcp)?;
    for model in [&request.model, &request.small_model].into_iter().flatten() {
        agent::validate_model(model)?;
    }
    seal::validate_allow(&request.allow, request.network)?;
    seal::validate_budget(&request.budget)?;
    validate_lifetime(&request.lifetime)?;
    if let Some(account) = &request.account {
        seal::validate_account(account)?;
    }
    request
        .idempotency_key
        .as_deref()
        .map_or(Ok(()), validate_idempotency_key)
}

/// Judges a command.
///
/// # Errors
/// `InvalidArgument`.
pub fn validate_command(request: &CommandRequest) -> Result<()> {
    validate_argv(&request.argv)?;
    validate_env(&request.env)?;
    if let Some(cwd) = &request.cwd {
        validate_cwd(cwd)?;
    }
    if request.time_limit.is_some_and(|limit| limit.is_zero()) {
        return Err(
            bad("a time limit of nothing leaves no time to run").with_hint("leave the limit away for none")
        );
    }
    let Some(key) = &request.idempotency_key else {
        return Ok(());
    };
    if request.on_disconnect != OnDisconnect::Detach {
        return Err(bad(
            "an idempotency key is for a command that outlives its caller: another cannot be come back to",
        )
        .with_hint("detach the command, or leave the key away"));
    }
    validate_idempotency_key(key)
}

fn validate_lifetime(lifetime: &Lifetime) -> Result<()> {
    let limits = [
        ("idle_ms", lifetime.idle_ms),
        ("max_ms", lifetime.max_ms),
        ("lease_ms", lifetime.lease_ms),
    ];
    let beyond = |limit: Option<u64>| limit.is_some_and(|limit| !LIFETIME_MS.contains(&limit));
    match limits.into_iter().find(|(_, limit)| beyond(*limit)) {
        None => Ok(()),
        Some((name, _)) => Err(bad("a session lives from a millisecond to ten years")
            .with_context("limit", name)
            .with_hint("leave the limit away for none")),
    }
}

/// Judges a prompt.
///
/// # Errors
/// `InvalidArgument`.
pub fn validate_prompt(prompt: &str) -> Result<()> {
    if prompt.trim().is_empty() {
        return Err(bad("the prompt is empty").with_hint("say what the agent shall do"));
    }
    at_most("the prompt", prompt.len(), MAX_PROMPT_BYTES).map_err(|error| {
        error.with_hint("put the material into a file of the workspace and name it in the prompt")
    })
}

/// Judges a request for a turn: the prompt, its tools, its time limit and its key.
///
/// # Errors
/// `InvalidArgument`.
pub fn validate_prompt_request(request: &PromptRequest) -> Result<()> {
    validate_prompt(&request.prompt)?;
    validate_tools(&request.tools)?;
    if request.time_limit.is_some_and(|limit| limit.is_zero()) {
        return Err(
            bad("a time limit of nothing leaves no time to run").with_hint("leave the limit away for none")
        );
    }
    request
        .idempotency_key
        .as_deref()
        .map_or(Ok(()), validate_idempotency_key)
}

/// Judges an idempotency key.
///
/// # Errors
/// `InvalidArgument`.
pub fn validate_idempotency_key(key: &str) -> Result<()> {
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(bad("an idempotency key is made of visible ASCII characters")
            .with_context("key", shown(key))
            .with_hint("use a fresh UUID for each request"));
    }
    at_most("an idempotency key", key.len(), MAX_IDEMPOTENCY_KEY_BYTES)
}

fn validate_name(name: &str) -> Result<()> {
    if name.trim().is_empty() || name.chars().any(char::is_control) {
        return Err(bad("a name is one line of text")
            .with_context("name", shown(name))
            .with_hint("choose some words without line ends"));
    }
    at_most("a name", name.len(), MAX_NAME_BYTES)
}

fn validate_labels(labels: &BTreeMap<String, String>) -> Result<()> {
    if labels.len() > MAX_LABELS {
        return Err(bad("there are too many labels")
            .with_context("labels", labels.len())
            .with_context("limit", MAX_LABELS)
            .with_hint("keep those that somebody filters by"));
    }
    for (key, value) in labels {
        validate_label(key, value).map_err(|error| error.with_context("label", shown(key)))?;
    }
    Ok(())
}

fn validate_label(key: &str, value: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if !key.starts_with(|c: char| c.is_ascii_alphanumeric()) || !key.chars().all(allowed) {
        return Err(bad("the key of a label is made of letters, digits and . _ - /")
            .with_hint("for example team or example.com/team"));
    }
    if key.starts_with(RESERVED_LABELS) {
        return Err(
            bad("labels under dev.cofferdam. are kept for our own use").with_hint("use another prefix")
        );
    }
    if value.contains('\0') {
        return Err(bad("the value of a label contains a NUL").with_hint("leave the NUL out"));
    }
    at_most("the key of a label", key.len(), MAX_LABEL_KEY_BYTES)?;
    at_most("the value of a label", value.len(), MAX_LABEL_VALUE_BYTES)
}

fn validate_limits(limits: &ResourceLimits) -> Result<()> {
    within("memory_bytes", limits.memory_bytes, &MEMORY_BYTES)?;
    within("milli_cpus", limits.milli_cpus, &MILLI_CPUS)?;
    within("pids", limits.pids, &PIDS)
}

fn validate_mounts(mounts: &[HostMount]) -> Result<()> {
    if mounts.len() > MAX_MOUNTS {
        return Err(bad("there are too many mounts")
            .with_context("mounts", mounts.len())
            .with_context("limit", MAX_MOUNTS)
            .with_hint("mount a directory that contains several of them"));
    }
    let mut targets = BTreeSet::new();
    for mount in mounts {
        validate_mount_target(&mount.target)?;
        if !targets.insert(mount.target.as_str()) {
            return Err(bad("two mounts have the same target")
                .with_context("target", shown(&mount.target))
                .with_hint("give each mount a target of its own"));
        }
    }
    Ok(())
}

fn validate_argv(argv: &[Vec<u8>]) -> Result<()> {
    if argv.first().is_none_or(Vec::is_empty) {
        return Err(
            bad("there is no program to run").with_hint("name a program, for example: exec SESSION -- ls -l")
        );
    }
    if let Some(index) = argv.iter().position(|argument| argument.contains(&0)) {
        return Err(bad("an argument contains a NUL, which no program can be given")
            .with_context("argument", index)
            .with_hint("leave the NUL out; a file or standard input can carry any bytes"));
    }
    for (index, argument) in argv.iter().enumerate() {
        at_most("an argument", argument.len(), MAX_ARGUMENT_BYTES).map_err(|error| {
            error
                .with_context("argument", index)
                .with_hint("copy the data into a file, or write it to standard input")
        })?;
    }
    // The kernel counts a pointer and a NUL for each.
    let total = argv.iter().map(|argument| argument.len() + 9).sum();
    at_most("the argument vector", total, MAX_ARGV_BYTES)
        .map_err(|error| error.with_hint("pass the arguments through a file or standard input"))
}

fn within<T: PartialOrd + std::fmt::Display + Copy>(
    what: &'static str,
    value: T,
    range: &RangeInclusive<T>,
) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(bad("a resource limit is out of range")
        .with_context(what, value)
        .with_hint(format!(
            "choose {what} between {} and {}",
            range.start(),
            range.end()
        )))
}

fn at_most(what: &'static str, length: usize, limit: usize) -> Result<()> {
    if length <= limit {
        return Ok(());
    }
    Err(bad(format!("{what} is too long"))
        .with_context("bytes", length)
        .with_context("limit", limit)
        .with_hint(format!("shorten it to {limit} bytes at most")))
}

fn bad(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidArgument, "accept the request", message)
}

/// A caller's text in an error: one line, and not all of it.
fn shown(text: &str) -> String {
    text.chars()
        .take(80)
        .collect::<String>()
        .escape_debug()
        .to_string()
}
