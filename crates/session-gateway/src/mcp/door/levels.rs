//! From which level on servers send messages.
//!
//! A client sets it once, or, since 2026-07-28, with each request. A server is told when that is news for it.
#![expect(
    deprecated,
    reason = "logging is on its way out of the protocol, and servers use it"
)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rmcp::model::{ClientRequest, LoggingLevel, Request, SetLevelRequestParams};

use super::core::Core;
use super::subscriptions::quietly;

/// What each server was told.
#[derive(Debug, Default)]
pub(super) struct Levels(Mutex<HashMap<usize, LoggingLevel>>);

impl Levels {
    /// Whether a server has to be told. It counts as told then.
    fn is_news(&self, server: usize, level: LoggingLevel) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(server, level) != Some(level)
    }
}

/// Tells all servers that send messages. Nobody waits for it.
pub(super) fn set(core: &Arc<Core>, level: LoggingLevel) {
    for server in 0..core.servers.len() {
        let core = core.clone();
        let tasks = core.tasks.clone();
        tasks.spawn(async move { tell(&core, server, level).await });
    }
}

/// Tells one server, before a request that wants its messages.
pub(super) async fn tell(core: &Arc<Core>, server: usize, level: LoggingLevel) {
    let catalog = core.catalog();
    let logs = catalog
        .capabilities(server)
        .is_some_and(|can| can.logging.is_some());
    if !logs || !core.levels.is_news(server, level) {
        return;
    }
    let request = ClientRequest::SetLevelRequest(Request::new(SetLevelRequestParams::new(level)));
    if let Err(error) = quietly(core, server, request, "logging/setLevel", "").await {
        tracing::debug!(
            code = error.code.0,
            "a server cannot be told from which level on to log"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_told_once() {
        let levels = Levels::default();
        assert!(levels.is_news(3, LoggingLevel::Info));
        assert!(!levels.is_news(3, LoggingLevel::Info));
        assert!(levels.is_news(3, LoggingLevel::Debug));
        assert!(levels.is_news(4, LoggingLevel::Debug));
    }
}
