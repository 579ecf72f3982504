//! The host's end of a session's loopback ports, as the core sees it.
//!
//! A gateway implementation (`session-gateway`) answers the doors of sealed sessions and holds every secret; the core
//! only hands it tunnels and asks for accounts. It is a trait so that neither knows the other.

use async_trait::async_trait;
use futures::future::BoxFuture;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::id::SessionId;
use crate::runtime::BoxedByteStream;

/// The loopback port of the model proxy inside every session.
pub const MODEL_PORT: u16 = 9101;
/// The door of the model proxy.
pub const MODEL_DOOR: &str = "model";

/// One loopback port inside a session and the name under which its connections arrive here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayDoor {
    /// The door's name, for example [`MODEL_DOOR`].
    pub name: String,
    /// The port on 127.0.0.1 inside.
    pub port: u16,
}

/// What a session may do at the gateway.
#[derive(Debug, Clone)]
pub struct SessionGrant {
    /// The token that the session presents. Worth nothing at any other session's doors.
    pub token: SecretString,
    /// The caller's own provider credential for this session, instead of the gateway's.
    pub credential: Option<SecretString>,
}

/// What a session used so far, as counted at the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ModelUsage {
    /// Requests that went out to the provider.
    pub requests: u64,
    /// Input tokens, cached ones apart.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Input tokens read from the provider's cache.
    pub cache_read_tokens: u64,
    /// Input tokens written to the provider's cache.
    pub cache_creation_tokens: u64,
}

/// Answers the doors of sessions.
#[async_trait]
pub trait Gateway: Send + Sync + 'static {
    /// Starts to serve a session and says which doors it has. Replaces an earlier grant of the same session.
    async fn admit(&self, session: &SessionId, grant: SessionGrant) -> Result<Vec<GatewayDoor>>;

    /// Serves one connection that came in at `door` until either side ends it. Never fails towards the core: what goes
    /// wrong is told to the session in the protocol of the door. Dropping the future cuts the connection.
    fn serve(&self, session: &SessionId, door: &str, tunnel: BoxedByteStream) -> BoxFuture<'static, ()>;

    /// What the session used since it was admitted here.
    fn usage(&self, session: &SessionId) -> ModelUsage;

    /// Forgets the session: its token is worth nothing from now on and open connections end.
    async fn dismiss(&self, session: &SessionId);
}
