//! One instance of a server, as those see it who use it: a handle on the task that owns it (I8).
//!
//! Requests go in by a bounded queue; state, connection and offer come out by watches. A call looks at the watch first and
//! asks the owner only when there is no connection.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mcp_catalog::{ServerDefinition, Times};
use session_core::id::SessionId;
use session_core::mcp::{ServerName, ServerStatus};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::connect::Connect;
use super::hub::Hub;
use super::keeper::Keeper;
use super::live::Live;
use super::offer::Offer;
use super::places::Places;
use super::shelf::Shelf;
use crate::mcp::call::{Failure, FailureCause};
use crate::mcp::config::McpLimits;

/// Requests to one owner that wait for it.
const QUEUE: usize = 64;

/// What all instances share.
pub(crate) struct Wiring {
    pub(crate) connect: Arc<dyn Connect>,
    pub(crate) limits: McpLimits,
    pub(crate) places: Arc<Places>,
}

/// What the owner is asked for.
pub(crate) enum Command {
    /// The connection, started when need be.
    Use(oneshot::Sender<Result<Arc<Live>, Failure>>),
    /// The operator declares it so now; not at all when `None`.
    Define(Option<Arc<ServerDefinition>>),
    /// Approvals changed, here or in another process.
    Judge,
    /// What sessions subscribed to changed.
    Listen,
    /// Stop, if nobody calls: another needs the place.
    Yield(oneshot::Sender<()>),
    /// End, for good.
    End,
}

/// A status, and until when the server is held off.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) status: ServerStatus,
    pub(crate) until: Option<Instant>,
}

/// What the owner tells.
pub(crate) struct Outlets {
    pub(crate) status: watch::Sender<Told>,
    pub(crate) live: watch::Sender<Option<Arc<Live>>>,
    pub(crate) offer: watch::Sender<Option<Arc<Offer>>>,
    pub(crate) definition: watch::Sender<Arc<ServerDefinition>>,
}

/// See the module.
pub(crate) struct Instance {
    pub(crate) name: ServerName,
    pub(crate) hub: Arc<Hub>,
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Told>,
    live: watch::Receiver<Option<Arc<Live>>>,
    offer: watch::Receiver<Option<Arc<Offer>>>,
    definition: watch::Receiver<Arc<ServerDefinition>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Instance {
    /// An instance that is not started; never will be while it is `gone`. `offer` is what is known of it.
    pub(crate) fn new(
        (name, owner, definition): (ServerName, Option<SessionId>, Arc<ServerDefinition>),
        gone: bool,
        shelf: Shelf,
        offer: Option<Offer>,
        wiring: &Arc<Wiring>,
    ) -> Arc<Self> {
        let (commands, queue) = mpsc::channel(QUEUE);
        let hub = Arc::new(Hub::default());
        let offer = offer.map(Arc::new);
        let first = Told {
            status: status(&name, offer.as_deref()),
            until: None,
        };
        let (status, told) = watch::channel(first);
        let (live_out, live) = watch::channel(None);
        let (offer_out, offer) = watch::channel(offer);
        let (definition_out, definition_in) = watch::channel(Arc::clone(&definition));
        let outlets = Outlets {
            status,
            live: live_out,
            offer: offer_out,
            definition: definition_out,
        };
        let keeper = Keeper::new(
            (name.clone(), owner, definition, gone),
            Arc::clone(wiring),
            (Arc::new(shelf), Arc::clone(&hub)),
            queue,
            outlets,
        );
        let instance = Arc::new(Self {
            name,
            hub,
            commands,
            status: told,
            live,
            offer,
            definition: definition_in,
            task: Mutex::new(Some(tokio::spawn(keeper.run()))),
        });
        wiring.places.register(&instance);
        instance
    }

    pub(crate) fn definition(&self) -> Arc<ServerDefinition> {
        Arc::clone(&self.definition.borrow())
    }

    pub(crate) fn times(&self) -> Times {
        self.definition.borrow().times
    }

    pub(crate) fn offer(&self) -> Option<Arc<Offer>> {
        self.offer.borrow().clone()
    }

    pub(crate) fn status(&self) -> ServerStatus {
        let told = self.status.borrow();
        let mut status = told.status.clone();
        let left = told
            .until
            .map(|until| until.saturating_duration_since(Instant::now()));
        status.retry_in_ms = left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        status
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Told> {
        self.status.clone()
    }

    /// The connection as it is, without asking anybody.
    pub(crate) fn connected(&self) -> Option<Arc<Live>> {
        self.live.borrow().clone().filter(|live| !live.has_ended())
    }

    /// Since when nobody has called it, when it runs and nobody does.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let live = self.connected()?;
        (live.calls.under_way() == 0).then(|| live.calls.last_used())
    }

    /// The connection, started when need be.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn live(&self) -> Result<Arc<Live>, Failure> {
        if let Some(live) = self.connected() {
            return Ok(live);
        }
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::Use(reply)).await.is_err() {
            return Err(self.gone());
        }
        answer.await.unwrap_or_else(|_| Err(self.gone()))
    }

    fn gone(&self) -> Failure {
        Failure {
            server: self.name.clone(),
            cause: FailureCause::Unavailable,
            detail: "it is no longer served here".to_owned(),
        }
    }

    /// Tells the owner something. Without an owner there is nothing to tell.
    pub(crate) async fn tell(&self, command: Command) {
        drop(self.commands.send(command).await);
    }

    /// Stops it if nobody calls it.
    pub(crate) async fn yield_place(&self) {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Yield(reply)).await;
        drop(answer.await);
    }

    /// Ends it for good and returns when nothing of it is left.
    pub(crate) async fn end(&self) {
        self.tell(Command::End).await;
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(server = %self.name, %error, "the owner of an MCP server failed");
        }
    }

    /// Waits until the offer is known, for as long as it takes to start the server.
    pub(crate) async fn offered(&self) -> Result<Arc<Offer>, Failure> {
        if let Some(offer) = self.offer() {
            return Ok(offer);
        }
        self.live().await?;
        self.offer().ok_or_else(|| self.gone())
    }
}

/// The status of a server that nobody has started.
pub(crate) fn status(name: &ServerName, offer: Option<&Offer>) -> ServerStatus {
    ServerStatus {
        name: name.clone(),
        state: session_core::mcp::ServerState::Idle,
        reason: offer.and_then(|offer| offer.warning.clone()),
        failures: 0,
        retry_in_ms: None,
        held: offer.map(|offer| offer.held.clone()).unwrap_or_default(),
        tools: offer.map(|offer| u32::try_from(offer.tools.len()).unwrap_or(u32::MAX)),
    }
}

/// Times of a definition as durations.
pub(crate) fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
