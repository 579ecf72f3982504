//! The clients that have a session of the protocol: how many there may be, and which are gone.
//!
//! An agent that is killed says no goodbye, and starts anew each time it is resumed. The oldest client that has nothing
//! open gives way to a new one. Within a revision that has such sessions the end of a connection takes no call back, as
//! clients may come again for the rest of an answer; one that does not come for a while is taken as gone.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::AnswerBody;

/// What is known of one client.
#[derive(Debug)]
struct Client {
    used: Instant,
    /// When it last came for the rest of an answer.
    resumed: Option<Instant>,
    /// Answers that are being read.
    open: usize,
}

/// See the module. Clients are known by the id of their session.
#[derive(Debug, Default)]
pub(super) struct Clients(Mutex<HashMap<String, Client>>);

impl Clients {
    fn table(&self) -> MutexGuard<'_, HashMap<String, Client>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client has begun.
    pub(super) fn begin(&self, id: &str) {
        let client = Client {
            used: Instant::now(),
            resumed: None,
            open: 0,
        };
        self.table().insert(id.to_owned(), client);
    }

    /// Whether a session is that of a client.
    pub(super) fn knows(&self, id: &str) -> bool {
        self.table().contains_key(id)
    }

    /// A client has said that it is done.
    pub(super) fn end(&self, id: &str) {
        self.table().remove(id);
    }

    /// A client sends something.
    pub(super) fn used(&self, id: &str) {
        if let Some(client) = self.table().get_mut(id) {
            client.used = Instant::now();
        }
    }

    /// A client comes for the rest of an answer.
    pub(super) fn resumed(&self, id: &str) {
        if let Some(client) = self.table().get_mut(id) {
            client.resumed = Some(Instant::now());
        }
    }

    /// Leaves out whom `is_there` does not know.
    pub(super) fn retain(&self, is_there: impl Fn(&str) -> bool) {
        self.table().retain(|id, _| is_there(id));
    }

    /// The client that has to go so that there is room among `most`: the one that was silent for longest, of those that
    /// read nothing. `Err` when all of them do.
    pub(super) fn make_room(&self, most: usize) -> Result<Option<String>, Full> {
        let mut table = self.table();
        if table.len() < most {
            return Ok(None);
        }
        let idle = table.iter().filter(|(_, client)| client.open == 0);
        let oldest = idle
            .min_by_key(|(_, client)| client.used)
            .map(|(id, _)| id.clone());
        let oldest = oldest.ok_or(Full)?;
        table.remove(&oldest);
        Ok(Some(oldest))
    }

    fn opened(&self, id: &str) {
        if let Some(client) = self.table().get_mut(id) {
            client.open += 1;
        }
    }

    fn closed(&self, id: &str) {
        if let Some(client) = self.table().get_mut(id) {
            client.open = client.open.saturating_sub(1);
            client.used = Instant::now();
        }
    }

    fn has_resumed_since(&self, id: &str, moment: Instant) -> bool {
        let table = self.table();
        let resumed = table.get(id).and_then(|client| client.resumed);
        resumed.is_some_and(|resumed| resumed >= moment)
    }
}

/// All clients are busy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// What happens when an answer is not read to its end.
#[derive(Debug)]
pub(super) struct Loss {
    pub(super) clients: Arc<Clients>,
    pub(super) id: String,
    /// Cancelled when the client is taken as gone.
    pub(super) abandoned: CancellationToken,
    pub(super) patience: Duration,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

/// The body of an answer, watched.
pub(super) struct Watched {
    body: AnswerBody,
    is_whole: bool,
    loss: Option<Loss>,
}

impl Watched {
    pub(super) fn new(body: AnswerBody, loss: Loss) -> Self {
        loss.clients.opened(&loss.id);
        Self {
            is_whole: body.is_end_stream(),
            body,
            loss: Some(loss),
        }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) {
            self.is_whole = true;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let Some(loss) = self.loss.take() else { return };
        loss.clients.closed(&loss.id);
        if self.is_whole || self.body.is_end_stream() {
            return;
        }
        let lost = Instant::now();
        let tasks = loss.tasks.clone();
        tasks.spawn(async move {
            // All arms only wait.
            tokio::select! {
                () = tokio::time::sleep(loss.patience) => {}
                () = loss.stop.cancelled() => return,
                // Somebody knows already.
                () = loss.abandoned.cancelled() => return,
            }
            if !loss.clients.has_resumed_since(&loss.id, lost) {
                loss.abandoned.cancel();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_client_that_was_silent_for_longest_gives_way() {
        let clients = Clients::default();
        for id in ["a", "b", "c"] {
            clients.begin(id);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        clients.used("a");
        assert_eq!(clients.make_room(4), Ok(None));
        assert_eq!(clients.make_room(3), Ok(Some("b".to_owned())));
        assert_eq!(clients.make_room(3), Ok(None));
        clients.opened("a");
        clients.opened("c");
        assert_eq!(clients.make_room(2), Err(Full));
        clients.closed("c");
        assert_eq!(clients.make_room(2), Ok(Some("c".to_owned())));
    }
}
