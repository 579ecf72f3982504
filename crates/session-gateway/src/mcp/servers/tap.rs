//! What passes between a server and the protocol library, seen in the order in which it passes.
//!
//! The library hands each notification to a task of its own, so that progress may arrive after the answer that it leads
//! to. A gateway has to pass both on in order, so progress is taken here, where messages still stand in a row; so is
//! everything else that needs no answer. And here a server that talks too much is slowed down: reading waits, until the
//! pipe is full, and the server with it.

use std::sync::Arc;
use std::time::Duration;

use rmcp::RoleClient;
use rmcp::model::{
    ClientJsonRpcMessage, GetExtensions, GetMeta, JsonRpcMessage, ServerJsonRpcMessage, ServerNotification,
};
use rmcp::transport::Transport;
use tokio::time::Instant;

use super::calls::{Calls, Marked};
use super::hub::{Hub, Lists};

/// Messages that a server may send unasked in a burst, and then in each second.
const BURST: u32 = 2000;
const PER_SECOND: u32 = 1000;

/// Where what a server says is taken to.
pub(crate) struct Inlet {
    pub(crate) calls: Arc<Calls>,
    pub(crate) hub: Arc<Hub>,
}

impl Inlet {
    pub(crate) fn new(calls: Arc<Calls>, hub: Arc<Hub>) -> Arc<Self> {
        Arc::new(Self { calls, hub })
    }

    /// Takes a notification, unless the library has to see it.
    fn takes(&self, notification: ServerNotification) -> Option<ServerNotification> {
        match notification {
            ServerNotification::ProgressNotification(progress) => self.calls.progress(progress.params),
            ServerNotification::LoggingMessageNotification(message) => {
                self.hub.log(&message.params, self.calls.only_session());
            }
            ServerNotification::ResourceUpdatedNotification(updated) => self.hub.updated(&updated.params.uri),
            ServerNotification::ToolListChangedNotification(_) => self.hub.lists_changed(Lists::TOOLS),
            ServerNotification::PromptListChangedNotification(_) => self.hub.lists_changed(Lists::PROMPTS),
            ServerNotification::ResourceListChangedNotification(_) => {
                self.hub.lists_changed(Lists::RESOURCES);
            }
            passed @ (ServerNotification::CancelledNotification(_)
            | ServerNotification::SubscriptionsAcknowledgedNotification(_)) => return Some(passed),
            // Of what we never asked for.
            _ => {}
        }
        None
    }

    /// A message of the server; `None` when it was taken.
    fn inbound(&self, message: ServerJsonRpcMessage) -> Option<ServerJsonRpcMessage> {
        self.calls.heard();
        match message {
            JsonRpcMessage::Response(response) => {
                self.calls.answered(&response.id);
                Some(JsonRpcMessage::Response(response))
            }
            JsonRpcMessage::Error(error) => {
                if let Some(id) = &error.id {
                    self.calls.answered(id);
                }
                Some(JsonRpcMessage::Error(error))
            }
            request @ JsonRpcMessage::Request(_) => Some(request),
            JsonRpcMessage::Notification(mut notification) => {
                let taken = self.takes(notification.notification)?;
                notification.notification = taken;
                Some(JsonRpcMessage::Notification(notification))
            }
        }
    }
}

/// A transport, tapped; without an inlet it is as it was.
pub(crate) struct Tap<T> {
    inner: T,
    inlet: Option<Arc<Inlet>>,
    flow: Flow,
}

impl<T> Tap<T> {
    pub(crate) fn new(inner: T, inlet: Option<Arc<Inlet>>) -> Self {
        Self {
            inner,
            inlet,
            flow: Flow::new(Instant::now()),
        }
    }
}

impl<T: Transport<RoleClient>> Transport<RoleClient> for Tap<T> {
    type Error = T::Error;

    fn send(
        &mut self,
        item: ClientJsonRpcMessage,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        if let (Some(inlet), JsonRpcMessage::Request(request)) = (&self.inlet, &item)
            && let Some(Marked(call)) = request.request.extensions().get()
        {
            let token = request.request.get_meta().get_progress_token();
            inlet.calls.leaves(call, &request.id, token);
        }
        self.inner.send(item)
    }

    /// Safe to cancel: how long to wait follows from what is kept, and a message that was received is dealt with at once.
    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        let Some(inlet) = self.inlet.clone() else {
            return self.inner.receive().await;
        };
        loop {
            if let Some(pause) = self.flow.pause(Instant::now()) {
                tokio::time::sleep(pause).await;
            }
            let message = self.inner.receive().await?;
            if !matches!(message, JsonRpcMessage::Response(_)) {
                self.flow.count(Instant::now());
            }
            if let Some(passed) = inlet.inbound(message) {
                return Some(passed);
            }
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.inner.close().await
    }
}

/// A bucket of messages.
struct Flow {
    level: f64,
    at: Instant,
}

impl Flow {
    fn new(now: Instant) -> Self {
        Self {
            level: f64::from(BURST),
            at: now,
        }
    }

    fn refill(&mut self, now: Instant) {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * f64::from(PER_SECOND);
        self.level = (self.level + gained).min(f64::from(BURST));
        self.at = now;
    }

    fn count(&mut self, now: Instant) {
        self.refill(now);
        self.level -= 1.0;
    }

    /// How long to wait before the next message may be read.
    fn pause(&mut self, now: Instant) -> Option<Duration> {
        self.refill(now);
        // A little at a time: timers count in milliseconds.
        (self.level < 1.0).then(|| Duration::from_secs_f64((10.0 - self.level) / f64::from(PER_SECOND)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_slowed_to_its_rate() {
        let begun = Instant::now();
        let mut now = begun;
        let mut flow = Flow::new(now);
        for _ in 0..12_000 {
            if let Some(pause) = flow.pause(now) {
                now += pause;
            }
            flow.count(now);
        }
        let took = now - begun;
        assert!(
            (Duration::from_secs(9)..Duration::from_secs(11)).contains(&took),
            "{took:?}"
        );
    }
}
