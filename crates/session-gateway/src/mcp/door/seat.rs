//! One client's place at the endpoint, for revisions in which a connection remembers something: what it subscribed to, and
//! from which level on it wants to hear messages.
#![expect(
    deprecated,
    reason = "logging is on its way out of the protocol, and servers use it"
)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rmcp::RoleServer;
use rmcp::model::{LoggingLevel, ResourceUpdatedNotificationParam};
use rmcp::service::{Peer, ServiceError};
use tokio_util::sync::CancellationToken;

use super::core::Core;
use super::relay::{Listener, News, Relay, is_wanted};
use super::subscriptions;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Seat {
    memory: Mutex<Memory>,
    told: AtomicBool,
    /// Cancelled when the client is gone.
    pub(super) over: CancellationToken,
    /// Cancelled when the client sends nothing more, although it may read on.
    pub(super) unheard: CancellationToken,
}

#[derive(Debug, Default)]
struct Memory {
    level: Option<LoggingLevel>,
    /// The server of each resource.
    subscribed: HashMap<String, usize>,
}

impl Seat {
    /// A place for a client that has nothing yet.
    pub(super) fn new(unheard: CancellationToken) -> Self {
        Self {
            unheard,
            ..Self::default()
        }
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_level(&self, level: LoggingLevel) {
        self.memory().level = Some(level);
    }

    /// Whether the resource was not subscribed to before.
    pub(super) fn subscribed(&self, uri: &str, server: usize) -> bool {
        self.memory().subscribed.insert(uri.to_owned(), server).is_none()
    }

    /// How many resources are subscribed to.
    pub(super) fn subscriptions(&self) -> usize {
        self.memory().subscribed.len()
    }

    pub(super) fn is_subscribed(&self, uri: &str) -> bool {
        self.memory().subscribed.contains_key(uri)
    }

    /// The server of a resource that was subscribed to.
    pub(super) fn unsubscribed(&self, uri: &str) -> Option<usize> {
        self.memory().subscribed.remove(uri)
    }
}

/// Tells a client what changes, from now until it is gone.
pub(super) fn tell(core: &Arc<Core>, seat: &Arc<Seat>, peer: Peer<RoleServer>) {
    if !seat.told.swap(true, Ordering::AcqRel) {
        let listener = Relay::listen(core);
        let (core, seat) = (core.clone(), seat.clone());
        core.tasks.clone().spawn(run(core, seat, peer, listener));
    }
}

async fn run(core: Arc<Core>, seat: Arc<Seat>, peer: Peer<RoleServer>, mut listener: Listener) {
    loop {
        // All arms only wait.
        let news = tokio::select! {
            news = listener.news() => news,
            () = seat.over.cancelled() => None,
            () = core.stop.cancelled() => return,
        };
        let Some(news) = news else { break };
        // A client that does not read holds up nothing but its own news.
        let told = tokio::select! {
            told = pass_on(&seat, &peer, news) => told,
            () = seat.over.cancelled() => break,
            () = core.stop.cancelled() => return,
        };
        if told.is_err() {
            break;
        }
    }
    let subscribed = std::mem::take(&mut seat.memory().subscribed);
    for (uri, server) in subscribed {
        subscriptions::unsubscribe(&core, server, &uri).await;
    }
}

async fn pass_on(seat: &Seat, peer: &Peer<RoleServer>, news: News) -> Result<(), ServiceError> {
    if news.tools {
        peer.notify_tool_list_changed().await?;
    }
    if news.prompts {
        peer.notify_prompt_list_changed().await?;
    }
    if news.resources {
        peer.notify_resource_list_changed().await?;
    }
    for (server, uri) in news.updated {
        let wanted = seat.memory().subscribed.get(uri.as_ref()) == Some(&server);
        if wanted {
            peer.notify_resource_updated(ResourceUpdatedNotificationParam::new(uri.to_string()))
                .await?;
        }
    }
    let level = seat.memory().level;
    for (_, message) in news.logs {
        if is_wanted(message.level, level) {
            peer.notify_logging_message(message.as_ref().clone()).await?;
        }
    }
    Ok(())
}
