//! Telling clients that sessions came or went.
//!
//! What this server does itself is told at once. Other programs work on the same sessions, so while somebody listens
//! the list is looked at now and then.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rmcp::RoleServer;
use rmcp::service::{Peer, SubscriptionContext};
use session_core::id::SessionId;
use session_core::session::SessionFilter;
use tokio::sync::watch;

use crate::core::Core;

/// How often it is looked whether a listener is still there.
const LOOK: Duration = Duration::from_secs(30);

/// A counter of changes.
#[derive(Debug, Clone)]
pub(crate) struct Changes(watch::Sender<u64>);

impl Changes {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// The list changed, or may have.
    pub(crate) fn nudge(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn listen(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }

    fn is_heard(&self) -> bool {
        self.0.receiver_count() > 0
    }
}

/// Looks at the list until the server ends.
pub(crate) async fn watch(core: Arc<Core>) {
    let mut known: Option<BTreeSet<SessionId>> = None;
    loop {
        // Both arms only wait.
        tokio::select! {
            () = core.stop.cancelled() => return,
            () = tokio::time::sleep(core.options.watch_period) => {}
        }
        if !core.changes.is_heard() {
            known = None;
            continue;
        }
        let Ok(sessions) = core.api.list(SessionFilter::default()).await else {
            continue;
        };
        let now: BTreeSet<SessionId> = sessions.into_iter().map(|session| session.id).collect();
        if known.as_ref().is_some_and(|known| *known != now) {
            core.changes.nudge();
        }
        known = Some(now);
    }
}

/// Tells one connection, until it closes or the server ends.
pub(crate) async fn tell(core: Arc<Core>, peer: Peer<RoleServer>) {
    let mut changes = core.changes.listen();
    loop {
        // All arms only wait; a change that is not seen in one round is seen in the next.
        tokio::select! {
            () = core.stop.cancelled() => return,
            changed = changes.changed() => {
                if changed.is_err() || peer.notify_resource_list_changed().await.is_err() {
                    return;
                }
            }
            () = tokio::time::sleep(LOOK) => {
                if peer.is_transport_closed() {
                    return;
                }
            }
        }
    }
}

/// Serves one `subscriptions/listen` request, until it is taken back, nobody hears it any more, or the server ends.
pub(crate) async fn serve(core: &Core, subscription: SubscriptionContext) {
    let mut changes = core.changes.listen();
    loop {
        // All arms only wait; see above.
        tokio::select! {
            () = core.stop.cancelled() => return,
            () = core.unheard.cancelled() => return,
            () = subscription.cancelled() => return,
            changed = changes.changed() => {
                if changed.is_err() || subscription.sink().notify_resource_list_changed().await.is_err() {
                    return;
                }
            }
        }
    }
}
