//! Messages of a server on the stream of the one request that wants them: since 2026-07-28 each request says from which
//! level on.
#![expect(
    deprecated,
    reason = "logging is on its way out of the protocol, and servers use it"
)]

use std::sync::Arc;
use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::LoggingLevel;
use rmcp::service::RequestContext;

use super::audience::Audience;
use super::core::Core;
use super::relay::{Listener, News, Relay, is_wanted};

/// How long a message may be behind the answer before which it was sent.
const BEHIND: Duration = Duration::from_millis(5);

/// See the module.
pub(super) struct RequestLogs {
    server: usize,
    wanted: Option<(Listener, LoggingLevel)>,
}

impl RequestLogs {
    /// Listens from now on, when the request wants messages at all.
    pub(super) fn new(core: &Arc<Core>, context: &RequestContext<RoleServer>, server: usize) -> Self {
        let level = context.meta.log_level();
        Self {
            server,
            wanted: level.map(|level| (Relay::listen(core), level)),
        }
    }

    /// Waits for news. Cancel-safe.
    pub(super) async fn next(&mut self) -> News {
        if let Some((listener, _)) = &mut self.wanted
            && let Some(news) = listener.news().await
        {
            return news;
        }
        std::future::pending().await
    }

    /// Passes on what of it is wanted.
    pub(super) async fn tell(&self, news: News, audience: &Audience) {
        let Some((_, level)) = &self.wanted else { return };
        for (server, message) in news.logs {
            if server == self.server && is_wanted(message.level, Some(*level)) {
                audience.log(message.as_ref().clone()).await;
            }
        }
    }

    /// Passes on what was sent before the answer.
    pub(super) async fn flush(&mut self, audience: &Audience) {
        if self.wanted.is_none() {
            return;
        }
        while let Ok(news) = tokio::time::timeout(BEHIND, self.next()).await {
            self.tell(news, audience).await;
        }
    }
}
