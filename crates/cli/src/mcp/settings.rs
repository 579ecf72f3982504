//! What the server is told: flags, the environment that existing MCP servers know, defaults; resolved once.

use std::time::Duration;

use mcp_frontend::{HttpOptions, McpOptions};
use secrecy::{ExposeSecret, SecretString};
use session_core::error::{Error, ErrorKind, Result};
use session_core::runtime::ResourceLimits;
use tracing::level_filters::LevelFilter;

use super::args::McpCli;
use crate::compose;
use crate::logging::LogSettings;
use crate::parse::{parse_cpus, parse_size};
use crate::settings::env::{self, EnvVar, Environment};
use crate::settings::{self, Overrides, Settings};

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

/// Everything that is decided before the server starts.
#[derive(Debug)]
pub struct McpSettings {
    /// What sessions rest on.
    pub base: Settings,
    /// How the protocol is served.
    pub options: McpOptions,
    /// Where it listens; on standard input and output when `None`.
    pub http: Option<HttpSettings>,
}

/// Where HTTP is served, and to whom.
#[derive(Debug)]
pub struct HttpSettings {
    /// An address or a name of this host.
    pub host: String,
    /// The port; a free one when 0.
    pub port: u16,
    /// Who may talk to the server.
    pub options: HttpOptions,
}

impl McpSettings {
    /// Resolves flags before environment before defaults.
    ///
    /// # Errors
    /// `InvalidArgument` for a value that cannot be used, `StateDirRefused` when there is no place for the state directory.
    pub fn resolve(cli: &McpCli, environment: &dyn Environment) -> Result<Self> {
        let mut base = Self::for_keeping(cli, environment)?;
        base.image = settings::image(env::DEFAULT_CLAUDE_IMAGE, environment)?.or(base.image);
        base.limits = limits(environment)?;
        base.supervise = true;
        let mut options = McpOptions::new(compose::host_paths(&base));
        options.default_limits = base.limits;
        options.toolsets = cli.toolsets.iter().copied().collect();
        if let Some(limit) = prompt_timeout(environment)? {
            options.prompt_timeout = limit;
        }
        let http = cli
            .http
            .then(|| HttpSettings::resolve(cli, &base, environment))
            .transpose()?;
        Ok(Self { base, options, http })
    }

    /// What the process that keeps turns needs: it makes no sessions and watches none but those of its turns.
    ///
    /// # Errors
    /// As [`McpSettings::resolve`].
    pub fn for_keeping(cli: &McpCli, environment: &dyn Environment) -> Result<Settings> {
        let overrides = Overrides {
            state_dir: cli.state_dir.clone(),
            api_key_env: None,
        };
        Settings::resolve(&overrides, environment)
    }
}

impl HttpSettings {
    fn resolve(cli: &McpCli, base: &Settings, environment: &dyn Environment) -> Result<Self> {
        let host = environment
            .text(env::MCP_HOST)?
            .unwrap_or_else(|| DEFAULT_HOST.to_owned());
        let port = match environment.text(env::MCP_PORT)? {
            Some(text) => text
                .parse()
                .map_err(|_| refused(env::MCP_PORT, "write a port from 0 to 65535"))?,
            None => DEFAULT_PORT,
        };
        let mut options = HttpOptions::new(token(base, environment)?);
        options.allow_remote = cli.allow_remote;
        options.allowed_hosts.push(if host.contains(':') {
            format!("[{host}]")
        } else {
            host.clone()
        });
        options.allowed_hosts.extend(cli.allow_host.iter().cloned());
        options.allowed_origins.clone_from(&cli.allow_origin);
        Ok(Self { host, port, options })
    }
}

/// The token of clients. The provider's key is none: clients would get to know it.
fn token(base: &Settings, environment: &dyn Environment) -> Result<SecretString> {
    let hint = "make one with `export MCP_API_KEY=$(openssl rand -hex 32)`; clients present it as `Authorization: Bearer …`";
    let Some(token) = environment.text(env::MCP_API_KEY)? else {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            OPERATION,
            "HTTP needs a token that clients present, and MCP_API_KEY is not set",
        )
        .with_hint(hint));
    };
    let provider = base.credential.as_ref().map(|found| found.secret.expose_secret());
    if provider == Some(token.as_str()) {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            OPERATION,
            "MCP_API_KEY is the provider's key, and clients would get to know it",
        )
        .with_hint(hint));
    }
    Ok(token.into())
}

fn limits(environment: &dyn Environment) -> Result<ResourceLimits> {
    let parsed = |variable: EnvVar| environment.text(variable);
    let memory_bytes = match parsed(env::CONTAINER_MEMORY_LIMIT)? {
        Some(text) => parse_size(&text).map_err(|hint| refused(env::CONTAINER_MEMORY_LIMIT, hint))?,
        None => DEFAULT_MEMORY,
    };
    let milli_cpus = match parsed(env::CONTAINER_CPU_LIMIT)? {
        Some(text) => parse_cpus(&text).map_err(|hint| refused(env::CONTAINER_CPU_LIMIT, hint))?,
        None => DEFAULT_MILLI_CPUS,
    };
    Ok(ResourceLimits {
        memory_bytes,
        milli_cpus,
        ..ResourceLimits::default()
    })
}

fn prompt_timeout(environment: &dyn Environment) -> Result<Option<Duration>> {
    let variable = env::CLAUDE_CODE_TIMEOUT;
    let Some(text) = environment.text(variable)? else {
        return Ok(None);
    };
    match text.trim().parse() {
        Ok(millis) if millis > 0 => Ok(Some(Duration::from_millis(millis))),
        _ => Err(refused(variable, "write milliseconds, such as 300000")),
    }
}

/// What is logged, and how. Resolved before everything else, because errors take the log's form.
///
/// # Errors
/// `InvalidArgument` for a value that cannot be used.
pub fn log(environment: &dyn Environment) -> Result<LogSettings> {
    let json = json(environment)?;
    let settings = if let Some(list) = environment.text(env::COFFERDAM_LOG)? {
        LogSettings::of_list(&list, env::COFFERDAM_LOG)?
    } else if let Some(text) = environment.text(env::CLAUDE_CODE_LOG_LEVEL)? {
        LogSettings::of_level(level(&text)?)
    } else if switch(env::MCP_CLAUDE_DEBUG, environment)? {
        LogSettings::of_level(LevelFilter::DEBUG)
    } else {
        // Where it listens is worth a line.
        LogSettings::of_list("warn,cofferdam_mcp=info", env::COFFERDAM_LOG)?
    };
    Ok(settings.as_json(json))
}

/// Whether the log is JSON.
///
/// # Errors
/// `InvalidArgument` for a form that is not known.
pub fn json(environment: &dyn Environment) -> Result<bool> {
    match environment.text(env::LOG_FORMAT)?.as_deref() {
        Some("json") => Ok(true),
        Some("text") | None => Ok(false),
        Some(_) => Err(refused(env::LOG_FORMAT, "write json or text")),
    }
}

fn level(text: &str) -> Result<LevelFilter> {
    let known = LEVELS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text.trim()));
    known.map(|(_, level)| *level).ok_or_else(|| {
        refused(
            env::CLAUDE_CODE_LOG_LEVEL,
            "write error, warn, info, debug or trace",
        )
    })
}

fn switch(variable: EnvVar, environment: &dyn Environment) -> Result<bool> {
    match environment
        .text(variable)?
        .map(|text| text.to_ascii_lowercase())
        .as_deref()
    {
        Some("1" | "true" | "yes" | "on") => Ok(true),
        Some("0" | "false" | "no" | "off") | None => Ok(false),
        Some(_) => Err(refused(variable, "write 1 or 0")),
    }
}

/// The value is not repeated: somebody may have put a secret into the wrong variable.
fn refused(variable: EnvVar, hint: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        OPERATION,
        "the variable's value cannot be used",
    )
    .with_context("variable", variable.name)
    .with_hint(hint)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::Parser as _;

    use super::*;

    fn resolve(args: &[&str], pairs: &[(&str, &str)]) -> Result<McpSettings> {
        let mut environment: BTreeMap<String, String> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        environment.insert("HOME".to_owned(), "/home/user".to_owned());
        let cli = McpCli::parse_from(std::iter::once(&"cofferdam-mcp").chain(args));
        McpSettings::resolve(&cli, &environment)
    }

    #[test]
    fn sessions_of_a_server_are_small_unless_it_is_told_otherwise() {
        let limits = resolve(&[], &[]).unwrap().base.limits;
        assert_eq!((limits.memory_bytes, limits.milli_cpus), (2 << 30, 1000));
        let told = [("CONTAINER_MEMORY_LIMIT", "512m"), ("CONTAINER_CPU_LIMIT", "0.5")];
        let settings = resolve(&[], &told).unwrap();
        let limits = settings.base.limits;
        assert_eq!((limits.memory_bytes, limits.milli_cpus), (512 << 20, 500));
        assert_eq!(
            settings.options.default_limits, limits,
            "also for a call that names only some"
        );
    }

    #[test]
    fn the_names_of_existing_servers_are_known() {
        let told = [
            ("DEFAULT_CLAUDE_IMAGE", "debian:12"),
            ("COFFERDAM_IMAGE", "debian:11"),
            ("CLAUDE_CODE_TIMEOUT", "1500"),
            ("ANTHROPIC_MODEL", "large-1"),
            ("ANTHROPIC_SMALL_FAST_MODEL", "small-1"),
        ];
        let McpSettings { base, options, http } = resolve(&[], &told).unwrap();
        assert_eq!(base.image.unwrap().as_str(), "debian:12");
        assert_eq!(options.prompt_timeout, Duration::from_millis(1500));
        assert_eq!(base.model.as_deref(), Some("large-1"));
        assert_eq!(base.small_model.as_deref(), Some("small-1"));
        assert!(base.supervise && http.is_none());
        let usual = resolve(&[], &[]).unwrap().options;
        assert_eq!(usual.prompt_timeout, Duration::from_secs(300));
    }

    #[test]
    fn http_listens_on_loopback_for_its_own_names() {
        let token = ("MCP_API_KEY", "0123456789abcdef");
        let http = resolve(&["--http"], &[token]).unwrap().http.unwrap();
        assert_eq!((http.host.as_str(), http.port), ("127.0.0.1", 3001));
        assert!(!http.options.allow_remote && http.options.allowed_origins.is_empty());
        let told = [token, ("MCP_HOST", "fd00::1"), ("MCP_PORT", "80")];
        let args = ["--http", "--allow-host", "mcp.example.com"];
        let http = resolve(&args, &told).unwrap().http.unwrap();
        assert!(http.options.allowed_hosts.contains(&"[fd00::1]".to_owned()));
        assert!(http.options.allowed_hosts.contains(&"mcp.example.com".to_owned()));
    }
}
