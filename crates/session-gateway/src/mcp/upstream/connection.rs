//! A server that is initialized.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rmcp::model::ServerPeerInfo;
use rmcp::service::{Peer, RunningService, ServiceError};
use rmcp::transport::streamable_http_client::StreamableHttpError;
use rmcp::{ClientHandler, RoleClient};

use super::ending::Ending;
use super::http::HttpFault;
use super::life::Life;
use super::speaker::Speaker;
use crate::mcp::call::Failure;
use crate::mcp::wire::SendFault;

/// See the module. Dropping it ends the server at once; [`Connection::close`] does it in order.
pub struct Connection<H: ClientHandler> {
    // In this order they are dropped: first nothing more is said, then what said it is ended.
    service: RunningService<RoleClient, Speaker<H>>,
    life: Life,
    info: Arc<ServerPeerInfo>,
    ending: Ending,
}

impl<H: ClientHandler> Connection<H> {
    pub(super) fn new(
        service: RunningService<RoleClient, Speaker<H>>,
        life: Life,
        info: Arc<ServerPeerInfo>,
        ending: Ending,
    ) -> Self {
        Self {
            service,
            life,
            info,
            ending,
        }
    }

    /// For requests and notifications to the server. Whoever waits for an answer should wait for [`Self::ended`], too: the
    /// library lets go of open requests a few seconds later when a handler is still at work.
    pub fn peer(&self) -> &Peer<RoleClient> {
        self.service.peer()
    }

    /// The handler that it was connected with.
    pub fn handler(&self) -> &H {
        &self.service.service().handler
    }

    /// What the server said of itself, with the negotiated revision of the protocol. An attacker's text.
    pub fn info(&self) -> &ServerPeerInfo {
        &self.info
    }

    /// Waits until the connection has ended and says why. Can be asked again and again, and outlives the connection.
    pub fn ended(&self) -> impl Future<Output = Failure> + Send + 'static {
        self.life.ended()
    }

    /// Ends it in order: the input is closed; after `grace` SIGTERM, after `grace` SIGKILL. Returns when no process of the
    /// server is left. Dropping the future ends it at once.
    pub async fn close(self, grace: Duration) {
        let Self {
            mut service, life, ..
        } = self;
        tokio::join!(
            // First, so that what the other does is known to be wanted.
            biased;
            life.close(grace),
            async {
                // What does not let go is ended all the same.
                let _ = service.close_with_timeout(grace).await;
            },
        );
    }

    /// Whether the server knew nothing of the handshake of today, for all that was seen.
    pub(super) fn is_of_old(&self) -> bool {
        self.ending.is_of_old()
    }
}

impl<H: ClientHandler> fmt::Debug for Connection<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// Whether a request that failed so never reached the server, or was turned away there before anything ran: it may be sent
/// again, whatever it asks for. When in doubt it is not so.
pub fn never_left(error: &ServiceError) -> bool {
    let ServiceError::TransportSend(error) = error else {
        return false;
    };
    if let Some(fault) = error.error.downcast_ref::<SendFault>() {
        return fault.never_left;
    }
    matches!(
        error.error.downcast_ref::<StreamableHttpError<HttpFault>>(),
        Some(StreamableHttpError::Client(fault)) if fault.never_left
    )
}
