//! What the server is told: flags, the environment that existing MCP servers know, defaults; resolved once.

use mcp_frontend::{HttpOptions, McpOptions};
use secrecy::SecretString;
use session_core::error::{Error, ErrorKind, Result};

use super::args::McpCli;
use crate::compose;
use crate::logging::LogSettings;
use crate::settings::env::{self, Environment};
use crate::settings::{self, Overrides, Settings, server};

const OPERATION: &str = "read the settings";
/// Where it listens is worth a line.
const USUAL_LOG: &str = "warn,cofferdam_mcp=info";

/// Everything that is decided before the server starts.
#[derive(Debug)]
pub struct McpSettings {
    /// What sessions rest on.
    pub base: Settings,
    /// How the protocol is served.
    pub options: McpOptions,
    /// Where it listens; on standard input and output when `None`.
    pub http: Option<HttpSettings>,
    /// Everything in this process, without the daemon.
    pub embedded: bool,
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
        let limits = server::limits(environment)?;
        base.limits = Some(limits);
        base.supervise = true;
        let mut options = McpOptions::new(compose::host_paths(&base));
        options.default_limits = limits;
        options.toolsets = cli.toolsets.iter().copied().collect();
        if let Some(limit) = server::prompt_timeout(environment)? {
            options.prompt_timeout = limit;
        }
        let http = cli
            .http
            .then(|| HttpSettings::resolve(cli, &base, environment))
            .transpose()?;
        let embedded =
            cli.embedded || server::switch(env::COFFERDAM_EMBEDDED, environment)?.unwrap_or_default();
        Ok(Self {
            base,
            options,
            http,
            embedded,
        })
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
        let (host, port) = server::host_and_port(environment)?;
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

fn token(base: &Settings, environment: &dyn Environment) -> Result<SecretString> {
    server::token(base.credential.as_ref(), environment)?.ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidArgument,
            OPERATION,
            "HTTP needs a token that clients present, and MCP_API_KEY is not set",
        )
        .with_hint(server::TOKEN_HINT)
    })
}

/// What is logged, and how. Resolved before everything else, because errors take the log's form.
///
/// # Errors
/// `InvalidArgument` for a value that cannot be used.
pub fn log(environment: &dyn Environment) -> Result<LogSettings> {
    let json = json(environment)?;
    Ok(server::log(&[env::CLAUDE_CODE_LOG_LEVEL], USUAL_LOG, environment)?.as_json(json))
}

/// Whether the log is JSON.
///
/// # Errors
/// `InvalidArgument` for a form that is not known.
pub fn json(environment: &dyn Environment) -> Result<bool> {
    Ok(server::json(environment)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

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
        let limits = resolve(&[], &[]).unwrap().base.limits.unwrap();
        assert_eq!((limits.memory_bytes, limits.milli_cpus), (2 << 30, 1000));
        let told = [("CONTAINER_MEMORY_LIMIT", "512m"), ("CONTAINER_CPU_LIMIT", "0.5")];
        let settings = resolve(&[], &told).unwrap();
        let limits = settings.base.limits.unwrap();
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
        let McpSettings {
            base, options, http, ..
        } = resolve(&[], &told).unwrap();
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
