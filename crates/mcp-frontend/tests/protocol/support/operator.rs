//! An operator's declarations on disk, and a deployer that remembers what it was given.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::Timestamp;
use mcp_catalog::{Catalog, CatalogPaths, Digest, Manifest};
use mcp_frontend::clients::ClientKind;
use mcp_frontend::{Deployed, Deployer, Deployment, McpOptions, McpServer};
use serde_json::{Value, json};
use session_core::error::{Error, Result};
use session_core::mcp::ServerName;
use tempfile::TempDir;

use super::World;
use super::fake::{Fake, Shared};

/// A word that stands where secrets are, and nowhere else.
pub(crate) const CANARY: &str = "xanaryx";

/// Servers of every kind; each secret is a reference that leads to the canary.
pub(crate) const SERVERS: &str = r#"
[servers.git]
description = "The history of a repository"
command = "mcp-server-git"
args = ["--repository", "/srv/repo"]
env = { GIT_PAT = { env = "XANARYX_PAT" }, MODE = "ro", PIN = { command = ["xanaryx-vault", "pin"] } }
tools = { deny = ["rewrite"] }

[servers.docs]
url = "https://docs.example.com/mcp"
headers = { X-Docs = { prefix = "Bearer ", file = "/run/xanaryx/docs" } }
oauth = { client_id = "us", client_secret = { env = "XANARYX_LOGIN" } }
sharing = "shared"

[servers.boxed]
transport = "container"
image = "boxes:1"
command = "box"
allow = ["npm"]
approval = "each"

[servers.off]
command = "off"
enabled = false

[profiles.default]
servers = ["git"]

[profiles.team]
servers = ["git", "docs"]
tools = ["git__*"]
"#;

/// See the module.
pub(crate) struct Operator {
    dir: TempDir,
    pub(crate) deployer: Arc<Remembers>,
}

/// What was to be written into files of clients.
#[derive(Default)]
pub(crate) struct Remembers {
    pub(crate) deployed: Mutex<Vec<String>>,
    pub(crate) fails: Mutex<Option<Error>>,
}

#[async_trait]
impl Deployer for Remembers {
    async fn deploy(&self, deployment: Deployment<'_>) -> Result<Deployed> {
        if let Some(error) = self.fails.lock().unwrap().take() {
            return Err(error);
        }
        let Deployment {
            client,
            profile,
            artifact,
        } = deployment;
        let told = format!("{} {profile} {artifact}", client.name());
        let mut deployed = self.deployed.lock().unwrap();
        let changed = deployed.last() != Some(&told);
        deployed.push(told);
        Ok(Deployed {
            path: client.file(Path::new("/home/u")),
            entry: "cofferdam-tools".into(),
            changed,
            backup: changed.then(|| "/home/u/backup".into()),
        })
    }

    async fn deployed(&self, client: ClientKind, profile: &ServerName) -> Result<Option<Digest>> {
        let told = format!("{} {profile} ", client.name());
        let deployed = self.deployed.lock().unwrap();
        let last = deployed.iter().rev().find_map(|line| line.strip_prefix(&told));
        last.map(str::parse).transpose()
    }
}

impl Operator {
    pub(crate) fn new() -> Self {
        Self::declaring(SERVERS)
    }

    pub(crate) fn declaring(servers: &str) -> Self {
        let operator = Self {
            dir: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
            deployer: Arc::default(),
        };
        operator.declare(servers);
        operator
    }

    /// Writes `servers.toml`.
    pub(crate) fn declare(&self, servers: &str) {
        let path = self.dir.path().join("servers.toml");
        std::fs::write(&path, servers).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// The catalog as another process has it.
    pub(crate) fn catalog(&self) -> Catalog {
        Catalog::new(CatalogPaths {
            servers: self.path("servers.toml"),
            storage: self.path("storage"),
            keys: self.path("keys"),
        })
    }

    /// A server that knows what is declared, and a client of it.
    pub(crate) async fn world(&self) -> World {
        self.world_with(super::options()).await
    }

    pub(crate) async fn world_with(&self, options: McpOptions) -> World {
        let mut world = self.silent(options);
        world.client.initialize().await;
        world
    }

    /// Connected, and nothing said yet.
    pub(crate) fn silent(&self, options: McpOptions) -> World {
        let fake = Arc::new(Fake::default());
        let server = McpServer::new(Arc::new(Shared(fake.clone())), options);
        let server = server.with_catalog(Arc::new(self.catalog()), Some(self.deployer.clone()));
        World::serving(fake, server)
    }

    /// What a declared server shows when it is asked; what is new about it is judged, as a gateway does it.
    pub(crate) fn shows(&self, server: &str, tools: &[Value]) {
        let server: ServerName = server.parse().unwrap();
        let catalog = self.catalog();
        let declared = catalog.declared().unwrap();
        let definition = &declared.servers[&server];
        catalog.judge(&server, definition.approval, tools).unwrap();
        let manifest = Manifest {
            definition: definition.digest(),
            name: server.to_string(),
            server,
            version: "1".into(),
            protocol: "2025-11-25".into(),
            instructions: None,
            capabilities: json!({}),
            tools: tools.to_vec(),
            prompts: Vec::new(),
            resources: Vec::new(),
            resource_templates: Vec::new(),
            at: Timestamp::now(),
        };
        catalog.keep_manifest(&manifest).unwrap();
    }

    /// Changes each stored artifact behind everybody's back.
    pub(crate) fn tamper(&self, from: &str, to: &str) {
        let mut changed = 0;
        for entry in std::fs::read_dir(self.path("storage/artifacts")).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            if text.contains(from) {
                std::fs::write(&path, text.replace(from, to)).unwrap();
                changed += 1;
            }
        }
        assert!(changed > 0, "there is nothing to change");
    }
}

/// A tool as a server shows it.
pub(crate) fn tool(name: &str, description: &str) -> Value {
    json!({ "name": name, "description": description, "inputSchema": { "type": "object" } })
}
