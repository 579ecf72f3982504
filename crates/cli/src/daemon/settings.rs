//! What the daemon is told: flags, the environment that existing servers know, defaults; resolved once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_frontend::options::Rate;
use secrecy::SecretString;
use session_core::error::{Error, ErrorKind, Result};
use tracing::level_filters::LevelFilter;

use crate::args::{LogFormat, ServeArgs};
use crate::logging::LogSettings;
use crate::parse::{parse_duration, parse_size};
use crate::settings::env::{self, Environment};
use crate::settings::{Overrides, Settings, server};

const OPERATION: &str = "read the settings";
/// Where it listens and what it met is worth a line, whoever looks at it; and what becomes of a request can be followed.
const USUAL_LOG: &str = "warn,cli=info,http_frontend=info,session_core=info";
/// Where the projects of the older interface are.
const DEFAULT_PROJECTS: &str = "./projects";
/// How long a daemon that a client started has nothing to do before it leaves.
const IDLE_EXIT: Duration = Duration::from_secs(300);
const DEFAULT_RATE: Rate = Rate {
    requests: 100,
    window: Duration::from_mins(15),
};

/// Everything that is decided before the daemon starts.
#[derive(Debug)]
pub struct ServeSettings {
    /// What sessions rest on.
    pub base: Settings,
    /// The flags among it.
    pub overrides: Overrides,
    /// Addresses, as they were written.
    pub listen: Vec<String>,
    /// The certificate and its key.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// A proxy in front encrypts.
    pub behind_tls_proxy: bool,
    /// Names by which clients call the server, beside those of loopback.
    pub hosts: Vec<String>,
    /// Origins of pages that may come.
    pub origins: Vec<String>,
    /// The operator's own token.
    pub api_key: Option<SecretString>,
    /// The longest JSON body.
    pub max_body: Option<usize>,
    /// Requests to the older interface.
    pub compat_rate: Rate,
    /// Its tasks at once.
    pub max_tasks: Option<usize>,
    /// The time limit of what the older interface and MCP wait for.
    pub task_timeout: Option<Duration>,
    /// Below which the older interface's projects are.
    pub projects: PathBuf,
    /// Where the log is kept, too.
    pub logs: Option<PathBuf>,
    /// After how long without anything to do it leaves.
    pub idle_exit: Option<Duration>,
    /// A client started it.
    pub auto_started: bool,
    /// What the operator should know of what was said.
    pub remarks: Vec<&'static str>,
}

impl ServeSettings {
    /// Resolves flags before environment before defaults.
    ///
    /// # Errors
    /// `InvalidArgument` for a value that cannot be used, `StateDirRefused` when there is no place for the state directory.
    pub fn resolve(args: &ServeArgs, overrides: Overrides, environment: &dyn Environment) -> Result<Self> {
        let mut base = Settings::resolve(&overrides, environment)?;
        base.supervise = true;
        // Only where an operator says so: a session of the API has what any other has.
        let said = [env::CONTAINER_MEMORY_LIMIT, env::CONTAINER_CPU_LIMIT];
        if said.iter().any(|variable| environment.get(*variable).is_some()) {
            base.limits = Some(server::limits(environment)?);
        }
        let auto_started = args.detached.is_some();
        let mut listen = args.listen.clone();
        if args.http {
            let (host, port) = server::host_and_port(environment)?;
            listen.push(if host.contains(':') {
                format!("[{host}]:{port}")
            } else {
                format!("{host}:{port}")
            });
        }
        Ok(Self {
            hosts: hosts(&listen, &args.allow_host),
            origins: origins(&args.cors_origin, environment)?,
            api_key: api_key(&listen, &base, environment)?,
            listen,
            tls: args.tls_cert.clone().zip(args.tls_key.clone()),
            behind_tls_proxy: args.behind_tls_proxy,
            max_body: max_body(environment)?,
            compat_rate: rate(environment)?,
            max_tasks: count(env::CLAUDE_CODE_MAX_CONCURRENT_TASKS, environment)?,
            task_timeout: server::prompt_timeout(environment)?,
            projects: projects(environment),
            // Relative to a directory in which this process no longer is.
            logs: if auto_started {
                None
            } else {
                environment.get(env::LOGS_PATH).map(PathBuf::from)
            },
            idle_exit: idle_exit(args, auto_started, environment)?,
            auto_started,
            remarks: remarks(environment)?,
            base,
            overrides,
        })
    }
}

/// What the daemon logs. Resolved before everything else.
///
/// # Errors
/// `InvalidArgument` for a value that cannot be used.
pub fn log(args: &ServeArgs, verbose: u8, environment: &dyn Environment) -> Result<LogSettings> {
    let json = match args.log_format {
        Some(format) => format == LogFormat::Json,
        None => server::json(environment)?.unwrap_or_default(),
    };
    let settings = match verbose {
        0 => server::log(
            &[env::CLAUDE_CODE_LOG_LEVEL, env::LOG_LEVEL],
            USUAL_LOG,
            environment,
        )?,
        1 => LogSettings::of_level(LevelFilter::INFO),
        _ => LogSettings::of_level(LevelFilter::DEBUG),
    };
    Ok(settings.as_json(json))
}

/// The names under which the addresses are known themselves, and further ones.
fn hosts(listen: &[String], further: &[String]) -> Vec<String> {
    let own = listen.iter().filter_map(|address| {
        let (host, _port) = address.rsplit_once(':')?;
        // Every address of this host is not the name of one.
        let everywhere = ["0.0.0.0", "[::]", ""].contains(&host);
        (!everywhere).then(|| host.to_owned())
    });
    own.chain(further.iter().cloned()).collect()
}

fn origins(flags: &[String], environment: &dyn Environment) -> Result<Vec<String>> {
    let named = environment.text(env::CORS_ORIGINS)?.unwrap_or_default();
    let named = named
        .split(',')
        .map(str::trim)
        .filter(|origin| !origin.is_empty());
    let all: Vec<String> = flags.iter().cloned().chain(named.map(str::to_owned)).collect();
    if all.iter().any(|origin| origin == "*") {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            OPERATION,
            "pages of every origin are not let in",
        )
        .with_context("variable", env::CORS_ORIGINS.name)
        .with_hint("name each origin, such as https://app.example.com"));
    }
    Ok(all)
}

/// Only clients over TCP present a token.
fn api_key(
    listen: &[String],
    base: &Settings,
    environment: &dyn Environment,
) -> Result<Option<SecretString>> {
    if listen.is_empty() {
        return Ok(None);
    }
    server::token(base.credential.as_ref(), environment)
}

fn max_body(environment: &dyn Environment) -> Result<Option<usize>> {
    let variable = env::MAX_REQUEST_SIZE;
    let Some(text) = environment.text(variable)? else {
        return Ok(None);
    };
    let size = parse_size(&text).map_err(|hint| server::refused(variable, hint))?;
    usize::try_from(size)
        .map(Some)
        .map_err(|_| server::refused(variable, "write a size such as 10mb"))
}

fn rate(environment: &dyn Environment) -> Result<Rate> {
    let window = server::number(
        env::RATE_LIMIT_WINDOW_MS,
        environment,
        "write milliseconds, such as 900000",
    )?;
    let requests = server::number(
        env::RATE_LIMIT_MAX_REQUESTS,
        environment,
        "write a number, such as 100",
    )?;
    Ok(Rate {
        requests: requests.map_or(DEFAULT_RATE.requests, |requests| {
            u32::try_from(requests).unwrap_or(u32::MAX)
        }),
        window: window.map_or(DEFAULT_RATE.window, Duration::from_millis),
    })
}

fn count(variable: env::EnvVar, environment: &dyn Environment) -> Result<Option<usize>> {
    let number = server::number(variable, environment, "write a number, such as 3")?;
    Ok(number.map(|number| usize::try_from(number).unwrap_or(usize::MAX)))
}

fn projects(environment: &dyn Environment) -> PathBuf {
    let said = environment.get(env::PROJECTS_PATH).map(PathBuf::from);
    let path = said.unwrap_or_else(|| DEFAULT_PROJECTS.into());
    std::path::absolute(&path).unwrap_or(path)
}

fn idle_exit(
    args: &ServeArgs,
    auto_started: bool,
    environment: &dyn Environment,
) -> Result<Option<Duration>> {
    if args.idle_exit.is_some() || !auto_started {
        return Ok(args.idle_exit);
    }
    let variable = env::COFFERDAM_IDLE_EXIT;
    match environment.text(variable)? {
        Some(text) => parse_duration(&text)
            .map(Some)
            .map_err(|hint| server::refused(variable, hint)),
        None => Ok(Some(IDLE_EXIT)),
    }
}

fn remarks(environment: &dyn Environment) -> Result<Vec<&'static str>> {
    let open = server::switch(env::ENABLE_AUTH, environment)? == Some(false);
    Ok(open
        .then_some("ENABLE_AUTH=false changes nothing: over TCP every client presents a token")
        .into_iter()
        .collect())
}

/// The file in a directory of logs.
pub fn log_file(dir: &Path) -> PathBuf {
    dir.join("cofferdam.log")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn resolve(line: &str, pairs: &[(&str, &str)]) -> Result<ServeSettings> {
        let mut environment: BTreeMap<String, String> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        environment.insert("HOME".to_owned(), "/home/user".to_owned());
        let line = format!("cofferdam serve {line}");
        let Command::Serve(args) = Cli::parse_from(line.split_whitespace()).command else {
            unreachable!("it is `serve`")
        };
        ServeSettings::resolve(&args, Overrides::default(), &environment)
    }

    #[test]
    fn nothing_but_the_socket_unless_it_is_asked_for() {
        let settings = resolve(
            "",
            &[("MCP_HOST", "0.0.0.0"), ("MCP_API_KEY", "0123456789abcdef")],
        )
        .unwrap();
        assert!(settings.listen.is_empty() && settings.api_key.is_none());
        assert!(settings.base.supervise && settings.base.limits.is_none());
        assert_eq!((settings.idle_exit, settings.auto_started), (None, false));
    }

    #[test]
    fn the_names_of_existing_servers_are_known() {
        let told = [
            ("MCP_HOST", "fd00::1"),
            ("MCP_PORT", "80"),
            ("MCP_API_KEY", "0123456789abcdef"),
            ("CORS_ORIGINS", "https://a.example, https://b.example"),
            ("MAX_REQUEST_SIZE", "2mb"),
            ("RATE_LIMIT_WINDOW_MS", "1000"),
            ("RATE_LIMIT_MAX_REQUESTS", "7"),
            ("CLAUDE_CODE_MAX_CONCURRENT_TASKS", "5"),
            ("CLAUDE_CODE_TIMEOUT", "1500"),
            ("CONTAINER_MEMORY_LIMIT", "512m"),
            ("PROJECTS_PATH", "/srv/projects"),
            ("LOGS_PATH", "/srv/logs"),
            ("ENABLE_AUTH", "false"),
        ];
        let settings = resolve("--http --listen localhost:9 --allow-host mcp.example", &told).unwrap();
        assert_eq!(settings.listen, ["localhost:9", "[fd00::1]:80"]);
        assert_eq!(settings.hosts, ["localhost", "[fd00::1]", "mcp.example"]);
        assert_eq!(settings.origins, ["https://a.example", "https://b.example"]);
        assert!(settings.api_key.is_some());
        assert_eq!((settings.max_body, settings.max_tasks), (Some(2 << 20), Some(5)));
        assert_eq!(
            settings.compat_rate,
            Rate {
                requests: 7,
                window: Duration::from_secs(1)
            }
        );
        assert_eq!(settings.task_timeout, Some(Duration::from_millis(1500)));
        assert_eq!(settings.base.limits.unwrap().memory_bytes, 512 << 20);
        assert_eq!(settings.projects, Path::new("/srv/projects"));
        assert_eq!(settings.logs.as_deref(), Some(Path::new("/srv/logs")));
        assert_eq!(settings.remarks.len(), 1);
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        for (line, pair) in [
            ("--http", ("MCP_PORT", "many")),
            ("", ("CORS_ORIGINS", "*")),
            ("", ("MAX_REQUEST_SIZE", "-1")),
            ("", ("RATE_LIMIT_MAX_REQUESTS", "0")),
            ("", ("ENABLE_AUTH", "perhaps")),
        ] {
            let error = resolve(line, &[pair]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{pair:?}");
        }
    }

    /// The guide of operations follows requests by these lines; their own test is beside the server's.
    #[test]
    fn what_becomes_of_a_request_is_logged_without_being_asked_for() {
        assert_eq!(USUAL_LOG, "warn,cli=info,http_frontend=info,session_core=info");
    }

    #[test]
    fn one_that_a_client_started_leaves_by_itself() {
        let idle = |pairs: &[(&str, &str)]| resolve("--__detached stay", pairs).unwrap().idle_exit;
        assert_eq!(idle(&[]), Some(IDLE_EXIT));
        assert_eq!(
            idle(&[("COFFERDAM_IDLE_EXIT", "2s")]),
            Some(Duration::from_secs(2))
        );
        let said = resolve("--idle-exit 1h", &[("COFFERDAM_IDLE_EXIT", "2s")]).unwrap();
        assert_eq!(said.idle_exit, Some(Duration::from_secs(3600)));
    }
}
