//! Starting a server: from nothing to one that is initialized, has shown its tools, and has them judged.
//!
//! No call reaches it before: a tool that changed while the server was down is held before anybody can call it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_catalog::{ServerDefinition, Transport};
use session_core::id::SessionId;
use session_core::mcp::ServerName;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::calls::Calls;
use super::client::Client;
use super::connect::Link;
use super::errands::{Errands, restore};
use super::hub::{Hub, Lists};
use super::instance::{Wiring, millis};
use super::keeper::RELIST;
use super::live::{Live, Word};
use super::manifest::{Listing, list};
use super::offer::Offer;
use super::shelf::Shelf;
use super::tap::Inlet;
use crate::mcp::call::{Failure, FailureCause};

/// Words to the owner that wait for it.
const WORDS: usize = 256;

const GIVEN_UP: &str = "it was given up while it started";

/// What is to be started.
pub(crate) struct Order {
    pub(crate) name: ServerName,
    pub(crate) owner: Option<SessionId>,
    pub(crate) definition: Arc<ServerDefinition>,
    pub(crate) wiring: Arc<Wiring>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) hub: Arc<Hub>,
}

/// A server that is up, with what its owner watches.
pub(crate) struct Up {
    pub(crate) live: Arc<Live>,
    link: Box<dyn Link>,
    /// Resolves when it ends by itself.
    pub(crate) ended: BoxFuture<'static, Failure>,
    pub(crate) words: mpsc::Receiver<Word>,
    pub(crate) errands: Errands,
    pub(crate) offer: Arc<Offer>,
    pub(crate) since: Instant,
    pub(crate) looked: Instant,
    pub(crate) idle_at: Instant,
    pub(crate) relisted: Instant,
    /// How long to wait in between.
    pub(crate) relist_pause: Duration,
    /// When lists are to be asked for again that changed too soon after the last time.
    pub(crate) relist_at: Option<Instant>,
    _place: OwnedSemaphorePermit,
}

impl Up {
    /// When to look at it again.
    pub(crate) fn next_look(&self, health_interval: Duration) -> Instant {
        let look = self.idle_at.min(self.looked + health_interval);
        self.relist_at.map_or(look, |relist| relist.min(look))
    }

    /// Ends it and returns when nothing of it is left. Calls under way are told why.
    pub(crate) async fn end(self, why: Failure, grace: Duration) {
        self.live.end(why);
        drop(self.errands);
        self.link.close(grace).await;
    }
}

/// A start under way. It is given up by [`Starting::give_up`], which leaves nothing.
pub(crate) struct Starting {
    outcome: BoxFuture<'static, Result<Up, Failure>>,
    given_up: CancellationToken,
}

impl Starting {
    /// Gives it up and returns when nothing of it is left.
    pub(crate) async fn give_up(self, grace: Duration) {
        self.given_up.cancel();
        if let Ok(up) = self.outcome.await {
            let why = Failure {
                server: up.live.name.clone(),
                cause: FailureCause::Unavailable,
                detail: GIVEN_UP.to_owned(),
            };
            up.end(why, grace).await;
        }
    }
}

impl Future for Starting {
    type Output = Result<Up, Failure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.outcome.poll_unpin(context)
    }
}

/// Starts a server. Nothing of it is left when that fails.
pub(crate) fn start(order: Order) -> Starting {
    let given_up = CancellationToken::new();
    Starting {
        outcome: bring_up(order, given_up.clone()).boxed(),
        given_up,
    }
}

async fn bring_up(order: Order, given_up: CancellationToken) -> Result<Up, Failure> {
    let wiring = Arc::clone(&order.wiring);
    let place = wiring
        .places
        .take()
        .await
        .ok_or_else(|| order.failed(FailureCause::Unavailable, "too many MCP servers are running"))?;
    let calls = Calls::new(order.owner.is_none());
    let in_session = matches!(order.definition.transport, Transport::Session { .. });
    let client = Client::new(Inlet::new(Arc::clone(&calls), Arc::clone(&order.hub)), in_session);
    let connecting = wiring
        .connect
        .connect(&order.name, &order.definition, order.owner, client);
    // A start that is given up is dropped, which ends what was started of it.
    let link = tokio::select! {
        link = connecting => link?,
        () = given_up.cancelled() => return Err(order.failed(FailureCause::Unavailable, GIVEN_UP)),
    };
    fail::fail_point!("gateway.mcp.connected", |_| Err(
        order.failed(FailureCause::Unavailable, GIVEN_UP)
    ));
    let (words, heard) = mpsc::channel(WORDS);
    let live = Arc::new(Live::new(
        order.name.clone(),
        link.peer(),
        link.info(),
        calls,
        words,
        Arc::clone(&wiring.connect),
    ));
    let ended = link.ended();
    let offer = match order.look_over(&live, link.ended(), &given_up).await {
        Ok(offer) => offer,
        Err(failure) => {
            live.end(failure.clone());
            link.close(wiring.limits.stop_grace).await;
            return Err(failure);
        }
    };
    let now = Instant::now();
    Ok(Up {
        live,
        link,
        ended,
        words: heard,
        errands: Errands::default(),
        offer,
        since: now,
        looked: now,
        idle_at: now + millis(order.definition.times.idle_ms),
        relisted: now,
        relist_pause: RELIST,
        relist_at: None,
        _place: place,
    })
}

impl Order {
    fn failed(&self, cause: FailureCause, detail: impl Into<String>) -> Failure {
        Failure {
            server: self.name.clone(),
            cause,
            detail: detail.into(),
        }
    }

    /// Has it show what it has, and puts back what sessions left behind in the one before.
    async fn look_over(
        &self,
        live: &Arc<Live>,
        ended: BoxFuture<'static, Failure>,
        given_up: &CancellationToken,
    ) -> Result<Arc<Offer>, Failure> {
        // What changes from now on is asked for again.
        self.hub.take_changed();
        let everything = Lists::TOOLS | Lists::PROMPTS | Lists::RESOURCES;
        let listing = list(
            live,
            self.definition.digest(),
            everything,
            None,
            &self.wiring.limits,
        );
        let patience = millis(self.definition.times.start_ms);
        let listing = tokio::select! {
            listing = tokio::time::timeout(patience, listing) => listing.map_err(|_| {
                self.failed(FailureCause::Silent, "it did not list its tools in time")
            })??,
            failure = ended => return Err(failure),
            () = given_up.cancelled() => return Err(self.failed(FailureCause::Unavailable, GIVEN_UP)),
        };
        fail::fail_point!("gateway.mcp.listed");
        let offer = keep(&self.shelf, &self.definition, listing).await;
        restore(live, &self.hub).await;
        offer.ok_or_else(|| self.failed(FailureCause::Unavailable, "the gateway ends"))
    }
}

/// Keeps and judges what was listed, on a thread that may wait for files.
pub(crate) async fn keep(
    shelf: &Arc<Shelf>,
    definition: &Arc<ServerDefinition>,
    listing: Listing,
) -> Option<Arc<Offer>> {
    let (shelf, definition) = (Arc::clone(shelf), Arc::clone(definition));
    let kept = tokio::task::spawn_blocking(move || shelf.keep(listing, &definition)).await;
    kept.ok().map(Arc::new)
}
