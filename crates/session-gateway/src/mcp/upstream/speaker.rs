//! The revision of the protocol that a connection begins with.

use std::sync::Arc;

use rmcp::model::{
    ClientConfig, ClientResult, ErrorData, ProtocolVersion, ServerNotification, ServerRequest,
};
use rmcp::service::{ClientLifecycleMode, NotificationContext, RequestContext, Service};
use rmcp::{ClientHandler, RoleClient};

/// How a server is greeted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Era {
    /// `server/discover`; where that is not known or not answered, `initialize` behind it.
    Modern,
    /// `initialize` alone: some servers end when anything else comes first.
    Legacy,
}

impl Era {
    pub(super) fn lifecycle(self) -> ClientLifecycleMode {
        match self {
            Self::Modern => ClientLifecycleMode::Auto {
                preferred_versions: vec![ProtocolVersion::LATEST],
                legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
            },
            Self::Legacy => ClientLifecycleMode::Initialize,
        }
    }
}

/// A handler that is tried in one era and then in another: the library takes one for good, and the handler's own word
/// for the revision.
pub(super) struct Speaker<H> {
    pub(super) handler: Arc<H>,
    pub(super) era: Era,
}

impl<H: ClientHandler> Service<RoleClient> for Speaker<H> {
    async fn handle_request(
        &self,
        request: ServerRequest,
        context: RequestContext<RoleClient>,
    ) -> Result<ClientResult, ErrorData> {
        self.handler.handle_request(request, context).await
    }

    async fn handle_notification(
        &self,
        notification: ServerNotification,
        context: NotificationContext<RoleClient>,
    ) -> Result<(), ErrorData> {
        self.handler.handle_notification(notification, context).await
    }

    fn get_info(&self) -> ClientConfig {
        let mut info = Service::get_info(&*self.handler);
        if self.era == Era::Legacy && !info.protocol_version.has_initialize() {
            info.protocol_version = ProtocolVersion::LATEST_WITH_INITIALIZE;
        }
        info
    }
}
