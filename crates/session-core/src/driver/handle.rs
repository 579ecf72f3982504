//! The way to a session's task: bounded requests in, the link out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use session_link::Link;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::Instrument as _;

use super::connect::Linked;
use super::inbox::Inbox;
use super::{Answer, Driver, Foundation, QUEUE, Request};
use crate::ambient::Ambient;
use crate::error::{Error, ErrorKind, Result};
use crate::gateway::ProviderAccount;
use crate::runtime::ContainerEventKind;
use crate::session::Carrier;
use crate::store::SessionRecord;

/// A way to a session's task.
#[derive(Clone)]
pub(crate) struct DriverHandle {
    requests: mpsc::Sender<Request>,
    link: watch::Receiver<Option<Linked>>,
    coming_back: Arc<AtomicBool>,
}

impl DriverHandle {
    /// Starts the task of a session; `record` is its record as stored. The returned future is the task.
    pub(crate) fn new(
        foundation: Foundation,
        record: &SessionRecord,
        shutdown: tokio_util::sync::CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (requests, inbox) = mpsc::channel(QUEUE);
        let (link_out, link) = watch::channel(None);
        let coming_back = Arc::<AtomicBool>::default();
        let driver = Driver::new(foundation, record, link_out, coming_back.clone());
        // No request's child, whoever asked first for the session: the task serves all of them.
        let span = tracing::info_span!(parent: None, "session", session = %record.info.id);
        let task = driver.run(Inbox::new(inbox), shutdown).instrument(span);
        let handle = Self {
            requests,
            link,
            coming_back,
        };
        (handle, task)
    }

    /// Whether the task has ended.
    pub(crate) fn is_ended(&self) -> bool {
        self.requests.is_closed()
    }

    /// Asks the task and waits for its answer.
    pub(crate) async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T> {
        let (answer, reply) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_| ended())?;
        reply.await.map_err(|_| ended())?
    }

    /// Tells the task; it answers by what it does.
    pub(crate) async fn tell(&self, request: Request) -> Result<()> {
        self.requests.send(request).await.map_err(|_| ended())
    }

    /// Tells the task that there may be work, unless it has so much to do that it will look by itself.
    pub(crate) fn nudge(&self, account: Option<ProviderAccount>) {
        let _ = self.requests.try_send(Request::Work(account));
    }

    /// Tells the task what happened to its container, unless it has so much to do that it will look by itself.
    pub(crate) fn container(&self, event: ContainerEventKind) {
        let _ = self.requests.try_send(Request::Container(event));
    }

    /// Whether the task brings its session back, now or in a while.
    pub(crate) fn is_coming_back(&self) -> bool {
        self.coming_back.load(Ordering::Relaxed)
    }

    /// Has the task look at its container, unless it has so much to do that it will by itself.
    pub(crate) fn look(&self) {
        let _ = self.requests.try_send(Request::Look);
    }

    /// The link, made if there is none. Does not pass through the task when it is up.
    pub(crate) async fn link(&self) -> Result<(Link, Carrier)> {
        match self.current() {
            Some(linked) => Ok((linked.link, linked.carrier)),
            None => self.ask(Request::Link).await,
        }
    }

    /// The link for running programs, and what they find around them. Does not pass through the task but for the first
    /// time.
    pub(crate) async fn link_for_programs(&self, record: &SessionRecord) -> Result<(Link, Arc<Ambient>)> {
        let linked = match self.current() {
            Some(linked) if linked.ambient.is_some() => linked,
            _ => {
                let record = Box::new(record.clone());
                self.ask(|answer| Request::Programs(record, answer)).await?
            }
        };
        Ok((linked.link, linked.ambient.unwrap_or_default()))
    }

    /// Whether this process answers the session's doors: it owns the agent, and holds its MCP servers.
    pub(crate) fn answers_doors(&self) -> bool {
        self.current().is_some_and(|linked| linked.all_doors)
    }

    fn current(&self) -> Option<Linked> {
        let current = self.link.borrow();
        current
            .as_ref()
            .filter(|linked| !linked.link.is_closed())
            .cloned()
    }
}

fn ended() -> Error {
    Error::new(
        ErrorKind::StateConflict,
        "reach the session",
        "the session was destroyed or the manager stops",
    )
}
