//! A manager on Docker, put together as the command line does it, with a model that says what a test wants.

use std::collections::VecDeque;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use runtime_docker::DockerRuntime;
use secrecy::SecretString;
use serde_json::json;
use session_core::api::SessionApi;
use session_core::error::Error;
use session_core::gateway::{ProgramPlace, ProgramSpec, RunningProgram};
use session_core::id::ImageRef;
use session_core::label::Signer;
use session_core::manager::{ManagerOptions, SessionManager};
use session_core::policy::mounts::HostPaths;
use session_core::runtime::ContainerRuntime;
use session_core::session::{CreateSession, SessionFilter};
use session_core::state_dir::StateDir;
use session_gateway::SessionGateway;
use session_gateway::model::{Credential, CredentialSource, ModelProxyConfig};
use tempfile::TempDir;
use testkit::conformance::sessions::{Act, ModelFault, SessionLab, SessionSite};
use testkit::model::{ApiFailure, Message, ModelServer, Reply, Script};

use super::engine::Engine;
use super::runtime::image;
use super::{FOREIGN_IMAGE, IMAGE, MISSING_IMAGE};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How patient the agent is with its model: with its own defaults a test of a silent one takes minutes.
const ENVIRONMENT: [(&str, &str); 2] = [("CLAUDE_CODE_MAX_RETRIES", "1"), ("API_TIMEOUT_MS", "3000")];

pub(crate) struct DockerSessions(pub(crate) Engine);

#[async_trait]
impl SessionLab for DockerSessions {
    async fn open(&self) -> Result<Box<dyn SessionSite>, String> {
        match DockerSite::open(&self.0).await {
            Ok(site) => Ok(Box::new(site)),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// What the model says next. A failure is said again, however often the agent tries, until something else is to be said.
#[derive(Default)]
struct Words(Mutex<VecDeque<(Reply, bool)>>);

impl Words {
    fn push(&self, reply: impl Into<Reply>, again: bool) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back((reply.into(), again));
    }

    fn next(&self) -> Reply {
        let mut words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while words.len() > 1 && words.front().is_some_and(|(_, again)| *again) {
            words.pop_front();
        }
        match words.front() {
            Some((reply, true)) => reply.clone(),
            Some(_) => words.pop_front().map(|(reply, _)| reply).unwrap_or_else(silence),
            None => silence(),
        }
    }
}

fn silence() -> Reply {
    Message::new().text("(nothing was said)").into()
}

struct DockerSite {
    dir: TempDir,
    manager: SessionManager,
    runtime: Arc<DockerRuntime>,
    words: Arc<Words>,
    workspaces: AtomicU32,
    _model: ModelServer,
}

impl DockerSite {
    async fn open(engine: &Engine) -> Result<Self, Failure> {
        let words = Arc::new(Words::default());
        let said = words.clone();
        let model = ModelServer::start(Script::new().answer(move |_| said.next()).forever()).await?;
        let dir = tempfile::Builder::new()
            .prefix("cofferdam-conformance-")
            .tempdir()?;
        let runtime = Arc::new(DockerRuntime::connect(engine.options())?);
        let key = Credential::api_key(&SecretString::from("sk-of-the-host"))?;
        let gateway = SessionGateway::new(ModelProxyConfig::messages(
            model.url().parse()?,
            CredentialSource::new(Some(key)),
        ));
        let state_dir = dir.path().join("state");
        let host = HostPaths {
            home: None,
            state_dir: state_dir.clone(),
            engine_sockets: engine.socket().into_iter().collect(),
        };
        let manager = SessionManager::open(
            StateDir::open(&state_dir)?,
            ManagerOptions::new(image(IMAGE), host),
            runtime.clone(),
            Arc::new(gateway),
        )
        .await?;
        Ok(Self {
            dir,
            manager,
            runtime,
            words,
            workspaces: AtomicU32::new(0),
            _model: model,
        })
    }

    /// What bears the label of this site's owner; it is removed on the way.
    async fn sweep(&self) -> Result<Vec<String>, Failure> {
        let signer = Signer::new(StateDir::open(&self.state_dir())?.signing_key()?);
        let mut left = Vec::new();
        for resource in self.runtime.list(signer.owner()).await? {
            left.push(format!("container or storage {}", resource.name));
            self.runtime.remove(&resource.name).await?;
        }
        for entry in std::fs::read_dir(self.state_dir().join("sessions"))
            .into_iter()
            .flatten()
        {
            left.push(format!("directory {}", entry?.path().display()));
        }
        Ok(left)
    }
}

#[async_trait]
impl SessionSite for DockerSite {
    fn api(&self) -> Arc<dyn SessionApi> {
        Arc::new(self.manager.clone())
    }

    fn runtime(&self) -> Arc<dyn ContainerRuntime> {
        self.runtime.clone()
    }

    async fn start_program(
        &self,
        place: ProgramPlace,
        program: ProgramSpec,
    ) -> Result<RunningProgram, Error> {
        self.manager.programs().start(place, program).await
    }

    fn request(&self) -> CreateSession {
        let env = ENVIRONMENT
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        CreateSession {
            env,
            ..CreateSession::default()
        }
    }

    fn missing_image(&self) -> ImageRef {
        image(MISSING_IMAGE)
    }

    fn foreign_image(&self) -> ImageRef {
        image(FOREIGN_IMAGE)
    }

    fn workspace(&self) -> Result<PathBuf, String> {
        let number = self.workspaces.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.path().join(format!("workspace-{number}"));
        let everybody = std::fs::Permissions::from_mode(0o777);
        let made = std::fs::create_dir(&path).and_then(|()| std::fs::set_permissions(&path, everybody));
        made.map(|()| path).map_err(|error| error.to_string())
    }

    fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn has_git(&self) -> bool {
        true
    }

    fn script(&self, act: Act) {
        match act {
            Act::Say(text) => self.words.push(Message::new().text(text), false),
            Act::Write { path, content, say } => {
                let input = json!({ "file_path": format!("/workspace/{path}"), "content": content });
                self.words.push(Message::new().tool("Write", input), false);
                self.words.push(Message::new().text(say), false);
            }
            Act::Work => self.words.push(Reply::Hang, true),
            Act::Fail(ModelFault::Unauthorized) => self.words.push(ApiFailure::unauthorized(), true),
            Act::Fail(ModelFault::RateLimited) => self.words.push(ApiFailure::rate_limited(), true),
            Act::Fail(ModelFault::Overloaded) => self.words.push(ApiFailure::overloaded(), true),
            Act::Fail(ModelFault::Garbage) => self.words.push(Reply::garbage(), true),
            Act::Fail(ModelFault::Nothing) => self.words.push(Reply::Hang, true),
        }
    }

    async fn close(&self) -> Vec<String> {
        let mut left = Vec::new();
        for session in self
            .manager
            .list(SessionFilter::default())
            .await
            .unwrap_or_default()
        {
            if let Err(error) = self.manager.destroy(&session.id).await {
                left.push(format!("{}: {error:?}", session.id));
            }
        }
        self.manager.shutdown().await;
        match self.sweep().await {
            Ok(swept) => left.extend(swept),
            Err(error) => left.push(format!("nobody can look: {error}")),
        }
        left
    }
}
