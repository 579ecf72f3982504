//! The registry of environment names: every variable that Cofferdam reads, and nothing else reads any.
//!
//! The help (`cofferdam help environment`) and the reference are made from [`REGISTRY`], so that what is documented is
//! what is read. Variables are read through [`Environment`], so that tests bring their own.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use session_core::error::{Error, ErrorKind, Result};

/// One variable that may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnvVar {
    /// Its name.
    pub name: &'static str,
    /// What it does, for users.
    pub help: &'static str,
    /// Which of our programs read it.
    pub readers: Readers,
}

/// Which of our programs read a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// All of them.
    All,
    /// `cofferdam` alone.
    Cofferdam,
    /// `cofferdam-mcp` alone.
    CofferdamMcp,
}

macro_rules! registry {
    ($($constant:ident = $name:literal, $readers:ident: $help:literal,)*) => {
        $(
            #[doc = $help]
            pub const $constant: EnvVar = EnvVar { name: $name, help: $help, readers: Readers::$readers };
        )*
        /// All of them, in the order of the documentation.
        pub const REGISTRY: &[EnvVar] = &[$($constant),*];
    };
}

registry! {
    ANTHROPIC_API_KEY = "ANTHROPIC_API_KEY", All:
        "The provider's API key. It stays on the host: no session ever sees it.",
    ANTHROPIC_AUTH_TOKEN = "ANTHROPIC_AUTH_TOKEN", All:
        "A bearer token for the provider, used when there is no API key. It stays on the host likewise.",
    CLAUDE_CODE_OAUTH_TOKEN = "CLAUDE_CODE_OAUTH_TOKEN", All:
        "The token of a Claude subscription, as `claude setup-token` gives it, when neither of the two above is set.",
    ANTHROPIC_BASE_URL = "ANTHROPIC_BASE_URL", All:
        "Where the model provider is: https, or http on this machine. Default: the vendor's address.",
    ANTHROPIC_MODEL = "ANTHROPIC_MODEL", All:
        "The model of new sessions that name none. Default: the agent's own choice.",
    ANTHROPIC_SMALL_FAST_MODEL = "ANTHROPIC_SMALL_FAST_MODEL", All:
        "The agent's model for small tasks, unless a session's environment names one. Default: the agent's own choice.",
    CLAUDE_CODE_USE_BEDROCK = "CLAUDE_CODE_USE_BEDROCK", All:
        "1 or true: the provider is AWS Bedrock. Requests are signed on this host.",
    ANTHROPIC_BEDROCK_BASE_URL = "ANTHROPIC_BEDROCK_BASE_URL", All:
        "Where Bedrock is, when that is not the region's own address.",
    AWS_REGION = "AWS_REGION", All:
        "The region of Bedrock.",
    AWS_DEFAULT_REGION = "AWS_DEFAULT_REGION", All:
        "The same, when AWS_REGION is not set.",
    AWS_ACCESS_KEY_ID = "AWS_ACCESS_KEY_ID", All:
        "The id of the key that signs requests to Bedrock.",
    AWS_SECRET_ACCESS_KEY = "AWS_SECRET_ACCESS_KEY", All:
        "That key. It stays on the host.",
    AWS_SESSION_TOKEN = "AWS_SESSION_TOKEN", All:
        "The token of a temporary key. It stays on the host.",
    AWS_BEARER_TOKEN_BEDROCK = "AWS_BEARER_TOKEN_BEDROCK", All:
        "A Bedrock API key, instead of signatures. It stays on the host.",
    AWS_PROFILE = "AWS_PROFILE", All:
        "The profile in the AWS files. Default: default.",
    AWS_CONFIG_FILE = "AWS_CONFIG_FILE", All:
        "The AWS file of profiles. Default: ~/.aws/config.",
    AWS_SHARED_CREDENTIALS_FILE = "AWS_SHARED_CREDENTIALS_FILE", All:
        "The AWS file of credentials. Default: ~/.aws/credentials.",
    AWS_WEB_IDENTITY_TOKEN_FILE = "AWS_WEB_IDENTITY_TOKEN_FILE", All:
        "A file with a token for which AWS gives the role of AWS_ROLE_ARN.",
    AWS_ROLE_ARN = "AWS_ROLE_ARN", All:
        "That role.",
    AWS_ROLE_SESSION_NAME = "AWS_ROLE_SESSION_NAME", All:
        "What the role's session is called. Default: cofferdam.",
    CLAUDE_CODE_USE_VERTEX = "CLAUDE_CODE_USE_VERTEX", All:
        "1 or true: the provider is Google Vertex. Its tokens stay on this host.",
    ANTHROPIC_VERTEX_PROJECT_ID = "ANTHROPIC_VERTEX_PROJECT_ID", All:
        "The project of Vertex.",
    CLOUD_ML_REGION = "CLOUD_ML_REGION", All:
        "The region of Vertex.",
    ANTHROPIC_VERTEX_BASE_URL = "ANTHROPIC_VERTEX_BASE_URL", All:
        "Where Vertex is, when that is not the region's own address.",
    GOOGLE_APPLICATION_CREDENTIALS = "GOOGLE_APPLICATION_CREDENTIALS", All:
        "The file of Google's credentials. Default: what `gcloud auth application-default login` wrote.",
    CLOUDSDK_CONFIG = "CLOUDSDK_CONFIG", All:
        "The folder of gcloud's configuration. Default: ~/.config/gcloud.",
    COFFERDAM_IMAGE = "COFFERDAM_IMAGE", All:
        "The image of new sessions that name none. Default: cofferdam-session:latest.",
    DEFAULT_CLAUDE_IMAGE = "DEFAULT_CLAUDE_IMAGE", CofferdamMcp:
        "The same under the name that existing MCP servers know; it goes before COFFERDAM_IMAGE.",
    CONTAINER_MEMORY_LIMIT = "CONTAINER_MEMORY_LIMIT", All:
        "For `cofferdam-mcp` and `cofferdam serve`: the most memory of sessions that name none, such as 512m or 4g. Default: 2g.",
    CONTAINER_CPU_LIMIT = "CONTAINER_CPU_LIMIT", All:
        "The same for CPUs, such as 0.5. Default: 1.0.",
    CLAUDE_CODE_TIMEOUT = "CLAUDE_CODE_TIMEOUT", All:
        "The time limit, in milliseconds, of prompts and tasks that MCP and the older HTTP interface wait for and that name none. Default: 300000.",
    MCP_HOST = "MCP_HOST", All:
        "The address on which --http listens. Default: 127.0.0.1.",
    MCP_PORT = "MCP_PORT", All:
        "The port on which --http listens; 0 takes a free one. Default: 3001.",
    MCP_API_KEY = "MCP_API_KEY", All:
        "A token for clients over TCP, beside those of `cofferdam token`: it may do everything. Make one with `openssl rand -hex 32`; the provider's key is refused.",
    ENABLE_AUTH = "ENABLE_AUTH", Cofferdam:
        "Known from existing servers. `serve` wants a token over TCP whatever it says, and warns when it says false.",
    PROJECTS_PATH = "PROJECTS_PATH", Cofferdam:
        "For `serve`: the directory below which the projects of the older HTTP interface are. Default: ./projects.",
    LOGS_PATH = "LOGS_PATH", Cofferdam:
        "For `serve`: a directory in which the log is kept too, in a file that does not grow without end.",
    CORS_ORIGINS = "CORS_ORIGINS", Cofferdam:
        "For `serve`: origins of web pages that may talk to it, separated by commas, beside --cors-origin.",
    MAX_REQUEST_SIZE = "MAX_REQUEST_SIZE", Cofferdam:
        "For `serve`: the longest JSON body of a request, such as 10mb. Default: 10mb.",
    RATE_LIMIT_WINDOW_MS = "RATE_LIMIT_WINDOW_MS", Cofferdam:
        "For `serve`: in how many milliseconds a client of the older HTTP interface may make so many requests. Default: 900000.",
    RATE_LIMIT_MAX_REQUESTS = "RATE_LIMIT_MAX_REQUESTS", Cofferdam:
        "For `serve`: how many these are. Default: 100.",
    CLAUDE_CODE_MAX_CONCURRENT_TASKS = "CLAUDE_CODE_MAX_CONCURRENT_TASKS", Cofferdam:
        "For `serve`: how many tasks of the older HTTP interface run at once; others wait. Default: 3.",
    COFFERDAM_STATE_DIR = "COFFERDAM_STATE_DIR", All:
        "Where sessions are recorded. Default: $XDG_STATE_HOME/cofferdam, else ~/.local/state/cofferdam.",
    COFFERDAM_EMBEDDED = "COFFERDAM_EMBEDDED", All:
        "1 or true: no daemon, everything in the process of the command, as with --embedded.",
    COFFERDAM_HOST_MOUNTS = "COFFERDAM_HOST_MOUNTS", All:
        "0 or false: the engine does not have the files of this process, which runs in a container beside it. Default: 1.",
    COFFERDAM_IDLE_EXIT = "COFFERDAM_IDLE_EXIT", All:
        "How long a daemon that a client started stays when there is nothing to do, such as 30m. Default: 5m.",
    COFFERDAM_LOG = "COFFERDAM_LOG", All:
        "What is logged to standard error: a level, or a list such as warn,session_core=debug. Default: warn.",
    CLAUDE_CODE_LOG_LEVEL = "CLAUDE_CODE_LOG_LEVEL", All:
        "A level for the log of `cofferdam-mcp` and `cofferdam serve` (error, warn, info, debug, trace), when COFFERDAM_LOG is not set.",
    MCP_CLAUDE_DEBUG = "MCP_CLAUDE_DEBUG", CofferdamMcp:
        "1 or true: log at the level debug, when neither of the two above is set.",
    LOG_LEVEL = "LOG_LEVEL", Cofferdam:
        "The same for `cofferdam serve`, when none of those above is set.",
    LOG_FORMAT = "LOG_FORMAT", All:
        "json: the log of `cofferdam-mcp` and `cofferdam serve` as JSON, one object a line. Default: text.",
    COFFERDAM_POLICY = "COFFERDAM_POLICY", All:
        "The operator's policy. Default: $XDG_CONFIG_HOME/cofferdam/policy.toml, else ~/.config/cofferdam/policy.toml.",
    COFFERDAM_SERVERS = "COFFERDAM_SERVERS", All:
        "The MCP servers that are declared. Default: servers.toml beside the default place of the policy.",
    DOCKER_HOST = "DOCKER_HOST", All:
        "The container engine: a unix:// or tcp:// address. Default: the engine's default socket.",
    XDG_STATE_HOME = "XDG_STATE_HOME", All:
        "The folder of state directories, see COFFERDAM_STATE_DIR.",
    XDG_CONFIG_HOME = "XDG_CONFIG_HOME", All:
        "The folder of configurations, see COFFERDAM_POLICY and COFFERDAM_SERVERS.",
    NPM_CONFIG_REGISTRY = "NPM_CONFIG_REGISTRY", All:
        "What the preset npm stands for, before what npm itself is configured to.",
    NPM_CONFIG_USERCONFIG = "NPM_CONFIG_USERCONFIG", All:
        "Where npm, which the preset npm asks, has its configuration.",
    PIP_INDEX_URL = "PIP_INDEX_URL", All:
        "What the preset pypi stands for, before what pip itself is configured to.",
    PIP_CONFIG_FILE = "PIP_CONFIG_FILE", All:
        "Where pip, which the preset pypi asks, has its configuration.",
    PIP_CERT = "PIP_CERT", All:
        "Whom pip trusts, when the preset pypi asks it.",
    UV_DEFAULT_INDEX = "UV_DEFAULT_INDEX", All:
        "What the preset pypi stands for when PIP_INDEX_URL is not set.",
    CARGO_HOME = "CARGO_HOME", All:
        "Where cargo keeps its registries, for the preset crates. Default: ~/.cargo.",
    SSL_CERT_FILE = "SSL_CERT_FILE", All:
        "Certificates that this machine trusts; sessions are told of them when the operator's policy names none.",
    HTTP_PROXY = "HTTP_PROXY", All:
        "The proxy of this machine, for the tools that presets ask.",
    HTTPS_PROXY = "HTTPS_PROXY", All:
        "The same for https.",
    NO_PROXY = "NO_PROXY", All:
        "What tools reach without it.",
    XDG_RUNTIME_DIR = "XDG_RUNTIME_DIR", All:
        "Where engines without root have their sockets, which are never handed to a session.",
    HOME = "HOME", All:
        "The home directory: the last place for the state directory, and never handed to a session as a whole.",
    PATH = "PATH", All:
        "Where git is found, for `run --apply`, and the programs of MCP servers on this host.",
    USER = "USER", All:
        "Handed to MCP servers on this host, as HOME, PATH, LANG and TMPDIR are; of everything else only what is declared.",
    LANG = "LANG", All:
        "Handed to MCP servers on this host.",
    TMPDIR = "TMPDIR", All:
        "Handed to MCP servers on this host.",
    BROWSER = "BROWSER", Cofferdam:
        "The program that opens a web address, for `mcp login`. Default: xdg-open, on macOS open.",
    DISPLAY = "DISPLAY", Cofferdam:
        "Without it, and without WAYLAND_DISPLAY, no browser is opened on Linux.",
    WAYLAND_DISPLAY = "WAYLAND_DISPLAY", Cofferdam:
        "See DISPLAY.",
    NO_COLOR = "NO_COLOR", All:
        "No colour, when it is set to anything.",
    CLICOLOR_FORCE = "CLICOLOR_FORCE", All:
        "Colour even when the output is not a terminal, when it is set to anything but 0.",
    TERM = "TERM", All:
        "`dumb` means neither colour nor progress.",
    TZ = "TZ", Cofferdam:
        "The time zone in which times are shown.",
}

/// The socket of an engine of tests. Not registered: no program that anybody uses reads it.
#[cfg(feature = "faults")]
pub(crate) const TEST_ENGINE: &str = "COFFERDAM_TEST_ENGINE";

/// Variables that name a file or folder. A daemon that a client starts works in another directory, so it is told them whole.
pub const PATHS: &[EnvVar] = &[
    COFFERDAM_POLICY,
    COFFERDAM_SERVERS,
    AWS_CONFIG_FILE,
    AWS_SHARED_CREDENTIALS_FILE,
    AWS_WEB_IDENTITY_TOKEN_FILE,
    GOOGLE_APPLICATION_CREDENTIALS,
    CLOUDSDK_CONFIG,
    NPM_CONFIG_USERCONFIG,
    PIP_CONFIG_FILE,
    PIP_CERT,
    CARGO_HOME,
    SSL_CERT_FILE,
];

/// What a variable that names a file or folder leads to, from here.
pub(crate) fn absolute(variable: EnvVar, environment: &dyn Environment) -> Option<PathBuf> {
    let path = PathBuf::from(environment.get(variable)?);
    Some(std::path::absolute(&path).unwrap_or(path))
}

/// Where variables are read from.
pub trait Environment: Sync {
    /// The value of a variable by name. For names that a user gives (`--api-key-env`); all others come by [`Environment::get`].
    fn named(&self, name: &str) -> Option<OsString>;

    /// The value of a registered variable; an empty one counts as not set.
    fn get(&self, variable: EnvVar) -> Option<OsString> {
        self.named(variable.name).filter(|value| !value.is_empty())
    }

    /// The value as text.
    ///
    /// # Errors
    /// `InvalidArgument` when it is not UTF-8.
    fn text(&self, variable: EnvVar) -> Result<Option<String>> {
        self.get(variable)
            .map(|value| value.into_string().map_err(|_| not_text(variable.name)))
            .transpose()
    }

    /// The same environment for whoever reads it later, such as a secret that is asked for when a server is started.
    fn shared(&self) -> SharedEnvironment;
}

/// An environment that outlives the call in which it was given. It shows nothing of itself.
#[derive(Clone)]
pub struct SharedEnvironment(Arc<dyn Environment + Send + Sync>);

impl Environment for SharedEnvironment {
    fn named(&self, name: &str) -> Option<OsString> {
        self.0.named(name)
    }

    fn shared(&self) -> SharedEnvironment {
        self.clone()
    }
}

impl std::fmt::Debug for SharedEnvironment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedEnvironment")
    }
}

/// The user's folder of our configuration.
pub(crate) fn config_dir(home: Option<&Path>, environment: &dyn Environment) -> Option<PathBuf> {
    environment
        .get(XDG_CONFIG_HOME)
        .map(PathBuf::from)
        // The XDG specification has relative paths ignored.
        .filter(|folder| folder.is_absolute())
        .or_else(|| home.map(|home| home.join(".config")))
        .map(|folder| folder.join("cofferdam"))
}

/// The value is not repeated: it may be a secret.
pub(super) fn not_text(name: &str) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        "read the environment",
        "the variable's value is not UTF-8 text",
    )
    .with_context("variable", name)
}

/// The environment of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the environment is read"
    )]
    fn named(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn shared(&self) -> SharedEnvironment {
        SharedEnvironment(Arc::new(*self))
    }
}

/// A fixed environment, for tests and embedding.
impl Environment for BTreeMap<String, String> {
    fn named(&self, name: &str) -> Option<OsString> {
        self.get(name).map(OsString::from)
    }

    fn shared(&self) -> SharedEnvironment {
        SharedEnvironment(Arc::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = REGISTRY.iter().map(|variable| variable.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), REGISTRY.len());
    }

    #[test]
    fn an_empty_value_counts_as_not_set() {
        let environment = BTreeMap::from([("NO_COLOR".to_owned(), String::new())]);
        assert_eq!(Environment::get(&environment, NO_COLOR), None);
    }
}
