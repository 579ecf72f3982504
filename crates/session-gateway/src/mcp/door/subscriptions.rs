//! Resources that somebody wants to hear of, and what their servers have to be told of that.
//!
//! Several connections of a session may want the same resource: its server is told when the first one does and when the
//! last one does not any more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rmcp::model::{
    ClientCapabilities, ClientRequest, ErrorData, Request, SubscribeRequestParams, UnsubscribeRequestParams,
};

use super::core::Core;
use super::flight::{Event, Flight, Subject};
use super::http::Taken;
use super::outcome::Refusal;
use crate::mcp::call::CallError;

/// Subscriptions of one session.
const MAX_SUBSCRIPTIONS: usize = 1_000;

/// How many listeners each resource of each server has.
#[derive(Debug, Default)]
pub(super) struct Subscriptions(Mutex<HashMap<(usize, String), usize>>);

impl Subscriptions {
    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<(usize, String), usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more listener. Whether it is the first; `None` when there are too many subscriptions.
    fn add(&self, server: usize, uri: &str) -> Option<bool> {
        let mut table = self.table();
        let room = table.len() < MAX_SUBSCRIPTIONS;
        match table.get_mut(&(server, uri.to_owned())) {
            Some(listeners) => {
                *listeners += 1;
                Some(false)
            }
            None if room => {
                table.insert((server, uri.to_owned()), 1);
                Some(true)
            }
            None => None,
        }
    }

    /// One listener less. Whether it was the last.
    fn remove(&self, server: usize, uri: &str) -> bool {
        let mut table = self.table();
        let key = (server, uri.to_owned());
        let Some(listeners) = table.get_mut(&key) else {
            return false;
        };
        *listeners -= 1;
        let last = *listeners == 0;
        if last {
            table.remove(&key);
        }
        last
    }
}

/// Subscribes to a resource: gives back the server that tells of it.
///
/// # Errors
/// The server's own, or why it cannot tell.
pub(super) async fn subscribe(core: &Arc<Core>, uri: &str) -> Result<usize, ErrorData> {
    let catalog = core.settled().await;
    let owner = catalog.owner(uri).or_else(|| {
        // A server that is alone with resources may have some that it does not list.
        let mut claiming = catalog.with_resources();
        claiming.next().filter(|_| claiming.next().is_none())
    });
    let Some(server) = owner else {
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
    match core.subscriptions.add(server, uri) {
        None => {
            return Err(ErrorData::invalid_params(
                "the session has too many subscriptions",
                None,
            ));
        }
        Some(false) => return Ok(server),
        Some(true) => {}
    }
    let request = ClientRequest::SubscribeRequest(Request::new(SubscribeRequestParams::new(uri)));
    match quietly(core, server, request, "resources/subscribe", uri).await {
        Ok(()) => Ok(server),
        Err(error) => {
            core.subscriptions.remove(server, uri);
            Err(error)
        }
    }
}

/// Ends one subscription.
pub(super) async fn unsubscribe(core: &Arc<Core>, server: usize, uri: &str) {
    if core.subscriptions.remove(server, uri) {
        let request = ClientRequest::UnsubscribeRequest(Request::new(UnsubscribeRequestParams::new(uri)));
        if let Err(error) = quietly(core, server, request, "resources/unsubscribe", uri).await {
            tracing::debug!(code = error.code.0, "a subscription could not be ended");
        }
    }
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
    fn a_server_is_told_of_the_first_and_the_last_listener() {
        let subscriptions = Subscriptions::default();
        assert_eq!(subscriptions.add(0, "a"), Some(true));
        assert_eq!(subscriptions.add(0, "a"), Some(false));
        assert_eq!(subscriptions.add(1, "a"), Some(true));
        assert!(!subscriptions.remove(0, "a"));
        assert!(subscriptions.remove(0, "a"));
        assert!(!subscriptions.remove(0, "a"));
        assert!(subscriptions.remove(1, "a"));
    }

    #[test]
    fn a_session_cannot_subscribe_without_end() {
        let subscriptions = Subscriptions::default();
        for at in 0..MAX_SUBSCRIPTIONS {
            assert_eq!(subscriptions.add(0, &at.to_string()), Some(true));
        }
        assert_eq!(subscriptions.add(0, "one more"), None);
        assert_eq!(subscriptions.add(0, "7"), Some(false));
    }
}
