//! How much one client may have under way, so that one that sends without reading grows nothing.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use rmcp::model::RequestId;
use tokio::sync::watch;

/// Messages to the client that may wait to be written before nothing more is read from it.
const MAX_BACKLOG: usize = 64;
/// Requests of one client that may be unanswered at once.
const MAX_OPEN: usize = 512;

/// Whether a request may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Granted,
    /// Another request with this id is not answered yet.
    Duplicate,
    TooMany,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Load {
    backlog: watch::Sender<usize>,
    open: Arc<Mutex<HashSet<RequestId>>>,
}

impl Load {
    pub(super) fn new() -> Self {
        Self {
            backlog: watch::Sender::new(0),
            open: Arc::default(),
        }
    }

    /// Waits until the client has read enough of what it was sent.
    pub(super) async fn wait_for_reader(&self) {
        let mut backlog = self.backlog.subscribe();
        // The sender is ours.
        let _ = backlog.wait_for(|waiting| *waiting < MAX_BACKLOG).await;
    }

    /// A message waits to be written, until what is given back is dropped.
    pub(super) fn queue(&self) -> Queued {
        self.backlog.send_modify(|waiting| *waiting += 1);
        Queued(self.backlog.clone())
    }

    pub(super) fn admit(&self, id: &RequestId) -> Admission {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.contains(id) {
            return Admission::Duplicate;
        }
        if open.len() >= MAX_OPEN {
            return Admission::TooMany;
        }
        open.insert(id.clone());
        Admission::Granted
    }

    /// A request was answered or taken back.
    pub(super) fn close(&self, id: &RequestId) {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id);
    }
}

/// See [`Load::queue`].
#[derive(Debug)]
pub(super) struct Queued(watch::Sender<usize>);

impl Drop for Queued {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| *waiting = waiting.saturating_sub(1));
    }
}
