//! What changes about servers, on its way to whoever listens: one relay for each endpoint.
//!
//! Servers say as much as they like and agents read as slowly as they like, so nothing waits here: a listener that is too
//! far behind is told that everything may have changed.
#![expect(
    deprecated,
    reason = "logging is on its way out of the protocol, and servers use it"
)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use futures::stream::{self, BoxStream, StreamExt, select_all};
use rmcp::model::{LoggingLevel, LoggingMessageNotificationParam};
use tokio::sync::broadcast::{self, error::RecvError, error::TryRecvError};

use super::core::Core;
use super::upstream::Upstream;
use crate::mcp::servers::Change;

/// Signals that a listener may be behind.
const SIGNALS: usize = 256;
/// A log message longer than this, as JSON, is not passed on.
const MAX_LOG: usize = 64 << 10;
/// Nor is news of a resource with a longer URI.
const MAX_URI: usize = 8 << 10;

/// One thing that listeners may want to know.
#[derive(Debug, Clone)]
pub(super) enum Signal {
    Tools,
    Prompts,
    Resources,
    /// The resource of a server.
    Updated(usize, Arc<str>),
    /// A server's message.
    Log(usize, Arc<LoggingMessageNotificationParam>),
}

/// What a listener is told at once.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) tools: bool,
    pub(super) prompts: bool,
    pub(super) resources: bool,
    pub(super) updated: Vec<(usize, Arc<str>)>,
    pub(super) logs: Vec<(usize, Arc<LoggingMessageNotificationParam>)>,
}

impl News {
    fn add(&mut self, signal: Signal) {
        match signal {
            Signal::Tools => self.tools = true,
            Signal::Prompts => self.prompts = true,
            Signal::Resources => self.resources = true,
            Signal::Updated(server, uri) => {
                if !self
                    .updated
                    .iter()
                    .any(|known| known.0 == server && known.1 == uri)
                {
                    self.updated.push((server, uri));
                }
            }
            Signal::Log(server, message) => self.logs.push((server, message)),
        }
    }

    fn add_all(&mut self) {
        (self.tools, self.prompts, self.resources) = (true, true, true);
    }
}

/// Hears what the relay says from its creation on.
#[derive(Debug)]
pub(super) struct Listener(broadcast::Receiver<Signal>);

impl Listener {
    /// Waits for news and takes all that there are. `None` when there will be no more. Cancel-safe.
    pub(super) async fn news(&mut self) -> Option<News> {
        let mut news = News::default();
        match self.0.recv().await {
            Ok(signal) => news.add(signal),
            Err(RecvError::Lagged(_)) => news.add_all(),
            Err(RecvError::Closed) => return None,
        }
        for _ in 0..SIGNALS {
            match self.0.try_recv() {
                Ok(signal) => news.add(signal),
                Err(TryRecvError::Lagged(_)) => news.add_all(),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        Some(news)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Relay {
    signals: broadcast::Sender<Signal>,
    running: AtomicBool,
}

impl Relay {
    pub(super) fn new() -> Self {
        Self {
            signals: broadcast::Sender::new(SIGNALS),
            running: AtomicBool::new(false),
        }
    }

    /// Listens. The servers are listened to since the first one does.
    pub(super) fn listen(core: &Arc<Core>) -> Listener {
        let listener = Listener(core.relay.signals.subscribe());
        if !core.relay.running.swap(true, Ordering::AcqRel) {
            let changes = select_all(
                core.servers
                    .iter()
                    .enumerate()
                    .map(|(at, server)| changes(at, server)),
            );
            core.tasks
                .spawn(run(Arc::downgrade(core), core.stop.clone(), changes));
        }
        listener
    }

    /// Tells whoever listens.
    pub(super) fn tell(&self, signal: Signal) {
        // Nobody may listen.
        let _ = self.signals.send(signal);
    }

    /// Tells that what a server offers is known now.
    pub(super) fn tell_of_offer(&self) {
        for signal in [Signal::Tools, Signal::Prompts, Signal::Resources] {
            self.tell(signal);
        }
    }
}

/// The core is not kept alive by what is passed on in it.
async fn run(
    core: Weak<Core>,
    stop: tokio_util::sync::CancellationToken,
    mut changes: stream::SelectAll<BoxStream<'static, Heard>>,
) {
    loop {
        // Both arms only wait; a change that is taken is passed on before the next.
        let heard = tokio::select! {
            heard = changes.next() => heard,
            () = stop.cancelled() => return,
        };
        let (Some((server, change)), Some(core)) = (heard, core.upgrade()) else {
            return;
        };
        match change {
            None => core.relay.tell_of_offer(),
            Some(change) => {
                if let Some(signal) = signal(&core, server, change) {
                    core.relay.tell(signal);
                }
            }
        }
    }
}

/// A change at a server; `None` for more of them than could be listened to.
type Heard = (usize, Option<Change>);

fn changes(at: usize, server: &Arc<dyn Upstream>) -> BoxStream<'static, Heard> {
    stream::unfold(server.changes(), move |mut changes| async move {
        match changes.recv().await {
            Ok(change) => Some(((at, Some(change)), changes)),
            Err(RecvError::Lagged(_)) => Some(((at, None), changes)),
            Err(RecvError::Closed) => None,
        }
    })
    .boxed()
}

fn signal(core: &Core, server: usize, change: Change) -> Option<Signal> {
    match change {
        Change::ToolsChanged => Some(Signal::Tools),
        Change::PromptsChanged => Some(Signal::Prompts),
        Change::ResourcesChanged => Some(Signal::Resources),
        Change::ResourceUpdated(uri) => (uri.len() <= MAX_URI).then(|| Signal::Updated(server, uri.into())),
        Change::Log(message) => {
            let fits = serde_json::to_vec(&message.data).is_ok_and(|data| data.len() <= MAX_LOG);
            fits.then(|| Signal::Log(server, named(core, server, &message)))
        }
    }
}

/// The message under the name of its server.
fn named(
    core: &Core,
    server: usize,
    message: &LoggingMessageNotificationParam,
) -> Arc<LoggingMessageNotificationParam> {
    let mut message = message.clone();
    if let Some(server) = core.servers.get(server) {
        let logger = match &message.logger {
            Some(logger) => format!("{}/{logger}", server.name()),
            None => server.name().to_string(),
        };
        message.logger = Some(logger);
    }
    message.meta = None;
    Arc::new(message)
}

/// Whether somebody who wants messages from a level on wants this one.
pub(super) fn is_wanted(level: LoggingLevel, wanted: Option<LoggingLevel>) -> bool {
    wanted.is_none_or(|wanted| level as u8 >= wanted as u8)
}
