//! What an endpoint needs of a server: the seam towards supervision, and what tests put in its place.

use std::sync::Arc;

use async_trait::async_trait;
use mcp_catalog::ServerDefinition;
use rmcp::model::{ClientRequest, ServerResult};
use session_core::mcp::ServerName;
use tokio::sync::broadcast;

use crate::mcp::call::{CallError, Caller};
use crate::mcp::servers::{Change, Offer, Server};

/// One server, as one session sees it.
#[async_trait]
pub(crate) trait Upstream: Send + Sync + 'static {
    /// Its name.
    fn name(&self) -> &ServerName;

    /// What the operator declared of it.
    fn definition(&self) -> Arc<ServerDefinition>;

    /// Whether the session brought it.
    fn is_own(&self) -> bool;

    /// What it offers, as far as that is known without asking it.
    fn offer_if_known(&self) -> Option<Arc<Offer>>;

    /// What it offers; asked for when it is not known.
    ///
    /// # Errors
    /// Why it cannot be asked.
    async fn offer(&self) -> Result<Arc<Offer>, CallError>;

    /// What changes about it from now on.
    fn changes(&self) -> broadcast::Receiver<Change>;

    /// Sends it one request and waits for the answer, as long as the definition allows.
    ///
    /// # Errors
    /// Why there is no answer.
    async fn request(
        &self,
        request: ClientRequest,
        caller: Arc<dyn Caller>,
    ) -> Result<ServerResult, CallError>;
}

#[async_trait]
impl Upstream for Server {
    fn name(&self) -> &ServerName {
        Self::name(self)
    }

    fn definition(&self) -> Arc<ServerDefinition> {
        Self::definition(self)
    }

    fn is_own(&self) -> bool {
        Self::is_own(self)
    }

    fn offer_if_known(&self) -> Option<Arc<Offer>> {
        Self::offer_if_known(self)
    }

    async fn offer(&self) -> Result<Arc<Offer>, CallError> {
        Self::offer(self).await
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        Self::changes(self)
    }

    async fn request(
        &self,
        request: ClientRequest,
        caller: Arc<dyn Caller>,
    ) -> Result<ServerResult, CallError> {
        Self::request(self, request, caller).await
    }
}
