//! Resources that somebody wants to hear of, and what their servers have to be told of that.
//!
//! Several connections of a session may want the same resource: its server is told when the first one does and when the
//! last one does not any more. Whoever comes while it is being told waits for what it says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rmcp::model::{
    ClientCapabilities, ClientRequest, ErrorData, Request, SubscribeRequestParams, UnsubscribeRequestParams,
};

use tokio::sync::OwnedSemaphorePermit;

use super::core::Core;
use super::flight::{Event, Flight, Subject};
use super::http::Taken;
use super::outcome::Refusal;
use crate::mcp::call::CallError;

/// Subscriptions of one session.
const MAX_SUBSCRIPTIONS: usize = 1_000;
/// The longest URI that is listened to, in bytes: each is remembered in several places.
pub(super) const MAX_URI: usize = 8 << 10;

/// Who listens to each resource of each server.
#[derive(Debug, Default)]
pub(super) struct Subscriptions(Mutex<HashMap<(usize, String), Entry>>);

#[derive(Debug, Default)]
struct Entry {
    listeners: usize,
    upstream: Arc<Upstream>,
}

/// What the server of a resource was told.
#[derive(Debug, Default)]
struct Upstream {
    /// Whether it tells of changes. Locked while it is told otherwise, so that it hears of one thing at a time.
    tells: tokio::sync::Mutex<bool>,
    /// How often it refused, with what it said last.
    refusals: Mutex<(u64, Option<ErrorData>)>,
}

impl Upstream {
    fn refusals(&self) -> std::sync::MutexGuard<'_, (u64, Option<ErrorData>)> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscriptions {
    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<(usize, String), Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more listener; `None` when there are too many subscriptions.
    fn add(&self, server: usize, uri: &str) -> Option<Arc<Upstream>> {
        let mut table = self.table();
        let room = table.len() < MAX_SUBSCRIPTIONS;
        let key = (server, uri.to_owned());
        if !room && !table.contains_key(&key) {
            return None;
        }
        let entry = table.entry(key).or_default();
        entry.listeners += 1;
        Some(entry.upstream.clone())
    }

    /// One listener less.
    fn remove(&self, server: usize, uri: &str) -> Option<Arc<Upstream>> {
        let mut table = self.table();
        let entry = table.get_mut(&(server, uri.to_owned()))?;
        entry.listeners = entry.listeners.saturating_sub(1);
        Some(entry.upstream.clone())
    }

    fn is_listened_to(&self, server: usize, uri: &str) -> bool {
        let table = self.table();
        let entry = table.get(&(server, uri.to_owned()));
        entry.is_some_and(|entry| entry.listeners > 0)
    }

    /// Forgets a resource to which nobody listens.
    fn forget(&self, server: usize, uri: &str) {
        let key = (server, uri.to_owned());
        let mut table = self.table();
        if table.get(&key).is_some_and(|entry| entry.listeners == 0) {
            table.remove(&key);
        }
    }
}

/// Subscribes to a resource: gives back the server that tells of it.
///
/// # Errors
/// The server's own, or why it cannot tell.
pub(super) async fn subscribe(core: &Arc<Core>, uri: &str) -> Result<usize, ErrorData> {
    if uri.len() > MAX_URI {
        return Err(ErrorData::invalid_params(
            format!("the URI is too long: it may have {MAX_URI} bytes"),
            None,
        ));
    }
    let catalog = core.settled().await;
    let Some(server) = catalog.resource(uri) else {
        return Err(ErrorData::resource_not_found(
            "no server of this session has this resource",
            None,
        ));
    };
    let resources = catalog
        .capabilities(server)
        .and_then(|can| can.resources.as_ref());
    if resources.is_none_or(|can| can.subscribe != Some(true)) {
        return Err(ErrorData::invalid_params(
            "the server of this resource does not tell of its changes",
            None,
        ));
    }
    let Some(upstream) = core.subscriptions.add(server, uri) else {
        return Err(ErrorData::invalid_params(
            "the session has too many subscriptions",
            None,
        ));
    };
    let told = tell(core, server, uri, &upstream).await;
    if told.is_err() {
        core.subscriptions.remove(server, uri);
        core.subscriptions.forget(server, uri);
    }
    told.map(|()| server)
}

/// Tells a server that somebody listens, unless it knows.
async fn tell(core: &Arc<Core>, server: usize, uri: &str, upstream: &Upstream) -> Result<(), ErrorData> {
    let before = upstream.refusals().0;
    let mut tells = upstream.tells.lock().await;
    if *tells {
        return Ok(());
    }
    // Refused to somebody else meanwhile, so it is to us: a server that is slow to refuse is asked once.
    if let (now, Some(refusal)) = &*upstream.refusals()
        && *now != before
    {
        return Err(refusal.clone());
    }
    let place = core.place().ok_or_else(|| Refusal::busy().into_error())?;
    let request = ClientRequest::SubscribeRequest(Request::new(SubscribeRequestParams::new(uri)));
    match send(core, server, request, ("resources/subscribe", uri), place).await {
        Ok(()) => {
            *tells = true;
            Ok(())
        }
        Err(error) => {
            let mut refusals = upstream.refusals();
            refusals.0 += 1;
            refusals.1 = Some(error.clone());
            Err(error)
        }
    }
}

/// Ends one subscription.
pub(super) async fn unsubscribe(core: &Arc<Core>, server: usize, uri: &str) {
    let Some(upstream) = core.subscriptions.remove(server, uri) else {
        return;
    };
    let mut tells = upstream.tells.lock().await;
    if *tells && !core.subscriptions.is_listened_to(server, uri) {
        // Not among the session's calls: when these are too many, a server would tell of it for ever.
        let Some(place) = core.errand().await else { return };
        let request = ClientRequest::UnsubscribeRequest(Request::new(UnsubscribeRequestParams::new(uri)));
        if let Err(error) = send(core, server, request, ("resources/unsubscribe", uri), place).await {
            tracing::debug!(code = error.code.0, "a subscription could not be ended");
        }
        *tells = false;
    }
    core.subscriptions.forget(server, uri);
}

/// A request of ours, during which nobody is asked anything.
pub(super) async fn quietly(
    core: &Arc<Core>,
    server: usize,
    request: ClientRequest,
    method: &'static str,
    name: &str,
) -> Result<(), ErrorData> {
    let place = core.place().ok_or_else(|| Refusal::busy().into_error())?;
    send(core, server, request, (method, name), place).await
}

async fn send(
    core: &Arc<Core>,
    server: usize,
    request: ClientRequest,
    (method, name): (&'static str, &str),
    place: OwnedSemaphorePermit,
) -> Result<(), ErrorData> {
    let upstream = core.server(server)?;
    let subject = Subject {
        method,
        name: name.to_owned(),
    };
    let able = ClientCapabilities::default();
    let mut flight = Flight::start(
        &core.tasks,
        upstream,
        request,
        subject,
        able,
        (place, Taken::default()),
    );
    loop {
        match flight.next().await {
            Event::Done(Ok(_)) => return Ok(()),
            Event::Done(Err(error)) => {
                return Err(match (Refusal::of_call(&error), error) {
                    (Some(refusal), _) => refusal.into_error(),
                    (None, CallError::Answered(error)) => error,
                    (None, _) => ErrorData::internal_error("the request was taken back", None),
                });
            }
            // Nobody is able to be asked, and nobody hears of progress.
            Event::Ask(_) | Event::Progress(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_forgotten_with_its_last_listener() {
        let subscriptions = Subscriptions::default();
        for server in [0, 0, 1] {
            assert!(subscriptions.add(server, "a").is_some());
        }
        assert!(subscriptions.remove(0, "a").is_some());
        subscriptions.forget(0, "a");
        assert!(subscriptions.is_listened_to(0, "a"));
        assert!(subscriptions.remove(0, "a").is_some());
        assert!(!subscriptions.is_listened_to(0, "a"));
        subscriptions.forget(0, "a");
        assert!(subscriptions.remove(0, "a").is_none());
        assert!(subscriptions.is_listened_to(1, "a"));
    }

    #[test]
    fn a_session_cannot_subscribe_without_end() {
        let subscriptions = Subscriptions::default();
        for at in 0..MAX_SUBSCRIPTIONS {
            assert!(subscriptions.add(0, &at.to_string()).is_some());
        }
        assert!(subscriptions.add(0, "one more").is_none());
        assert!(subscriptions.add(0, "7").is_some());
    }
}
