//! What the owner of a server has done beside its own loop: health checks, lists, requests taken back, listening.

#![expect(
    deprecated,
    reason = "servers of older revisions log and are subscribed to this way"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use mcp_catalog::ServerDefinition;
use rmcp::model::{
    CancelledNotificationParam, ClientRequest, PingRequest, RequestId, SetLevelRequest,
    SetLevelRequestParams, SubscribeRequest, SubscribeRequestParams, SubscriptionFilter,
};
use rmcp::service::ServiceError;
use tokio::time::Instant;

use super::hub::Hub;
use super::live::Live;
use super::manifest::list;
use super::offer::Offer;
use super::shelf::Shelf;
use super::start::keep;
use crate::mcp::config::McpLimits;

/// Requests that are taken back at once; more are not worth telling.
const MAX_TAKEN_BACK: usize = 64;
/// How long a list may take that is asked for again.
const LISTING: Duration = Duration::from_secs(60);
/// How long may be spent on what sessions left behind, before a server is used.
const RESTORING: Duration = Duration::from_secs(5);
/// How long to wait before listening again after that ended.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);

/// What came of an errand.
pub(crate) enum Done {
    Nothing,
    /// It has this now, if it said so.
    Listed(Option<Arc<Offer>>),
    /// It does not live.
    Dead(&'static str),
}

/// One thing to do.
pub(crate) struct Errand(BoxFuture<'static, Done>);

impl Errand {
    /// Asks for lists again.
    pub(crate) fn list(
        live: &Arc<Live>,
        shelf: &Arc<Shelf>,
        definition: &Arc<ServerDefinition>,
        lists: u8,
        limits: &McpLimits,
    ) -> Self {
        let (live, shelf) = (Arc::clone(live), Arc::clone(shelf));
        let (definition, limits) = (Arc::clone(definition), limits.clone());
        Self(
            async move {
                let before = shelf.manifest();
                let listing = list(&live, definition.digest(), lists, before.as_deref(), &limits);
                match tokio::time::timeout(LISTING, listing).await {
                    Ok(Ok(listing)) => Done::Listed(keep(&shelf, &definition, listing).await),
                    Ok(Err(_)) | Err(_) => {
                        tracing::debug!(server = %live.name, "an MCP server changed its lists and does not show them");
                        Done::Listed(None)
                    }
                }
            }
            .boxed(),
        )
    }
}

/// What is being done.
#[derive(Default)]
pub(crate) struct Errands {
    doing: FuturesUnordered<BoxFuture<'static, (Kind, Done)>>,
    /// A health check under way, and whether the server is suspected.
    probing: Option<Arc<AtomicBool>>,
    taking_back: usize,
    listing: bool,
    listening: Option<BoxFuture<'static, ()>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Probe,
    TakeBack,
    List,
}

impl Errands {
    /// What is done next. Waits for as long as there is nothing.
    pub(crate) async fn next(&mut self) -> Done {
        loop {
            let doing = &mut self.doing;
            let listening = &mut self.listening;
            // Both arms may be dropped: each future stays where it is.
            tokio::select! {
                Some((kind, done)) = doing.next() => {
                    match kind {
                        Kind::Probe => self.probing = None,
                        Kind::TakeBack => self.taking_back -= 1,
                        Kind::List => self.listing = false,
                    }
                    return done;
                }
                () = async {
                    match listening {
                        Some(listening) => listening.await,
                        None => std::future::pending().await,
                    }
                } => self.listening = None,
            }
        }
    }

    /// Whether lists are being asked for.
    pub(crate) fn is_listing(&self) -> bool {
        self.listing
    }

    pub(crate) fn list(&mut self, errand: Errand) {
        self.listing = true;
        self.doing.push(errand.0.map(|done| (Kind::List, done)).boxed());
    }

    /// Tells the server that nobody waits for a request any more.
    pub(crate) fn take_back(&mut self, live: &Live, id: RequestId) {
        if self.taking_back >= MAX_TAKEN_BACK {
            return;
        }
        self.taking_back += 1;
        let peer = live.peer.clone();
        let told = async move {
            let reason = "nobody waits for it any more".to_owned();
            let param = CancelledNotificationParam::new(Some(id), Some(reason));
            // It is gone, or told.
            drop(peer.notify_cancelled(param).await);
            (Kind::TakeBack, Done::Nothing)
        };
        self.doing.push(told.boxed());
    }

    /// Asks whether the server lives; any sign of life counts. `suspect`: if there is none, it does not.
    pub(crate) fn probe(&mut self, live: &Arc<Live>, patience: Duration, suspect: bool) {
        if let Some(suspected) = &self.probing {
            suspected.fetch_or(suspect, Ordering::Relaxed);
            return;
        }
        let suspected = Arc::new(AtomicBool::new(suspect));
        self.probing = Some(Arc::clone(&suspected));
        let live = Arc::clone(live);
        let probe = async move {
            let begun = Instant::now();
            let ping = live.ask(ClientRequest::PingRequest(PingRequest::default()));
            let done = match tokio::time::timeout(patience, ping).await {
                // Even a refusal is an answer.
                Ok(Ok(_) | Err(ServiceError::McpError(_))) => Done::Nothing,
                // The network may be back in a moment, and an answer be on its way elsewhere.
                Ok(Err(_)) if suspected.load(Ordering::Relaxed) => {
                    Done::Dead("it cannot be reached any more")
                }
                Err(_) if suspected.load(Ordering::Relaxed) && live.calls.silent() >= begun.elapsed() => {
                    Done::Dead("it answers neither calls nor pings")
                }
                // Busy, perhaps: its calls have their own time.
                Ok(Err(_)) | Err(_) => Done::Nothing,
            };
            (Kind::Probe, done)
        };
        self.doing.push(probe.boxed());
    }

    /// Listens to what a server of the revision without a handshake tells of itself: it tells who asks for it.
    pub(crate) fn listen(&mut self, live: &Arc<Live>, hub: &Arc<Hub>) {
        if live.info.protocol_version.has_initialize() {
            return;
        }
        self.listening = Some(listen(Arc::clone(live), filter(live, hub.subscriptions())).boxed());
    }
}

fn filter(live: &Live, uris: BTreeSet<String>) -> SubscriptionFilter {
    let has = &live.info.capabilities;
    let mut filter = SubscriptionFilter::default();
    filter.tools_list_changed = has.tools.as_ref().and_then(|own| own.list_changed);
    filter.prompts_list_changed = has.prompts.as_ref().and_then(|own| own.list_changed);
    filter.resources_list_changed = has.resources.as_ref().and_then(|own| own.list_changed);
    filter.resource_subscriptions = (!uris.is_empty()).then(|| uris.into_iter().collect());
    filter
}

/// Keeps a subscription open. What comes of it passes the tap, and is taken there.
async fn listen(live: Arc<Live>, filter: SubscriptionFilter) {
    loop {
        match live.peer.listen(filter.clone()).await {
            Ok(mut subscription) => while let Ok(Some(_)) = subscription.next().await {},
            // It has nothing to tell.
            Err(ServiceError::McpError(_)) => return,
            Err(_) => {}
        }
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}

/// Puts back what sessions had set in the server before: it forgot.
pub(crate) async fn restore(live: &Live, hub: &Hub) {
    if !live.info.protocol_version.has_initialize() {
        return;
    }
    let mut requests = Vec::new();
    if live.info.capabilities.logging.is_some()
        && let Some(level) = hub.level()
    {
        requests.push(ClientRequest::SetLevelRequest(SetLevelRequest::new(
            SetLevelRequestParams::new(level),
        )));
    }
    for uri in hub.subscriptions() {
        let params = SubscribeRequestParams::new(uri);
        requests.push(ClientRequest::SubscribeRequest(SubscribeRequest::new(params)));
    }
    let asking = requests.into_iter().map(|request| live.ask(request));
    // What it refuses is not there any more.
    drop(tokio::time::timeout(RESTORING, futures::future::join_all(asking)).await);
}
