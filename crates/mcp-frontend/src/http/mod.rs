//! Streamable HTTP: who may talk to the server, and how much of it a client may hold.
//!
//! The protocol itself is the library's; this stands in front of it. Whoever comes is asked for the right Host and
//! Origin first (a browser on a foreign page has neither), then for the token. Bodies are read whole within a bound and
//! a time, so that arguments can be taken out before the library sees them.
//!
//! [`McpService`] is the endpoint alone, for a server that has a gate of its own: the HTTP front end. The listener with
//! its gate is for those who want the endpoint and nothing else.

mod body;
mod gate;
mod service;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use secrecy::{ExposeSecret, SecretString};
use session_core::error::{Error, ErrorKind, Result};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use self::gate::Gate;
use self::service::Endpoint;
pub use self::service::{McpService, ServiceOptions};
use crate::core::Core;

const OPERATION: &str = "serve MCP over HTTP";
/// How long the header of a request may take to arrive, and a connection may say nothing.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_HEADERS: usize = 64;
/// Header lines and what else is buffered of a request, in bytes.
const MAX_BUFFER: usize = 64 << 10;
/// How long connections may take to come to their end.
const DRAIN: Duration = Duration::from_secs(3);

/// How the HTTP endpoint is served.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// What clients present as `Authorization: Bearer …`.
    pub token: SecretString,
    /// Names under which clients may address the server, with or without a port.
    pub allowed_hosts: Vec<String>,
    /// Origins of web pages that may talk to it, for example `https://app.example.com:443`; none by default.
    pub allowed_origins: Vec<String>,
    /// Listen beyond loopback although the connection is not encrypted. Only behind a proxy that encrypts.
    pub allow_remote: bool,
    /// Connections at once; more have to wait.
    pub max_connections: usize,
    /// Clients with a session of the protocol at once.
    pub max_sessions: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// After how long without a word a client's session of the protocol ends.
    pub idle_timeout: Duration,
}

impl HttpOptions {
    /// Loopback names only, no web pages.
    pub fn new(token: SecretString) -> Self {
        Self {
            token,
            allowed_hosts: ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned).to_vec(),
            allowed_origins: Vec::new(),
            allow_remote: false,
            max_connections: 256,
            max_sessions: 256,
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(3600),
        }
    }
}

fn judge(listener: &TcpListener, options: &HttpOptions) -> Result<SocketAddr> {
    let address = listener.local_addr().map_err(|source| {
        Error::new(ErrorKind::HostIo, OPERATION, "the listener has no address").with_source(source)
    })?;
    if options.token.expose_secret().len() < 16 {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            OPERATION,
            "the token is shorter than 16 characters",
        )
        .with_hint("use 32 random bytes, for example from `openssl rand -hex 32`"));
    }
    if options.allowed_hosts.is_empty() {
        return Err(
            Error::new(ErrorKind::InvalidArgument, OPERATION, "no host name is allowed")
                .with_hint("name at least the one under which clients address the server"),
        );
    }
    if !address.ip().is_loopback() && !options.allow_remote {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            OPERATION,
            "the address is not loopback, and the connection is not encrypted",
        )
        .with_context("address", address)
        .with_hint("listen on 127.0.0.1, or say that a proxy in front of it encrypts"));
    }
    Ok(address)
}

/// Serves until `shutdown` completes.
pub(crate) async fn serve(
    core: &Arc<Core>,
    listener: TcpListener,
    options: HttpOptions,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let address = judge(&listener, &options)?;
    tracing::info!(%address, "serving MCP over HTTP at /mcp");
    let connections = Arc::new(Semaphore::new(options.max_connections));
    let gate = Gate::new(&options);
    let service = McpService::new(
        core,
        ServiceOptions {
            max_sessions: options.max_sessions,
            body_timeout: options.body_timeout,
            idle_timeout: options.idle_timeout,
        },
    );
    let endpoint = Endpoint::new(gate, service.clone());
    let graceful = GracefulShutdown::new();
    tokio::pin!(shutdown);
    loop {
        // Accepting is cancel-safe; a permit that is dropped is given back.
        let accepted = tokio::select! {
            accepted = accept(&listener, &connections) => accepted,
            () = &mut shutdown => break,
        };
        let (stream, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: those that are served will end.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let connection = builder().serve_connection(TokioIo::new(stream), endpoint.clone());
        let connection = graceful.watch(connection);
        core.tasks.spawn(async move {
            let _permit = permit;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke");
            }
        });
    }
    drop(listener);
    // Calls that wait end first, so that their connections can.
    service.stop();
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::debug!("some connections did not come to their end in time");
    }
    Ok(())
}

fn builder() -> hyper::server::conn::http1::Builder {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_BUFFER)
        .half_close(false);
    builder
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> std::io::Result<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = connections
        .clone()
        .acquire_owned()
        .await
        .map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, permit))
}
