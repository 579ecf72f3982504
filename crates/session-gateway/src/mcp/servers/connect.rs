//! The seam between supervision and what it supervises: something that makes connections.
//!
//! The connector of `upstream` is the one that is used; tests put servers behind it that live in memory.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_catalog::ServerDefinition;
use rmcp::RoleClient;
use rmcp::model::ServerPeerInfo;
use rmcp::service::{Peer, ServiceError};
use session_core::id::SessionId;
use session_core::mcp::ServerName;

use super::client::Client;
use crate::mcp::call::Failure;
use crate::mcp::upstream::{Connection, Connector, never_left};

/// Makes connections to servers.
#[async_trait]
pub(crate) trait Connect: Send + Sync + 'static {
    /// Starts or dials a server for a session, or for all when `owner` is `None`, and initializes it within the time that
    /// its definition gives. What it says passes the client's tap first.
    ///
    /// # Errors
    /// Why there is no connection; nothing of the server is left then.
    async fn connect(
        &self,
        name: &ServerName,
        definition: &ServerDefinition,
        owner: Option<SessionId>,
        client: Client,
    ) -> Result<Box<dyn Link>, Failure>;

    /// Whether a request that failed so never reached the server.
    fn never_left(&self, error: &ServiceError) -> bool;
}

/// A connection. Dropping it ends the server at once.
#[async_trait]
pub(crate) trait Link: Send + Sync + 'static {
    /// For requests to the server.
    fn peer(&self) -> Peer<RoleClient>;

    /// What the server said of itself.
    fn info(&self) -> Arc<ServerPeerInfo>;

    /// Resolves when the connection has ended by itself, with why.
    fn ended(&self) -> BoxFuture<'static, Failure>;

    /// Ends it in order and returns when nothing of it is left.
    async fn close(self: Box<Self>, grace: Duration);
}

#[async_trait]
impl Connect for Connector {
    async fn connect(
        &self,
        name: &ServerName,
        definition: &ServerDefinition,
        owner: Option<SessionId>,
        client: Client,
    ) -> Result<Box<dyn Link>, Failure> {
        let inlet = client.inlet();
        let connection = self
            .connect_tapped(name, definition, owner, client, Some(inlet))
            .await?;
        Ok(Box::new(connection))
    }

    fn never_left(&self, error: &ServiceError) -> bool {
        never_left(error)
    }
}

#[async_trait]
impl Link for Connection<Client> {
    fn peer(&self) -> Peer<RoleClient> {
        Self::peer(self).clone()
    }

    fn info(&self) -> Arc<ServerPeerInfo> {
        Arc::new(Self::info(self).clone())
    }

    fn ended(&self) -> BoxFuture<'static, Failure> {
        Self::ended(self).boxed()
    }

    async fn close(self: Box<Self>, grace: Duration) {
        Self::close(*self, grace).await;
    }
}
