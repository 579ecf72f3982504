//! What the tests share: an endpoint on a port of loopback, over servers that do what a test says.

mod agent;
mod fake;
mod raw;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(in crate::mcp::door) use self::agent::{Agent, Era, helpful, text_of};
pub(in crate::mcp::door) use self::fake::{Fake, able, definition, text, tool};
pub(in crate::mcp::door) use self::raw::{INITIALIZE, Raw, event_of, modern_meta};
use super::super::{Door, DoorOptions, Endpoint, Upstream, View};
use crate::mcp::config::McpLimits;

/// The session's.
pub(in crate::mcp::door) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// See the module.
pub(in crate::mcp::door) struct Site {
    pub(in crate::mcp::door) address: SocketAddr,
    door: Arc<Door>,
    _serving: JoinSet<()>,
}

pub(in crate::mcp::door) fn view(servers: &[Arc<Fake>]) -> View {
    View {
        servers: servers
            .iter()
            .map(|server| server.clone() as Arc<dyn Upstream>)
            .collect(),
        tools: Vec::new(),
        search: false,
        search_above: 100_000,
        version: "1".to_owned(),
    }
}

pub(in crate::mcp::door) fn options() -> DoorOptions {
    DoorOptions::new(&McpLimits::default())
}

impl Site {
    pub(in crate::mcp::door) async fn new(servers: &[Arc<Fake>]) -> Self {
        Self::with(view(servers), options()).await
    }

    pub(in crate::mcp::door) async fn with(view: View, options: DoorOptions) -> Self {
        let door = Arc::new(Door::new(Endpoint::new(view, options), TOKEN.into()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        let of_listener = door.clone();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let door = of_listener.clone();
                connections.spawn(async move { door.serve(Box::new(stream)).await });
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            address,
            door,
            _serving: serving,
        }
    }

    /// The endpoint without HTTP.
    pub(in crate::mcp::door) fn lines(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let door = self.door.clone();
        tokio::spawn(async move {
            let (reader, writer) = tokio::io::split(ours);
            let shutdown = CancellationToken::new();
            door.endpoint.serve_lines(reader, writer, &shutdown).await
        });
        theirs
    }

    /// Serves one connection; dropping the future cuts it.
    pub(in crate::mcp::door) async fn serve(&self, stream: DuplexStream) {
        self.door.serve(Box::new(stream)).await;
    }

    /// Sessions of the protocol that there are.
    pub(in crate::mcp::door) async fn sessions(&self) -> usize {
        self.door.http.sessions().await
    }

    pub(in crate::mcp::door) async fn close(&self) {
        self.door.close().await;
    }
}
