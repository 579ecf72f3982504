//! What the tests stand on: a lifecycle API that plays scripts, and a client that speaks plain JSON-RPC.

pub(crate) mod client;
pub(crate) mod fake;
pub(crate) mod files;
pub(crate) mod log;
pub(crate) mod operator;
mod options;
pub(crate) mod script;
pub(crate) mod site;
mod validate;
mod verbs;

use std::sync::Arc;
use std::time::Duration;

use mcp_frontend::{McpOptions, McpServer, TurnKeeper};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::client::Client;
use self::fake::{Fake, Shared};
pub(crate) use self::options::options;

/// A server over a fake, and a client that is connected to it.
pub(crate) struct World {
    pub(crate) fake: Arc<Fake>,
    pub(crate) client: Client,
    pub(crate) shutdown: CancellationToken,
    pub(crate) served: tokio::task::JoinHandle<session_core::error::Result<()>>,
}

impl World {
    /// Connected, and nothing said yet.
    pub(crate) fn silent(options: McpOptions) -> Self {
        let fake = Arc::new(Fake::default());
        Self::over(fake, options)
    }

    pub(crate) fn over(fake: Arc<Fake>, options: McpOptions) -> Self {
        let server = McpServer::new(Arc::new(Shared(fake.clone())), options);
        Self::serving(fake, server)
    }

    /// With somebody who keeps turns.
    pub(crate) fn kept(keeper: Arc<dyn TurnKeeper>) -> Self {
        let fake = Arc::new(Fake::default());
        let server = McpServer::new(Arc::new(Shared(fake.clone())), options());
        Self::serving(fake, server.with_keeper(keeper))
    }

    pub(crate) fn serving(fake: Arc<Fake>, server: McpServer) -> Self {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let shutdown = CancellationToken::new();
        let (reader, writer) = tokio::io::split(theirs);
        let stop = shutdown.clone().cancelled_owned();
        let served = tokio::spawn(server.serve_streams(reader, writer, stop));
        Self {
            fake,
            client: Client::new(ours),
            shutdown,
            served,
        }
    }

    /// Connected and initialized.
    pub(crate) async fn new() -> Self {
        Self::with(options()).await
    }

    pub(crate) async fn with(options: McpOptions) -> Self {
        let mut world = Self::silent(options);
        world.client.initialize().await;
        world
    }

    /// Initialized, with a session and its id.
    pub(crate) async fn with_session() -> (Self, String) {
        Self::new().await.and_session().await
    }

    pub(crate) async fn and_session(mut self) -> (Self, String) {
        let id = self.client.session().await;
        (self, id)
    }

    /// Ends the server and gives back what it did.
    pub(crate) async fn end(self) -> Arc<Fake> {
        drop(self.client);
        self.served.await.unwrap().unwrap();
        self.fake
    }
}

/// Waits for what comes about by itself.
pub(crate) async fn until(what: impl Fn() -> bool) {
    for _ in 0..1000 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it did not come about");
}

/// What each request of the newest revision says about its client, which is all of its handshake.
pub(crate) fn inline() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}
