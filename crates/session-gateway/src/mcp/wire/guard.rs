//! What fits to what was asked, and no more of it at once than is handled.
//!
//! The protocol library hands on answers with ids that nobody asked, starts a task for every notification, and fails a
//! handshake for one late answer. Around a transport, whatever carries it, this lets through: the answers that are waited
//! for, each once; as many requests of the server as may be under way; notifications while there is room to handle them.
//! While there is none, nothing is read, and the server has to wait.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use rmcp::RoleClient;
use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, ClientRequest, ErrorCode, ErrorData, GetExtensions,
    ServerJsonRpcMessage, ServerNotification, ServerRequest,
};
use rmcp::transport::Transport;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use super::ledger::{Admission, Answer, Ledger, Patience};
use super::pace::Pace;
use crate::mcp::call::FailureCause;
use crate::mcp::upstream::Ending;

/// Notifications that are handled at once.
const MAX_HANDLED: usize = 64;
/// What the library may take to tell those who sent something how that went: once there is nothing more to receive, it
/// tells nobody.
const FAREWELL: Duration = Duration::from_millis(50);
/// The code of a refusal for lack of room; the range that JSON-RPC leaves to implementations.
const TOO_MANY: ErrorCode = ErrorCode(-32000);

/// See the module.
pub(crate) struct Guarded<T: Transport<RoleClient>> {
    inner: T,
    ledger: Arc<Mutex<Ledger>>,
    patience: Patience,
    room: Arc<Semaphore>,
    pace: Pace,
    /// Whether the handshake is over: before, notifications mean nothing.
    begun: bool,
    /// Whether it answered the first question, only late.
    was_slow: bool,
    /// When the library is told that there is nothing more.
    leaving: Option<Instant>,
    /// A refusal of our own that is on its way.
    refusing: Option<BoxFuture<'static, Result<(), T::Error>>>,
    ending: Ending,
}

/// Rides with a notification, in its extensions, until it was handled.
#[derive(Clone)]
struct Room {
    _permit: Arc<OwnedSemaphorePermit>,
}

/// What becomes of a message of the server.
enum Verdict {
    Pass(ServerJsonRpcMessage),
    Refuse(ClientJsonRpcMessage),
    Drop,
    Stray,
}

impl<T: Transport<RoleClient>> Guarded<T> {
    /// Guards a transport that nothing was sent on yet. `ending` is told when this is dropped, and ends it.
    pub(crate) fn new(inner: T, ending: Ending) -> Self {
        Self {
            inner,
            ledger: Arc::default(),
            patience: Patience::new(),
            room: Arc::new(Semaphore::new(MAX_HANDLED)),
            pace: Pace::new(),
            begun: false,
            was_slow: false,
            leaving: None,
            refusing: None,
            ending,
        }
    }

    fn judge(&mut self, mut message: ServerJsonRpcMessage, permit: OwnedSemaphorePermit) -> Verdict {
        let answered = match &mut message {
            ServerJsonRpcMessage::Notification(notification) => {
                let room = Room {
                    _permit: Arc::new(permit),
                };
                notification.notification.extensions_mut().insert(room);
                return self.notified(message);
            }
            ServerJsonRpcMessage::Request(request) => {
                let id = request.id.clone();
                if !self.begun {
                    let is_ping = matches!(request.request, ServerRequest::PingRequest(_));
                    return if is_ping {
                        Verdict::Pass(message)
                    } else {
                        Verdict::Stray
                    };
                }
                return match lock(&self.ledger).admit(&id) {
                    Admission::Granted => Verdict::Pass(message),
                    // Answered without its id, it would be taken for an answer to the one that came first.
                    Admission::Duplicate => Verdict::Stray,
                    Admission::TooMany => {
                        let told = "too many requests are not answered yet: wait for some of them";
                        let error = ErrorData::new(TOO_MANY, told, None);
                        Verdict::Refuse(ClientJsonRpcMessage::error(error, Some(id)))
                    }
                };
            }
            ServerJsonRpcMessage::Response(response) => lock(&self.ledger).answer(&response.id),
            ServerJsonRpcMessage::Error(error) => match &error.id {
                Some(id) => lock(&self.ledger).answer(id),
                // It belongs to the request before, and before the handshake there is one.
                None if !self.begun => Answer::Asked,
                None => Answer::Stray,
            },
        };
        match answered {
            Answer::Asked => {
                if !self.begun && matches!(message, ServerJsonRpcMessage::Response(_)) {
                    self.begun = true;
                    if !self.was_slow {
                        self.ending.knows_the_old_alone();
                    }
                }
                Verdict::Pass(message)
            }
            Answer::Late => {
                self.was_slow |= !self.begun;
                Verdict::Drop
            }
            Answer::Stray => Verdict::Stray,
        }
    }

    fn notified(&mut self, message: ServerJsonRpcMessage) -> Verdict {
        if !self.begun {
            return Verdict::Stray;
        }
        if let ServerJsonRpcMessage::Notification(notification) = &message
            && let ServerNotification::CancelledNotification(cancelled) = &notification.notification
            && let Some(id) = &cancelled.params.request_id
        {
            // Nothing is answered to a request that was taken back.
            lock(&self.ledger).close(id);
        }
        Verdict::Pass(message)
    }

    /// What is asked and answered by a message of ours.
    fn note(&self, message: &ClientJsonRpcMessage) {
        let mut ledger = lock(&self.ledger);
        match message {
            ClientJsonRpcMessage::Request(request) => {
                if matches!(request.request, ClientRequest::InitializeRequest(_)) {
                    // Whatever was tried before is given up, and its late answer must not be taken for this one's.
                    ledger.take_all_back();
                    self.ending.greets_of_old();
                }
                ledger.ask(request.id.clone());
            }
            ClientJsonRpcMessage::Notification(notification) => {
                if let ClientNotification::CancelledNotification(cancelled) = &notification.notification
                    && let Some(id) = &cancelled.params.request_id
                {
                    ledger.take_back(id);
                }
            }
            ClientJsonRpcMessage::Response(_) | ClientJsonRpcMessage::Error(_) => {}
        }
    }

    /// The next message that may pass. Cancel-safe: what must not be lost is kept in `self`.
    async fn next(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            if let Some(refusing) = &mut self.refusing {
                let refused = refusing.await;
                self.refusing = None;
                refused.ok()?;
            }
            // Asked for before there is a message, so that none is held while there is no room.
            let permit = Arc::clone(&self.room).acquire_owned().await.ok()?;
            self.pace.keep().await;
            let message = self.inner.receive().await?;
            if !matches!(message, ServerJsonRpcMessage::Response(_)) {
                self.pace.spend();
            }
            match self.judge(message, permit) {
                Verdict::Pass(message) => {
                    self.patience.restore();
                    return Some(message);
                }
                Verdict::Refuse(answer) => self.refusing = Some(self.inner.send(answer).boxed()),
                Verdict::Drop => {}
                Verdict::Stray => {
                    tracing::debug!("an MCP server said what nobody asked for");
                    if self.patience.strain(0).is_err() {
                        let told = "it sends answers to what nobody asked, too many of them";
                        self.ending.fail(FailureCause::Broken, told);
                        return None;
                    }
                }
            }
        }
    }
}

impl<T: Transport<RoleClient>> Transport<RoleClient> for Guarded<T> {
    type Error = T::Error;

    fn send(
        &mut self,
        message: ClientJsonRpcMessage,
    ) -> impl Future<Output = Result<(), T::Error>> + Send + 'static {
        self.note(&message);
        let answered = match &message {
            ClientJsonRpcMessage::Response(response) => Some(response.id.clone()),
            ClientJsonRpcMessage::Error(error) => error.id.clone(),
            _ => None,
        };
        let ledger = Arc::clone(&self.ledger);
        let sending = self.inner.send(message);
        async move {
            let sent = sending.await;
            // Only now: a server that does not read its answers gets no more of them.
            if let Some(id) = answered {
                lock(&ledger).close(&id);
            }
            sent
        }
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        let stopped = self.ending.stopped();
        let message = tokio::select! {
            // Whoever is told to stop listens to nothing more.
            biased;
            () = stopped => None,
            message = self.next() => message,
        };
        if message.is_none() {
            // Cancel-safe: the moment is kept.
            let at = *self.leaving.get_or_insert_with(|| Instant::now() + FAREWELL);
            sleep_until(at).await;
        }
        message
    }

    async fn close(&mut self) -> Result<(), T::Error> {
        self.inner.close().await
    }
}

impl<T: Transport<RoleClient>> Drop for Guarded<T> {
    fn drop(&mut self) {
        self.ending.over();
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}
