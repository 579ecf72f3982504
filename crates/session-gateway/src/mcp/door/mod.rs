//! The one MCP endpoint that a session sees, over all the servers that it may use.
//!
//! ```text
//!  agent ── http ──┐                        ┌─ calls, search ──┐
//!                  ├─▶ rmcp ─▶ handler.rs ──┼─ prompts         ├─▶ drive, flight ─▶ dyn Upstream
//!  people ─ wire ──┘              ▲         └─ resources ──────┘        │ asks, held: what servers ask of the agent
//!                                 └── seat, listen ◀── relay ◀──────────┘ changes
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | `core` | the servers of the session, what is known of them, and what is under way |
//! | `catalog`, `names`, `template` | all offers as one: names, filters, whose a resource is |
//! | `handler` | the protocol's requests |
//! | `calls`, `prompts`, `resources`, `subscriptions`, `levels` | one file a kind of request |
//! | `drive`, `flight`, `audience`, `logs` | one request under way, and who waits for it |
//! | `asks`, `held` | questions of servers to the agent, in both directions of the protocol's revisions |
//! | `relay`, `seat`, `listen` | what changes, and who is told |
//! | `search` | tools that are found instead of listed |
//! | `outcome` | what an agent is told when a call has no answer |
//! | `http`, `wire` | how it is spoken to: streamable HTTP, and lines |
//!
//! The session is hostile and so are servers. What the session sends is bounded and weighed before it is parsed; what
//! servers send was cleaned before it comes here; and nothing in a request of one server waits for another.

mod asks;
mod audience;
mod calls;
mod catalog;
mod core;
mod drive;
mod flight;
mod handler;
mod held;
mod http;
mod instructions;
mod levels;
mod listen;
mod logs;
mod names;
mod outcome;
mod prompts;
mod relay;
mod resources;
mod search;
mod seat;
mod subscriptions;
mod template;
#[cfg(test)]
mod tests;
mod text;
mod upstream;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rmcp::service::{ServerInitializeError, serve_server_with_ct};
use secrecy::SecretString;
use session_core::runtime::BoxedByteStream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::core::Core;
use self::handler::Handler;
use self::http::Http;
use self::wire::LineTransport;
use super::config::McpLimits;

pub(crate) use self::upstream::Upstream;

/// What a session sees of MCP.
pub(crate) struct View {
    /// The servers that it may use.
    pub(crate) servers: Vec<Arc<dyn Upstream>>,
    /// Only these tools, as `server__tool` or `server__*`; all when empty.
    pub(crate) tools: Vec<String>,
    /// Whether tools are always found by searching.
    pub(crate) search: bool,
    /// With more tools than this they are found by searching, too.
    pub(crate) search_above: usize,
    /// This program's, as the endpoint's own.
    pub(crate) version: String,
}

/// Bounds of one endpoint.
#[derive(Debug, Clone)]
pub(crate) struct DoorOptions {
    /// Calls that are under way, those that wait for the agent included.
    pub(crate) max_calls: usize,
    /// The longest message, in bytes.
    pub(crate) max_message: usize,
    /// What all messages that are being read or handled may take together, in bytes.
    pub(crate) max_bodies: usize,
    /// Connections.
    pub(crate) max_connections: usize,
    /// Clients that have a session of the protocol.
    pub(crate) max_clients: usize,
    /// How long a body may take to arrive.
    pub(crate) body_timeout: Duration,
    /// How long a list waits for servers that were not asked before.
    pub(crate) list_patience: Duration,
    /// How long a request that wants the agent's input waits for it.
    pub(crate) hold: Duration,
    /// After how long without a word an agent that wants progress is told that its request still runs.
    pub(crate) heartbeat: Duration,
    /// After how long the stream of an answer is begun without one.
    pub(crate) open_after: Duration,
    /// Within how long a client whose connection broke has to come for the rest of its answer.
    pub(crate) resume_within: Duration,
}

impl DoorOptions {
    /// As the gateway's limits have it, with the usual times.
    pub(crate) fn new(limits: &McpLimits) -> Self {
        Self {
            max_calls: limits.max_calls,
            max_message: limits.max_message,
            max_bodies: limits.max_message.saturating_mul(4),
            max_connections: 128,
            max_clients: 16,
            body_timeout: Duration::from_secs(30),
            list_patience: Duration::from_secs(8),
            hold: Duration::from_secs(600),
            heartbeat: Duration::from_secs(20),
            open_after: Duration::from_secs(2),
            resume_within: Duration::from_secs(15),
        }
    }
}

/// See the module. Dropping it takes back whatever is under way; [`Endpoint::close`] waits for that, too.
pub(crate) struct Endpoint {
    core: Arc<Core>,
    _stop: DropGuard,
}

impl Endpoint {
    /// An endpoint over these servers. Starts none of them.
    pub(crate) fn new(view: View, options: DoorOptions) -> Self {
        let core = Core::new(view, options);
        Self {
            _stop: core.stop.clone().drop_guard(),
            core,
        }
    }

    /// Speaks to one client on a pair of streams, until it goes or `shutdown` is cancelled. For people's own clients.
    ///
    /// # Errors
    /// When the other end does not begin as MCP wants it.
    pub(crate) async fn serve_lines<R, W>(
        &self,
        reader: R,
        writer: W,
        shutdown: &CancellationToken,
    ) -> Result<(), ServerInitializeError>
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let stop = self.core.stop.child_token();
        let _ended = stop.clone().drop_guard();
        let unheard = CancellationToken::new();
        let transport = LineTransport::new(reader, writer, self.core.options.max_message, unheard.clone());
        let serving = async {
            let handler = Handler::new(self.core.clone(), unheard);
            let running = match serve_server_with_ct(handler, transport, stop.clone()).await {
                Ok(running) => running,
                // A client that looks and leaves, and a shutdown before anybody came, are no failures.
                Err(ServerInitializeError::ConnectionClosed(_) | ServerInitializeError::Cancelled) => {
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            if let Err(died) = running.waiting().await {
                tracing::error!(%died, "the service loop died");
            }
            Ok(())
        };
        tokio::pin!(serving);
        // The service is polled where it is until its end; the other arms only say when that has to come.
        tokio::select! {
            served = serving.as_mut() => return served,
            () = shutdown.cancelled() => {}
        }
        stop.cancel();
        serving.await
    }

    /// Takes back whatever is under way and waits, for a few seconds at most, until it has ended.
    pub(crate) async fn close(&self) {
        self.core.close().await;
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("servers", &self.core.servers.len())
            .finish_non_exhaustive()
    }
}

/// An endpoint on a session's loopback port.
pub(crate) struct Door {
    endpoint: Endpoint,
    http: Http,
}

impl Door {
    /// The endpoint, for whoever has the token.
    pub(crate) fn new(endpoint: Endpoint, token: SecretString) -> Self {
        Self {
            http: Http::new(endpoint.core.clone(), token),
            endpoint,
        }
    }

    /// Serves one connection until either side ends it. Dropping the future cuts the connection.
    pub(crate) async fn serve(&self, tunnel: BoxedByteStream) {
        self.http.serve(tunnel).await;
    }

    /// As [`Endpoint::close`]. Connections end, too.
    pub(crate) async fn close(&self) {
        self.endpoint.close().await;
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.endpoint.fmt(f)
    }
}
