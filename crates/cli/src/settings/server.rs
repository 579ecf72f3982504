//! What servers read of the environment: `cofferdam serve` and `cofferdam-mcp`, under the names that existing servers know.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use session_core::error::{Error, ErrorKind, Result};
use session_core::runtime::ResourceLimits;
use tracing::level_filters::LevelFilter;

use super::Credential;
use super::env::{self, EnvVar, Environment};
use crate::logging::LogSettings;
use crate::parse::{parse_cpus, parse_size};

const OPERATION: &str = "read the settings";
const DEFAULT_HOST: &str = "127.0.0.1";
const DEFAULT_PORT: u16 = 3001;
/// What sessions get from a server whose client names nothing.
const DEFAULT_MEMORY: u64 = 2 << 30;
const DEFAULT_MILLI_CPUS: u32 = 1000;
/// Levels and the names by which the log levels of existing servers go.
const LEVELS: &[(&str, LevelFilter)] = &[
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("warning", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("http", LevelFilter::DEBUG),
    ("verbose", LevelFilter::DEBUG),
    ("debug", LevelFilter::DEBUG),
    ("silly", LevelFilter::TRACE),
    ("trace", LevelFilter::TRACE),
];

/// Where a server listens.
///
/// # Errors
/// `InvalidArgument` for what is no port.
pub(crate) fn host_and_port(environment: &dyn Environment) -> Result<(String, u16)> {
    let host = environment
        .text(env::MCP_HOST)?
        .unwrap_or_else(|| DEFAULT_HOST.to_owned());
    let port = match environment.text(env::MCP_PORT)? {
        Some(text) => text
            .parse()
            .map_err(|_| refused(env::MCP_PORT, "write a port from 0 to 65535"))?,
        None => DEFAULT_PORT,
    };
    Ok((host, port))
}

/// The token of clients, when one is set. The provider's key is none: clients would get to know it.
///
/// # Errors
/// `InvalidArgument` for the provider's key.
pub(crate) fn token(
    credential: Option<&Credential>,
    environment: &dyn Environment,
) -> Result<Option<SecretString>> {
    let Some(token) = environment.text(env::MCP_API_KEY)? else {
        return Ok(None);
    };
    if credential.map(|found| found.secret.expose_secret()) == Some(token.as_str()) {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            OPERATION,
            "MCP_API_KEY is the provider's key, and clients would get to know it",
        )
        .with_hint(TOKEN_HINT));
    }
    Ok(Some(token.into()))
}

/// How to make a token.
pub(crate) const TOKEN_HINT: &str = "make one with `export MCP_API_KEY=$(openssl rand -hex 32)`; clients present it as `Authorization: Bearer …`";

/// Limits of sessions that name none.
///
/// # Errors
/// `InvalidArgument`.
pub(crate) fn limits(environment: &dyn Environment) -> Result<ResourceLimits> {
    let memory_bytes = match environment.text(env::CONTAINER_MEMORY_LIMIT)? {
        Some(text) => parse_size(&text).map_err(|hint| refused(env::CONTAINER_MEMORY_LIMIT, hint))?,
        None => DEFAULT_MEMORY,
    };
    let milli_cpus = match environment.text(env::CONTAINER_CPU_LIMIT)? {
        Some(text) => parse_cpus(&text).map_err(|hint| refused(env::CONTAINER_CPU_LIMIT, hint))?,
        None => DEFAULT_MILLI_CPUS,
    };
    Ok(ResourceLimits {
        memory_bytes,
        milli_cpus,
        ..ResourceLimits::default()
    })
}

/// The time limit of prompts that somebody waits for.
///
/// # Errors
/// `InvalidArgument`.
pub(crate) fn prompt_timeout(environment: &dyn Environment) -> Result<Option<Duration>> {
    Ok(number(
        env::CLAUDE_CODE_TIMEOUT,
        environment,
        "write milliseconds, such as 300000",
    )?
    .map(Duration::from_millis))
}

/// A number from one on.
///
/// # Errors
/// `InvalidArgument`.
pub(crate) fn number(
    variable: EnvVar,
    environment: &dyn Environment,
    hint: &'static str,
) -> Result<Option<u64>> {
    let Some(text) = environment.text(variable)? else {
        return Ok(None);
    };
    match text.trim().parse() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(refused(variable, hint)),
    }
}

/// What is logged. Resolved before everything else, because errors take the log's form. `usual` is the list that holds when
/// no variable says anything; of `levels`, the first one that is set.
///
/// # Errors
/// `InvalidArgument` for a value that cannot be used.
pub(crate) fn log(levels: &[EnvVar], usual: &str, environment: &dyn Environment) -> Result<LogSettings> {
    if let Some(list) = environment.text(env::COFFERDAM_LOG)? {
        return LogSettings::of_list(&list, env::COFFERDAM_LOG);
    }
    for variable in levels {
        if let Some(text) = environment.text(*variable)? {
            return Ok(LogSettings::of_level(level(*variable, &text)?));
        }
    }
    if switch(env::MCP_CLAUDE_DEBUG, environment)?.unwrap_or_default() {
        return Ok(LogSettings::of_level(LevelFilter::DEBUG));
    }
    LogSettings::of_list(usual, env::COFFERDAM_LOG)
}

/// Whether the log is JSON, when that is said.
///
/// # Errors
/// `InvalidArgument` for a form that is not known.
pub(crate) fn json(environment: &dyn Environment) -> Result<Option<bool>> {
    match environment.text(env::LOG_FORMAT)?.as_deref() {
        Some("json") => Ok(Some(true)),
        Some("text") => Ok(Some(false)),
        None => Ok(None),
        Some(_) => Err(refused(env::LOG_FORMAT, "write json or text")),
    }
}

fn level(variable: EnvVar, text: &str) -> Result<LevelFilter> {
    let known = LEVELS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text.trim()));
    known
        .map(|(_, level)| *level)
        .ok_or_else(|| refused(variable, "write error, warn, info, debug or trace"))
}

/// Yes or no, when it is said.
///
/// # Errors
/// `InvalidArgument`.
pub(crate) fn switch(variable: EnvVar, environment: &dyn Environment) -> Result<Option<bool>> {
    match environment
        .text(variable)?
        .map(|text| text.to_ascii_lowercase())
        .as_deref()
    {
        Some("1" | "true" | "yes" | "on") => Ok(Some(true)),
        Some("0" | "false" | "no" | "off") => Ok(Some(false)),
        None => Ok(None),
        Some(_) => Err(refused(variable, "write 1 or 0")),
    }
}

/// The value is not repeated: somebody may have put a secret into the wrong variable.
pub(crate) fn refused(variable: EnvVar, hint: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        OPERATION,
        "the variable's value cannot be used",
    )
    .with_context("variable", variable.name)
    .with_hint(hint)
}
