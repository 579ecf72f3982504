//! A connector in a directory of its own, servers for it, and ways to look at processes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use mcp_catalog::{Catalog, CatalogPaths, ServerDefinition, Transport};
use rmcp::model::{CallToolRequestParams, CallToolResult};
use rmcp::service::ServiceError;
use secrecy::SecretString;
use serde_json::Value;
use session_core::error::{Error, ErrorKind};
use session_core::id::SessionId;
use session_core::secret::{SecretReference, SecretSource, Secrets};
use session_gateway::egress::Resolve;
use session_gateway::mcp::upstream::Connection;
use session_gateway::mcp::{Connector, Failure, McpConfig, McpLimits, Network};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

pub(crate) const CANARY: &str = "canary-7f3a-9b2c-51d0";
pub(crate) type Known = Arc<Mutex<BTreeMap<String, String>>>;

/// See the module.
pub(crate) struct Lab {
    pub(crate) config: McpConfig,
    /// What references to variables lead to.
    pub(crate) secrets: Known,
    connector: OnceLock<Connector>,
    pub(crate) directory: PathBuf,
    _owned: Option<TempDir>,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let owned = tempfile::tempdir().unwrap();
        let mut lab = Self::at(owned.path().to_owned());
        lab._owned = Some(owned);
        lab
    }

    pub(crate) fn at(directory: PathBuf) -> Self {
        let catalog = Catalog::new(CatalogPaths {
            servers: directory.join("servers.toml"),
            storage: directory.join("storage"),
            keys: directory.join("keys"),
        });
        let secrets = Known::default();
        let variables = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", "/nonexistent")];
        let own = std::env::current_exe().unwrap();
        let config = McpConfig {
            catalog: Arc::new(catalog),
            secrets: Arc::new(Follow(Arc::clone(&secrets))),
            host_environment: variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            telemetry: directory.join("telemetry"),
            logins: directory.join("logins"),
            supervisor: Some(vec![own.into(), "__supervise".into()]),
            network: Network::default(),
            limits: McpLimits {
                max_message: 1 << 20,
                ..McpLimits::default()
            },
        };
        Self {
            config,
            secrets,
            connector: OnceLock::new(),
            directory,
            _owned: None,
        }
    }

    /// Programs are process groups and no more.
    pub(crate) fn unsupervised(mut self) -> Self {
        self.config.supervisor = None;
        self
    }

    pub(crate) fn secret(self, name: &str, value: &str) -> Self {
        self.rotate(name, value);
        self
    }

    pub(crate) fn rotate(&self, name: &str, value: &str) {
        self.secrets
            .lock()
            .unwrap()
            .insert(name.to_owned(), value.to_owned());
    }

    pub(crate) fn connector(&self) -> &Connector {
        self.connector
            .get_or_init(|| Connector::new(Arc::new(self.config.clone()), Arc::default()))
    }

    pub(crate) async fn connect(
        &self,
        name: &str,
        definition: ServerDefinition,
    ) -> Result<Connection<()>, Failure> {
        self.connect_for(name, definition, None).await
    }

    pub(crate) async fn connect_for(
        &self,
        name: &str,
        definition: ServerDefinition,
        owner: Option<SessionId>,
    ) -> Result<Connection<()>, Failure> {
        let name = name.parse().unwrap();
        self.connector().connect(&name, &definition, owner, ()).await
    }

    pub(crate) fn diary(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.join(format!("telemetry/{name}.log"))).unwrap_or_default()
    }
}

/// Follows references to variables that the test has, and to files.
#[derive(Debug)]
struct Follow(Known);

impl Secrets for Follow {
    fn follow(&self, reference: &SecretReference) -> session_core::error::Result<Arc<dyn SecretSource>> {
        let SecretReference::Env(name) = reference else {
            panic!("tests have variables")
        };
        if !self.0.lock().unwrap().contains_key(name) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "follow a reference",
                "it is not set",
            ));
        }
        Ok(Arc::new(Followed(Arc::clone(&self.0), name.clone())))
    }
}

struct Followed(Known, String);

#[async_trait]
impl SecretSource for Followed {
    async fn secret(&self) -> Option<SecretString> {
        self.0
            .lock()
            .unwrap()
            .get(&self.1)
            .cloned()
            .map(SecretString::from)
    }
}

/// Names that lead where a test says.
pub(crate) struct Names(pub(crate) BTreeMap<&'static str, IpAddr>);

#[async_trait]
impl Resolve for Names {
    async fn resolve(&self, host: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(self.0.get(host).copied().into_iter().collect())
    }
}

/// A program.
pub(crate) fn program(command: &Path, args: &[&str]) -> ServerDefinition {
    let transport = Transport::Stdio {
        command: command.to_str().unwrap().to_owned(),
        args: args.iter().map(|argument| (*argument).to_owned()).collect(),
        env: BTreeMap::new(),
        cwd: None,
    };
    start_within(ServerDefinition::new(transport), 20_000)
}

/// The testkit's server.
pub(crate) fn server(args: &[&str]) -> ServerDefinition {
    program(&testkit::mcp::server_path().unwrap(), args)
}

/// This program in another role.
pub(crate) fn role(args: &[&str]) -> ServerDefinition {
    program(&std::env::current_exe().unwrap(), args)
}

/// A shell that does what a test wants.
pub(crate) fn shell(script: &str) -> ServerDefinition {
    program(Path::new("/bin/sh"), &["-c", script])
}

/// The environment of a program.
pub(crate) fn with_env(mut definition: ServerDefinition, added: Value) -> ServerDefinition {
    if let Transport::Stdio { env, .. } = &mut definition.transport {
        *env = serde_json::from_value(added).unwrap();
    }
    definition
}

pub(crate) fn start_within(mut definition: ServerDefinition, ms: u64) -> ServerDefinition {
    definition.times.start_ms = ms;
    definition
}

/// Calls a tool and gives the text of its result.
pub(crate) async fn call(
    connection: &Connection<()>,
    tool: &str,
    arguments: Value,
) -> Result<String, ServiceError> {
    let mut params = CallToolRequestParams::new(tool.to_owned());
    params.arguments = arguments.as_object().cloned();
    connection
        .peer()
        .call_tool(params)
        .await
        .map(|result| text(&result))
}

pub(crate) fn text(result: &CallToolResult) -> String {
    let content = serde_json::to_value(&result.content).unwrap();
    content[0]["text"].as_str().unwrap_or_default().to_owned()
}

/// Waits for something that comes soon.
pub(crate) async fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// What a server wrote down of itself: the processes that were started, orphans too.
pub(crate) fn journal(path: &Path) -> Vec<i32> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    lines
        .filter(|words| matches!(words[0], "start" | "orphan"))
        .map(|words| words[1].parse().unwrap())
        .collect()
}

/// Whether a process runs; one that is only to be reaped does not.
pub(crate) fn runs(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.trim().chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

/// Processes below this one, zombies too.
pub(crate) fn children() -> usize {
    let own = std::process::id().to_string();
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let stats = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    stats
        .filter(|stat| {
            stat.rsplit(')')
                .next()
                .and_then(|rest| rest.split_whitespace().nth(1))
                == Some(&own)
        })
        .count()
}

pub(crate) fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
