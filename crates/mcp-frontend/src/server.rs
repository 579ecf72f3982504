//! The server as a program uses it.

use std::future::Future;
use std::sync::Arc;

use mcp_catalog::Catalog;
use rmcp::service::{ServerInitializeError, serve_server_with_ct};
use session_core::api::SessionApi;
use session_core::error::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::configuration::{Configuration, Deployer};
use crate::core::Core;
use crate::handler::Handler;
use crate::http::{self, HttpOptions, McpService, ServiceOptions};
use crate::keeper::{Keeper, TurnKeeper};
use crate::options::McpOptions;
use crate::wire::LineTransport;

const OPERATION: &str = "serve MCP";

/// The MCP server of one lifecycle API. One server is served once, by one of its `serve_…` methods, which ends
/// it, or by [`McpServer::into_service`].
pub struct McpServer {
    api: Arc<dyn SessionApi>,
    options: McpOptions,
    keeper: Keeper,
    configuration: Option<Configuration>,
}

impl std::fmt::Debug for McpServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("McpServer")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl McpServer {
    /// A server over `api`. Nothing happens before it is served.
    pub fn new(api: Arc<dyn SessionApi>, options: McpOptions) -> Self {
        Self {
            api,
            options,
            keeper: None,
            configuration: None,
        }
    }

    /// With somebody who lets prompts go on that nobody waits for when this process ends. A server over stdio ends with
    /// its client and needs one.
    #[must_use]
    pub fn with_keeper(mut self, keeper: Arc<dyn TurnKeeper>) -> Self {
        self.keeper = Some(keeper);
        self
    }

    /// With the operator's MCP servers, so that there are tools about their configuration. Without a deployer, the one
    /// that writes into the files of clients is not among them.
    #[must_use]
    pub fn with_catalog(mut self, catalog: Arc<Catalog>, deployer: Option<Arc<dyn Deployer>>) -> Self {
        self.configuration = Some(Configuration { catalog, deployer });
        self
    }

    fn start(self) -> Arc<Core> {
        let core = Core::new(self.api, self.options, self.keeper, self.configuration);
        core.start();
        core
    }

    /// Serves one client on standard input and output, until it closes its end or `shutdown` completes. Standard output
    /// carries the protocol alone. Returns after everything that must be brought to its end has been, or the grace of
    /// [`McpOptions::shutdown_grace`] is over.
    ///
    /// # Errors
    /// `InvalidArgument` when the client speaks another protocol.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O.
    pub async fn serve_stdio(self, shutdown: impl Future<Output = ()>) -> Result<()> {
        let (reader, writer) = rmcp::transport::stdio_pipes();
        self.serve_streams(reader, writer, shutdown).await
    }

    /// [`McpServer::serve_stdio`] on any pair of streams.
    ///
    /// # Errors
    /// As [`McpServer::serve_stdio`].
    pub async fn serve_streams<R, W>(
        self,
        reader: R,
        writer: W,
        shutdown: impl Future<Output = ()>,
    ) -> Result<()>
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let core = self.start();
        let stop = CancellationToken::new();
        let serving = serve_one(&core, reader, writer, stop.clone());
        tokio::pin!(serving, shutdown);
        // Serving goes on to its own end after the shutdown was asked for; it is kept outside.
        let served = tokio::select! {
            served = &mut serving => served,
            () = &mut shutdown => {
                stop.cancel();
                serving.await
            }
        };
        core.shutdown().await;
        served
    }

    /// The protocol over HTTP as a service, for a server that knows who may come in. It is ended by
    /// [`McpService::close`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn into_service(self, options: ServiceOptions) -> McpService {
        McpService::new(&self.start(), options)
    }

    /// Serves clients over streamable HTTP at `/mcp`, until `shutdown` completes.
    ///
    /// # Errors
    /// `InvalidArgument` for a listener beyond loopback that was not asked for, or an empty token; `HostIo` when the
    /// listener fails.
    pub async fn serve_http(
        self,
        listener: TcpListener,
        options: HttpOptions,
        shutdown: impl Future<Output = ()>,
    ) -> Result<()> {
        let core = self.start();
        let served = http::serve(&core, listener, options, shutdown).await;
        core.shutdown().await;
        served
    }
}

async fn serve_one<R, W>(core: &Arc<Core>, reader: R, writer: W, stop: CancellationToken) -> Result<()>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let transport = LineTransport::new(reader, writer, core.options.max_message, core.unheard.clone());
    let running = match serve_server_with_ct(Handler(core.clone()), transport, stop).await {
        Ok(running) => running,
        // A client that looks and leaves, and a shutdown before anybody came, are no failures.
        Err(ServerInitializeError::ConnectionClosed(_) | ServerInitializeError::Cancelled) => return Ok(()),
        Err(error) => {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                OPERATION,
                "the client did not begin as MCP wants it",
            )
            .with_hint("see whether the program at the other end is an MCP client")
            .with_source(error));
        }
    };
    running
        .waiting()
        .await
        .map(drop)
        .map_err(|died| Error::new(ErrorKind::Internal, OPERATION, "the service loop died").with_source(died))
}
