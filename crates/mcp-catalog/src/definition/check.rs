//! Judges what a definition says, before anybody acts on it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use session_core::error::{Error, Result};
use session_core::policy::limits::{
    MAX_ALLOW_ENTRIES, MAX_ARGUMENT_BYTES, MAX_ARGV_BYTES, MAX_MOUNTS, is_secret_name, looks_secret,
    validate_cwd, validate_env, validate_mount_target,
};
use session_core::secret::SecretReference;

use super::check_http::{check_headers, check_oauth, check_url};
use super::secrets::{argument_holds_secret, none_inside, refuse_plain};
use super::{Mount, ServerDefinition, Times, Transport, Value};
use crate::flaw::Flaw;

const MAX_DESCRIPTION: usize = 1024;
const MAX_ARGS: usize = 1024;
const MAX_VARIABLES: usize = 1024;
pub(super) const MAX_ENV_NAME: usize = 256;
const MAX_VALUE: usize = 64 << 10;
const MAX_ENV: usize = 512 << 10;
const MAX_PATTERNS: usize = 1024;
pub(super) const MAX_PATTERN: usize = 256;
const MAX_PATH: usize = 4095;
const MAX_TIME_MS: u64 = 24 * 60 * 60 * 1000;

impl ServerDefinition {
    /// Judges the definition as a whole.
    ///
    /// # Errors
    /// `InvalidArgument` with the field, and never with what stands there.
    pub fn check(&self) -> Result<()> {
        self.flaw()
            .map_err(|flaw| flaw.into_error("use the declaration of an MCP server"))
    }

    pub(crate) fn flaw(&self) -> Result<(), Flaw> {
        if let Some(description) = &self.description {
            check_line(description, MAX_DESCRIPTION).map_err(|flaw| flaw.within("description"))?;
        }
        self.transport.flaw()?;
        for (field, patterns) in [("allow", &self.tools.allow), ("deny", &self.tools.deny)] {
            check_patterns(patterns).map_err(|flaw| flaw.within(field).within("tools"))?;
        }
        check_names(&self.idempotent).map_err(|flaw| flaw.within("idempotent"))?;
        check_times(&self.times).map_err(|flaw| flaw.within("times"))
    }
}

impl Transport {
    fn flaw(&self) -> Result<(), Flaw> {
        match self {
            Self::Stdio {
                command,
                args,
                env,
                cwd,
            } => {
                check_program(command, args)?;
                check_host_program(command)?;
                check_env(env).map_err(|flaw| flaw.within("env"))?;
                cwd.as_deref()
                    .map_or(Ok(()), check_absolute)
                    .map_err(|flaw| flaw.within("cwd"))
            }
            Self::Container {
                command,
                args,
                env,
                cwd,
                allow,
                mounts,
                image: _,
            } => {
                check_program(command, args)?;
                check_plain_env(env)?;
                if let Some(cwd) = cwd {
                    check_inner_cwd(cwd, true)?;
                }
                at_most(allow.len(), MAX_ALLOW_ENTRIES).map_err(|flaw| flaw.within("allow"))?;
                check_mounts(mounts).map_err(|flaw| flaw.within("mounts"))
            }
            Self::Session {
                command,
                args,
                env,
                cwd,
            } => {
                check_program(command, args)?;
                check_plain_env(env)?;
                cwd.as_deref().map_or(Ok(()), |cwd| check_inner_cwd(cwd, false))
            }
            Self::Http {
                url,
                headers,
                oauth,
                private,
            } => {
                check_url(url, *private).map_err(|flaw| flaw.within("url"))?;
                check_headers(headers, oauth.is_some()).map_err(|flaw| flaw.within("headers"))?;
                oauth
                    .as_ref()
                    .map_or(Ok(()), check_oauth)
                    .map_err(|flaw| flaw.within("oauth"))
            }
        }
    }
}

fn check_program(command: &str, args: &[String]) -> Result<(), Flaw> {
    let named = |flaw: Flaw| flaw.within("command");
    check_argument(command).map_err(named)?;
    if command.trim() != command || command.is_empty() {
        return Err(named(Flaw::new(
            "the name of the program is empty or has blanks around it",
        )));
    }
    if command.contains(char::is_whitespace) && !command.contains('/') {
        return Err(named(
            Flaw::new("the name of the program has blanks in it")
                .with_hint("no shell reads it: put the program into `command` and the rest into `args`"),
        ));
    }
    at_most(args.len(), MAX_ARGS).map_err(|flaw| flaw.within("args"))?;
    for (index, argument) in args.iter().enumerate() {
        check_argument(argument).map_err(|flaw| flaw.within(index.to_string()).within("args"))?;
    }
    // The kernel counts a pointer and a NUL for each.
    let total = args.iter().map(|argument| argument.len() + 9).sum();
    at_most(total, MAX_ARGV_BYTES).map_err(|flaw| flaw.within("args"))
}

fn check_argument(argument: &str) -> Result<(), Flaw> {
    no_nul(argument)?;
    at_most(argument.len(), MAX_ARGUMENT_BYTES)?;
    if argument_holds_secret(argument) {
        return Err(
            Flaw::new("an argument holds a secret, and every program on the machine can read it")
                .with_hint("give it to the server in `env`, as a reference such as { env = \"NAME\" }"),
        );
    }
    Ok(())
}

/// A relative path would be looked up from wherever somebody starts us: in a project, for example (I5).
fn check_host_program(command: &str) -> Result<(), Flaw> {
    if command.contains('/') && !command.starts_with('/') {
        return Err(Flaw::new(
            "the program is a relative path, and what it leads to depends on who starts us",
        )
        .within("command")
        .with_hint("write the absolute path, or a name that is in the PATH"));
    }
    Ok(())
}

fn check_env(env: &BTreeMap<String, Value>) -> Result<(), Flaw> {
    at_most(env.len(), MAX_VARIABLES)?;
    let mut total = 0;
    for (name, value) in env {
        let within = |flaw: Flaw| flaw.within(name.as_str());
        check_env_name(name).map_err(within)?;
        let text = match value {
            Value::Plain(text) => text,
            Value::Secret(secret) => {
                check_reference(&secret.secret).map_err(within)?;
                &secret.prefix
            }
        };
        no_nul(text).map_err(within)?;
        at_most(text.len(), MAX_VALUE).map_err(within)?;
        refuse_plain(value, is_secret_name(name)).map_err(within)?;
        total += name.len() + text.len() + 10;
    }
    at_most(total, MAX_ENV)
}

fn check_env_name(name: &str) -> Result<(), Flaw> {
    let legal = |byte: u8| byte.is_ascii_graphic() && byte != b'=';
    if name.is_empty() || name.len() > MAX_ENV_NAME || !name.bytes().all(legal) {
        return Err(Flaw::new("this is not the name of a variable")
            .with_hint("use letters, digits and _, for example API_TOKEN"));
    }
    Ok(())
}

pub(super) fn check_reference(reference: &SecretReference) -> Result<(), Flaw> {
    match reference {
        SecretReference::Env(name) => check_env_name(name),
        SecretReference::File(path) => check_absolute(path),
        SecretReference::Command(argv) => {
            at_most(argv.len(), MAX_ARGS)?;
            check_host_program(argv.first().map_or("", String::as_str))?;
            argv.iter().try_for_each(|argument| check_argument(argument))
        }
    }
}

/// The environment of a program in a container.
fn check_plain_env(env: &BTreeMap<String, String>) -> Result<(), Flaw> {
    for (name, value) in env {
        if (is_secret_name(name) && !value.is_empty()) || looks_secret(value) {
            return Err(none_inside().within(name.as_str()).within("env"));
        }
    }
    validate_env(env).map_err(|error| passed_on(&error).within("env"))
}

/// A refusal of the core: its message is fixed, what it adds may quote.
fn passed_on(error: &Error) -> Flaw {
    let flaw = Flaw::new(error.message().to_owned());
    match error.hint() {
        Some(hint) => flaw.with_hint(hint.to_owned()),
        None => flaw,
    }
}

fn check_inner_cwd(cwd: &str, absolute: bool) -> Result<(), Flaw> {
    let judged = if absolute && !cwd.starts_with('/') {
        Err(Flaw::new("this is not an absolute path"))
    } else {
        validate_cwd(cwd).map_err(|error| passed_on(&error))
    };
    judged.map_err(|flaw| flaw.within("cwd"))
}

fn check_mounts(mounts: &[Mount]) -> Result<(), Flaw> {
    at_most(mounts.len(), MAX_MOUNTS)?;
    let mut targets = BTreeSet::new();
    for (index, mount) in mounts.iter().enumerate() {
        let within = |field: &str, flaw: Flaw| flaw.within(field).within(index.to_string());
        check_absolute(&mount.source).map_err(|flaw| within("source", flaw))?;
        validate_mount_target(&mount.target).map_err(|error| within("target", passed_on(&error)))?;
        if !targets.insert(mount.target.as_str()) {
            return Err(within("target", Flaw::new("two mounts have the same target")));
        }
    }
    Ok(())
}

fn check_patterns(patterns: &[String]) -> Result<(), Flaw> {
    at_most(patterns.len(), MAX_PATTERNS)?;
    for (index, pattern) in patterns.iter().enumerate() {
        check_pattern(pattern).map_err(|flaw| flaw.within(index.to_string()))?;
    }
    Ok(())
}

/// Judges a pattern of tools: a name, or a beginning that ends with `*`.
pub(crate) fn check_pattern(pattern: &str) -> Result<(), Flaw> {
    check_name(pattern.strip_suffix('*').unwrap_or(pattern), pattern != "*")
}

fn check_names(names: &BTreeSet<String>) -> Result<(), Flaw> {
    at_most(names.len(), MAX_PATTERNS)?;
    names
        .iter()
        .enumerate()
        .try_for_each(|(index, name)| check_name(name, true).map_err(|flaw| flaw.within(index.to_string())))
}

fn check_name(name: &str, needed: bool) -> Result<(), Flaw> {
    let strange = |c: char| c.is_control() || c.is_whitespace() || c == '*';
    if (needed && name.is_empty()) || name.len() > MAX_PATTERN || name.contains(strange) {
        return Err(
            Flaw::new("this is neither the name of a tool nor a beginning of names")
                .with_hint("for example read_file or read_*"),
        );
    }
    Ok(())
}

fn check_times(times: &Times) -> Result<(), Flaw> {
    let fields = [
        ("start_ms", times.start_ms),
        ("call_ms", times.call_ms),
        ("call_max_ms", times.call_max_ms),
        ("idle_ms", times.idle_ms),
    ];
    for (field, time) in fields {
        if !(1..=MAX_TIME_MS).contains(&time) {
            return Err(
                Flaw::new("a time is between 1 and 86400000 milliseconds, which is a day").within(field),
            );
        }
    }
    if times.call_ms > times.call_max_ms {
        return Err(Flaw::new("a call may be silent for longer than it may take at all").within("call_ms"));
    }
    Ok(())
}

fn check_absolute(path: &Path) -> Result<(), Flaw> {
    let Some(text) = path.to_str() else {
        return Err(Flaw::new("a path that is no text cannot be declared"));
    };
    no_nul(text)?;
    at_most(text.len(), MAX_PATH)?;
    if path.is_absolute() {
        Ok(())
    } else {
        Err(Flaw::new("this is not an absolute path"))
    }
}

pub(super) fn check_line(text: &str, limit: usize) -> Result<(), Flaw> {
    at_most(text.len(), limit)?;
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        return Err(Flaw::new("this is not one line of text"));
    }
    Ok(())
}

fn no_nul(text: &str) -> Result<(), Flaw> {
    if text.contains('\0') {
        return Err(Flaw::new("there is a NUL in it, which no program can be given"));
    }
    Ok(())
}

pub(super) fn at_most(count: usize, limit: usize) -> Result<(), Flaw> {
    if count <= limit {
        Ok(())
    } else {
        Err(Flaw::new(format!(
            "this is too much: {count}, and at most {limit}"
        )))
    }
}
