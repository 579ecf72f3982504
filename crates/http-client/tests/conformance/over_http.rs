//! A site's manager behind a server, and a client in its place.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use http_api::ServerInfo;
use http_client::{ConnectOptions, HttpSessions};
use http_frontend::listen::{Listeners, TlsConfig, bind_socket};
use http_frontend::{HttpOptions, HttpServer, ServerControl};
use secrecy::SecretString;
use session_core::api::SessionApi;
use session_core::error::Error;
use session_core::gateway::{ProgramPlace, ProgramSpec, RunningProgram};
use session_core::id::ImageRef;
use session_core::runtime::ContainerRuntime;
use session_core::session::CreateSession;
use session_core::state_dir::{ServingLock, StateDir};
use testkit::conformance::sessions::{Act, SessionLab, SessionSite};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How the client reaches the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Socket,
    Tcp,
    Tls,
}

/// Another lab, seen through a server and a client.
pub(crate) struct OverHttp<L> {
    inner: L,
    way: Way,
}

impl<L> OverHttp<L> {
    pub(crate) fn new(inner: L, way: Way) -> Self {
        Self { inner, way }
    }
}

#[async_trait]
impl<L: SessionLab> SessionLab for OverHttp<L> {
    async fn open(&self) -> Result<Box<dyn SessionSite>, String> {
        let inner = self.inner.open().await?;
        match HttpSite::open(inner, self.way).await {
            Ok(site) => Ok(Box::new(site)),
            Err(error) => Err(format!("{error:?}")),
        }
    }
}

struct HttpSite {
    inner: Box<dyn SessionSite>,
    client: HttpSessions,
    serving: Mutex<Option<Serving>>,
    _lock: ServingLock,
}

/// A server that runs.
struct Serving {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Error>>,
}

/// What a process says of itself where there is none.
struct Control;

#[async_trait]
impl ServerControl for Control {
    fn info(&self) -> ServerInfo {
        ServerInfo {
            version: "0".to_owned(),
            pid: std::process::id(),
            started_at: jiff::Timestamp::now(),
            settings: String::new(),
            settings_without_credentials: String::new(),
            auto_started: false,
            working: false,
        }
    }

    fn stop(&self) {}

    async fn ready(&self) -> Result<(), Error> {
        Ok(())
    }
}

impl HttpSite {
    async fn open(inner: Box<dyn SessionSite>, way: Way) -> Result<Self, Failure> {
        let directory = inner.state_dir();
        let lock = StateDir::open(&directory)?.lock_serving()?;
        let key = SecretString::from("a-key-of-thirty-two-characters-or-more");
        let options = HttpOptions {
            operator_key: Some(("operator".to_owned(), key.clone())),
            ..HttpOptions::default()
        };
        let (listeners, client) = match way {
            Way::Socket => {
                let path = directory.join("cofferdam.sock");
                let unix = Some(bind_socket(&path, &lock)?);
                (Listeners { unix, tcp: vec![] }, HttpSessions::unix(path)?)
            }
            Way::Tcp | Way::Tls => on_a_port(&directory, key, way == Way::Tls).await?,
        };
        let (stop, stopped) = oneshot::channel();
        let server = HttpServer::new(inner.api(), options, Arc::new(Control));
        let task = tokio::spawn(server.serve(listeners, async {
            let _ = stopped.await;
        }));
        Ok(Self {
            inner,
            client,
            serving: Mutex::new(Some(Serving { stop, task })),
            _lock: lock,
        })
    }

    /// Ends client and server; what went wrong with them.
    async fn stop(&self) -> Option<String> {
        self.client.close().await;
        let serving = self
            .serving
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()?;
        let _ = serving.stop.send(());
        match serving.task.await {
            Ok(Ok(())) => None,
            other => Some(format!("the server ended badly: {other:?}")),
        }
    }
}

async fn on_a_port(
    directory: &Path,
    key: SecretString,
    encrypted: bool,
) -> Result<(Listeners, HttpSessions), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let mut options = ConnectOptions::default();
    let (mut tls, mut scheme) = (None, "http");
    if encrypted {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let (certificate, secret) = (directory.join("test.pem"), directory.join("test.key"));
        std::fs::write(&certificate, made.cert.pem())?;
        std::fs::write(&secret, made.signing_key.serialize_pem())?;
        options = options.trust_only(made.cert.pem());
        tls = Some(TlsConfig {
            certificate,
            key: secret,
        });
        scheme = "https";
    }
    let client = HttpSessions::connect(&format!("{scheme}://localhost:{port}"), Some(key), &options)?;
    let tcp = vec![(listener, tls)];
    Ok((Listeners { unix: None, tcp }, client))
}

#[async_trait]
impl SessionSite for HttpSite {
    fn api(&self) -> Arc<dyn SessionApi> {
        Arc::new(self.client.clone())
    }

    fn runtime(&self) -> Arc<dyn ContainerRuntime> {
        self.inner.runtime()
    }

    async fn start_program(
        &self,
        place: ProgramPlace,
        program: ProgramSpec,
    ) -> Result<RunningProgram, Error> {
        self.inner.start_program(place, program).await
    }

    fn request(&self) -> CreateSession {
        self.inner.request()
    }

    fn missing_image(&self) -> ImageRef {
        self.inner.missing_image()
    }

    fn foreign_image(&self) -> ImageRef {
        self.inner.foreign_image()
    }

    fn workspace(&self) -> Result<PathBuf, String> {
        self.inner.workspace()
    }

    fn state_dir(&self) -> PathBuf {
        self.inner.state_dir()
    }

    fn has_git(&self) -> bool {
        self.inner.has_git()
    }

    fn script(&self, act: Act) {
        self.inner.script(act);
    }

    async fn close(&self) -> Vec<String> {
        let mut left: Vec<String> = self.stop().await.into_iter().collect();
        left.extend(self.inner.close().await);
        left
    }
}
