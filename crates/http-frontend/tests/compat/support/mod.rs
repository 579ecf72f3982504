//! A server with a projects directory, over a manager with an engine in memory.
#![expect(clippy::unwrap_used, reason = "what a test cannot set up ends it")]

mod client;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http_api::ServerInfo;
use http_frontend::caller::Scope;
use http_frontend::tokens::{NewToken, TokenFile};
use http_frontend::{CompatOptions, HttpOptions, HttpServer, Listeners, Rate, ServerControl};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use session_core::error::Result;
use session_core::state_dir::StateDir;
use testkit::harness::{ManagerProcess, Site};
use testkit::memory::AgentTurn;
use testkit::model::Gate;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

pub(crate) use self::client::Reply;

/// How long anything of a test may take that should happen soon.
const SOON: Duration = Duration::from_secs(20);

struct Control;

#[async_trait]
impl ServerControl for Control {
    fn info(&self) -> ServerInfo {
        ServerInfo {
            version: "0".to_owned(),
            pid: std::process::id(),
            started_at: Timestamp::UNIX_EPOCH,
            settings: String::new(),
            settings_without_credentials: String::new(),
            auto_started: false,
            working: false,
        }
    }

    fn stop(&self) {}

    async fn ready(&self) -> Result<()> {
        Ok(())
    }
}

/// A server and everything beneath it.
pub(crate) struct House {
    pub(crate) site: Site,
    pub(crate) projects: PathBuf,
    manager: Option<Arc<ManagerProcess>>,
    options: HttpOptions,
    address: SocketAddr,
    admin: String,
    /// The server's own, so that it can be killed with everything that it began.
    server: Option<Runtime>,
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// One whose older interface is set so.
    pub(crate) async fn set(change: impl FnOnce(&mut CompatOptions)) -> Self {
        Self::with(|options| change(options.compat.as_mut().unwrap())).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut HttpOptions)) -> Self {
        let site = Site::new().unwrap();
        let projects = site.workspace("projects").unwrap();
        let state = StateDir::open(&site.state_dir()).unwrap();
        let tokens = TokenFile::of(&state);
        let tasks = Arc::new(state.private_dir("compat-tasks").unwrap());
        let mut options = HttpOptions {
            tokens: Some(tokens.clone()),
            compat: Some(CompatOptions {
                claude_code_version: "2.1.0".to_owned(),
                ..CompatOptions::new(projects.clone(), tasks)
            }),
            // Tests ask over and over whether something has happened.
            compat_rate: Rate {
                requests: 10_000,
                window: Duration::from_secs(10),
            },
            ..HttpOptions::default()
        };
        change(&mut options);
        let admin = make_token(&tokens, "admin", Scope::Admin);
        let manager = Arc::new(site.manager().await.unwrap());
        let (address, server) = serve(manager.clone(), options.clone());
        Self {
            site,
            projects,
            manager: Some(manager),
            options,
            address,
            admin,
            server: Some(server),
        }
    }

    pub(crate) fn manager(&self) -> &ManagerProcess {
        self.manager.as_ref().unwrap()
    }

    /// A project that the user inside can write, with some files.
    pub(crate) fn project(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let path = self.projects.join(name);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        for (file, content) in files {
            let file = path.join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, content).unwrap();
        }
        path
    }

    pub(crate) fn token(&self, name: &str, scope: Scope) -> String {
        make_token(self.options.tokens.as_ref().unwrap(), name, scope)
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.ask(&self.admin, "GET", path, &[], None).await
    }

    pub(crate) async fn call(&self, method: &str, path: &str) -> Reply {
        self.ask(&self.admin, method, path, &[], None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.post_with(path, &[], body).await
    }

    pub(crate) async fn post_with(&self, path: &str, headers: &[(&str, &str)], body: Value) -> Reply {
        self.ask(&self.admin, "POST", path, headers, Some(body)).await
    }

    pub(crate) async fn ask(
        &self,
        token: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Reply {
        let body = body.map(|body| body.to_string().into_bytes());
        let kind: &[_] = if body.is_some() {
            &[("content-type", "application/json")]
        } else {
            &[]
        };
        let headers: Vec<_> = headers.iter().chain(kind).copied().collect();
        self.send(token, method, path, &headers, &body.unwrap_or_default())
            .await
    }

    pub(crate) async fn raw(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.send(&self.admin, "POST", path, headers, body).await
    }

    async fn send(
        &self,
        token: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        let exchange = client::exchange(self.address, token, method, path, headers, body);
        tokio::time::timeout(SOON, exchange).await.expect("an answer")
    }

    /// Sends a request and leaves without waiting for its answer.
    pub(crate) async fn post_and_leave(&self, path: &str, body: Value) {
        client::leave(self.address, &self.admin, path, body.to_string().as_bytes()).await;
    }

    /// The files of tasks and analyses that were taken on and are not put away.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let dir = self.options.compat.as_ref().unwrap().tasks_dir.path();
        let mut files: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .map(|file| file.unwrap().path())
            .collect();
        files.sort();
        files
    }

    /// Waits until so many of them are left.
    pub(crate) async fn until_files(&self, wanted: usize) {
        let begun = tokio::time::Instant::now();
        while self.files().len() != wanted {
            assert!(begun.elapsed() < SOON, "{:?}", self.files());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Begins a task that nobody waits for; its id.
    pub(crate) async fn begin(&self, project: &str, what: &str, priority: &str) -> String {
        let body =
            json!({ "task_description": what, "project_path": project, "priority": priority, "wait": false });
        let reply = self.post("/claude-code/execute", body).await;
        assert_eq!(reply.status, 202, "{}", reply.body);
        reply.body["task_id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn task(&self, id: &str) -> Value {
        let reply = self.get(&format!("/claude-code/task/{id}")).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.body
    }

    /// Asks for a task until it is as wanted.
    pub(crate) async fn until(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = tokio::time::Instant::now();
        loop {
            let task = self.task(id).await;
            if wanted(&task) {
                return task;
            }
            assert!(begun.elapsed() < SOON, "{task}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn ended(&self, id: &str) -> Value {
        self.until(id, |task| task["status"] != "running").await
    }

    /// Waits until nothing of any session is left.
    pub(crate) async fn cleared(&self) {
        let begun = tokio::time::Instant::now();
        while !self.site.memory.names().is_empty() {
            assert!(begun.elapsed() < SOON, "{:?}", self.site.memory.names());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until so many tasks are told of as completed.
    pub(crate) async fn completed(&self, wanted: u64) {
        let begun = tokio::time::Instant::now();
        loop {
            let status = self.get("/claude-code/status").await.body;
            if status["tasks"]["completed"] == wanted {
                return;
            }
            assert!(begun.elapsed() < SOON, "{status}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The server and its manager are killed, and others begin in their place.
    pub(crate) async fn restart(mut self) -> Self {
        // Nothing gets to say farewell.
        let server = self.server.take().unwrap();
        tokio::task::spawn_blocking(move || server.shutdown_timeout(SOON))
            .await
            .unwrap();
        Arc::into_inner(self.manager.take().unwrap())
            .unwrap()
            .kill()
            .await;
        let manager = Arc::new(self.site.manager().await.unwrap());
        let (address, server) = serve(manager.clone(), self.options.clone());
        (self.address, self.server, self.manager) = (address, Some(server), Some(manager));
        self
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown_background();
        }
    }
}

/// Agents that do nothing before the gate opens, and then say what they were asked.
pub(crate) fn hold(house: &House) -> Gate {
    let gate = Gate::new();
    let held = gate.clone();
    house
        .site
        .memory
        .agents()
        .otherwise(move |prompt| AgentTurn::new().hold(&held).say(prompt));
    gate
}

fn serve(manager: Arc<ManagerProcess>, options: HttpOptions) -> (SocketAddr, Runtime) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.spawn(async move {
        let listeners = Listeners {
            tcp: vec![(TcpListener::from_std(listener).unwrap(), None)],
            ..Listeners::default()
        };
        let server = HttpServer::new(manager, options, Arc::new(Control));
        server.serve(listeners, std::future::pending()).await
    });
    (address, runtime)
}

fn make_token(tokens: &TokenFile, name: &str, scope: Scope) -> String {
    let token = NewToken {
        name: name.to_owned(),
        scope,
        all_sessions: false,
        expires_at: None,
    };
    let (_, secret) = tokens.create(token).unwrap();
    secret.expose_secret().to_owned()
}

/// RFC 3339 with milliseconds and `Z`.
pub(crate) fn is_time(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    text.len() == 24 && text.ends_with('Z') && text.parse::<Timestamp>().is_ok()
}
