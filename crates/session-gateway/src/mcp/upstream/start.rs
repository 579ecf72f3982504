//! One attempt at a connection: the carrier is started, and the server greeted.

use std::sync::Arc;

use futures::{FutureExt as _, StreamExt as _};
use mcp_catalog::{OAuth, ServerDefinition, Transport as Reached, Value};
use rmcp::service::{ClientInitializeError, serve_client_with_lifecycle_and_ct};
use rmcp::transport::streamable_http_client::StreamableHttpError;
use rmcp::transport::{DynamicTransportError, Transport};
use rmcp::{ClientHandler, RoleClient};
use session_core::id::SessionId;
use session_core::mcp::ServerName;
use tokio::time::{Instant, timeout_at};
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::diary::Diary;
use super::ending::Ending;
use super::http::{self, Headers, HttpCarrier, HttpFault, HttpLink};
use super::life::{Carrier, Life, Reason};
use super::program::{self, ProgramCarrier};
use super::secrets::Values;
use super::speaker::{Era, Speaker};
use super::stdio::{self, StdioCarrier};
use super::{Inner, failure};
use crate::mcp::call::{Failure, FailureCause};
use crate::mcp::servers::{Inlet, Tap};
use crate::mcp::wire::{Guarded, LineTransport, Mask};

/// See the module.
pub(super) struct Attempt<'a> {
    pub(super) inner: &'a Inner,
    pub(super) name: &'a ServerName,
    pub(super) definition: &'a ServerDefinition,
    pub(super) owner: Option<SessionId>,
    pub(super) deadline: Instant,
    pub(super) inlet: Option<Arc<Inlet>>,
}

/// An attempt that failed.
pub(super) struct Failed {
    pub(super) failure: Failure,
    /// Whether the server may only have been greeted in a way that it does not know.
    pub(super) may_be_legacy: bool,
}

/// The parts of a definition of a server over HTTP.
struct Endpoint<'a> {
    url: &'a str,
    headers: &'a std::collections::BTreeMap<String, Value>,
    oauth: Option<&'a OAuth>,
    private: bool,
}

impl Attempt<'_> {
    pub(super) async fn make<H: ClientHandler>(
        &mut self,
        handler: Arc<H>,
        era: Era,
    ) -> Result<Connection<H>, Failed> {
        let ending = Ending::default();
        let speaker = Speaker { handler, era };
        match &self.definition.transport {
            Reached::Stdio {
                command,
                args,
                env,
                cwd,
            } => {
                let (wanted, mask) = self
                    .before_deadline(self.stdio(command, args, env, cwd.as_ref()).boxed())
                    .await?;
                let running = self.before_deadline(stdio::start(wanted).boxed()).await?;
                let pieces =
                    ReaderStream::new(running.stderr).filter_map(|piece| std::future::ready(piece.ok()));
                let file = self.inner.diary(self.name);
                let diary = Diary::keep(pieces.boxed(), file, self.whose(), mask.clone());
                let carrier = StdioCarrier::new(running.keeper, diary, running.scratch);
                let lines = self.lines(running.stdout, running.stdin, mask, &ending);
                self.greet(lines, carrier, ending, speaker).boxed().await
            }
            Reached::Http {
                url,
                headers,
                oauth,
                private,
            } => {
                let endpoint = Endpoint {
                    url,
                    headers,
                    oauth: oauth.as_ref(),
                    private: *private,
                };
                let link = self.before_deadline(self.link(endpoint, &ending).boxed()).await?;
                let transport = http::transport(link, self.inner.config.limits.max_message);
                let carrier = HttpCarrier {
                    ending: ending.clone(),
                };
                self.greet(transport, carrier, ending, speaker).boxed().await
            }
            transport => {
                let wanted = program::wanted(self.name, transport, self.owner);
                let wanted = wanted.unwrap_or_else(|| Err((FailureCause::Unavailable, String::new())));
                let (place, spec) = wanted.map_err(|reason| self.failed(reason))?;
                let running = self
                    .before_deadline(program::start(self.inner, place, spec).boxed())
                    .await?;
                let file = self.inner.diary(self.name);
                let carrier = ProgramCarrier::new(running.ended, running.stderr, file, self.whose());
                let (reader, writer) = tokio::io::split(running.stream);
                let lines = self.lines(reader, writer, Mask::default(), &ending);
                self.greet(lines, carrier, ending, speaker).boxed().await
            }
        }
    }

    async fn stdio<'b>(
        &'b self,
        command: &'b str,
        args: &'b [String],
        env: &std::collections::BTreeMap<String, Value>,
        cwd: Option<&std::path::PathBuf>,
    ) -> Result<(stdio::Wanted<'b>, Mask), Reason> {
        let config = &self.inner.config;
        let env = Values::follow(env, &*config.secrets)?.resolve().await?;
        let mask = Mask::new(&env.secrets);
        let own = || {
            let directory = config.telemetry.join(self.name.as_str());
            let directory = match self.owner {
                Some(owner) => directory.join(owner.to_string()),
                None => directory,
            };
            stdio::Cwd::Own(directory, Arc::clone(&self.inner.scratches))
        };
        let wanted = stdio::Wanted {
            command,
            args,
            host_environment: &config.host_environment,
            env,
            cwd: cwd.map_or_else(own, |cwd| stdio::Cwd::Declared(cwd.clone())),
            supervisor: config.supervisor.as_deref(),
        };
        Ok((wanted, mask))
    }

    async fn link(&self, endpoint: Endpoint<'_>, ending: &Ending) -> Result<HttpLink, Reason> {
        let config = &self.inner.config;
        let gate = self.inner.gate(endpoint.private);
        let uri = http::endpoint(endpoint.url, &gate)?;
        let headers = Headers::follow(endpoint.headers, &*config.secrets)?;
        let login = match endpoint.oauth {
            None => None,
            Some(oauth) => {
                let secret = self.inner.client_secret(oauth).await?;
                Some(self.inner.login_at(self.name, &uri, &gate, secret))
            }
        };
        let (pool, max_message) = (gate.pool(), config.limits.max_message);
        Ok(HttpLink::new(
            pool,
            uri,
            headers,
            login,
            max_message,
            ending.clone(),
        ))
    }

    fn lines<R, W>(&self, reader: R, writer: W, mask: Mask, ending: &Ending) -> LineTransport<R, W>
    where
        R: tokio::io::AsyncRead + Send + Unpin,
        W: tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        let max_message = self.inner.config.limits.max_message;
        LineTransport::new(reader, writer, max_message, mask, ending.clone())
    }

    /// Greets the server, and waits until nothing of it is left when that fails.
    async fn greet<T, H>(
        &self,
        transport: T,
        carrier: impl Carrier,
        ending: Ending,
        speaker: Speaker<H>,
    ) -> Result<Connection<H>, Failed>
    where
        T: Transport<RoleClient> + 'static,
        H: ClientHandler,
    {
        let life = Life::begin(self.name.clone(), carrier, ending.clone());
        let lifecycle = speaker.era.lifecycle();
        let guarded = Guarded::new(transport, ending.clone());
        let tapped = Tap::new(guarded, self.inlet.clone());
        let serving =
            serve_client_with_lifecycle_and_ct(speaker, tapped, lifecycle, CancellationToken::new());
        let error = match timeout_at(self.deadline, serving).await {
            Ok(Ok(service)) => match service.peer_info() {
                Some(info) => return Ok(Connection::new(service, life, info, ending)),
                None => (FailureCause::Broken, "it says nothing of itself".to_owned()),
            },
            Ok(Err(error)) => match told(&error) {
                Some(reason) => ending.fault().cloned().unwrap_or(reason),
                None => {
                    let failure = life.ended().await;
                    (failure.cause, failure.detail)
                }
            },
            Err(_elapsed) => self.silent(),
        };
        life.kill().await;
        let mut failed = self.failed(error);
        let cause = failed.failure.cause;
        failed.may_be_legacy =
            !ending.has_greeted_of_old() && matches!(cause, FailureCause::Ended | FailureCause::Broken);
        Err(failed)
    }

    async fn before_deadline<T>(&self, future: impl Future<Output = Result<T, Reason>>) -> Result<T, Failed> {
        match timeout_at(self.deadline, future).await {
            Ok(made) => made.map_err(|reason| self.failed(reason)),
            Err(_elapsed) => Err(self.failed(self.silent())),
        }
    }

    fn silent(&self) -> Reason {
        let patience = self.definition.times.start_ms;
        (
            FailureCause::Silent,
            format!("it was not ready within {patience} ms"),
        )
    }

    fn failed(&self, reason: Reason) -> Failed {
        Failed {
            failure: failure(self.name, reason),
            may_be_legacy: false,
        }
    }

    /// Stands before each line of its standard error.
    fn whose(&self) -> String {
        self.owner
            .map_or_else(|| "shared".to_owned(), |owner| owner.to_string())
    }
}

/// Why the server was not initialized, when it was not the connection that failed.
fn told(error: &ClientInitializeError) -> Option<Reason> {
    let broken = |told: &str| Some((FailureCause::Broken, told.to_owned()));
    match error {
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => told(fallback),
        ClientInitializeError::JsonRpcError(error) => Some((
            FailureCause::Broken,
            format!("it refuses to be initialized: {}", error.message),
        )),
        ClientInitializeError::NoCompatibleProtocolVersion { .. } => {
            broken("it speaks no revision of the protocol that is spoken here")
        }
        ClientInitializeError::TransportError { error, .. } => refused(error),
        ClientInitializeError::ConnectionClosed(_) | ClientInitializeError::Cancelled => None,
        _ => broken("it answers the first request otherwise than the protocol says"),
    }
}

/// What a server over HTTP said instead.
fn refused(error: &DynamicTransportError) -> Option<Reason> {
    match error.error.downcast_ref::<StreamableHttpError<HttpFault>>()? {
        StreamableHttpError::Client(fault) => Some((fault.cause(), fault.to_string())),
        StreamableHttpError::TransportChannelClosed => None,
        _ => Some((
            FailureCause::Broken,
            "it answers the first request otherwise than the protocol says".to_owned(),
        )),
    }
}
