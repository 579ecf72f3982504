//! What becomes an event of a session: a server that fails, is given up, wants a login, is taken away, or holds tools; and
//! that it works again, for those who were told that it did not.
//!
//! Servers idle and start all day, and one that crashes in a loop changes its state many times a second: nobody reads
//! that. What is told is told once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use session_core::gateway::{DoorEvent, Ledger};
use session_core::id::SessionId;
use session_core::mcp::{ServerName, ServerState, ServerStatus};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::instance::{Instance, Told};

/// How long after an event that could not be recorded it is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// What was told of one server.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Memory {
    trouble: Option<ServerState>,
    held: Vec<String>,
}

impl Memory {
    /// Whether a status is worth telling. It is remembered as told then.
    fn is_news(&mut self, status: &ServerStatus) -> bool {
        let trouble = match status.state {
            ServerState::Failed | ServerState::GaveUp | ServerState::NeedsLogin | ServerState::Removed => {
                Some(status.state)
            }
            ServerState::Ready => None,
            // Neither good nor bad.
            _ => self.trouble,
        };
        // What was given up and tried again fails again: no news.
        let still = self.trouble == Some(ServerState::GaveUp) && trouble == Some(ServerState::Failed);
        let news = (trouble != self.trouble && !still) || status.held != self.held;
        if news {
            self.trouble = trouble;
            self.held.clone_from(&status.held);
        }
        news
    }
}

/// Tells one session's ledger of its servers, until it is dropped.
pub(crate) struct Reporter {
    ledger: Arc<Mutex<Arc<dyn Ledger>>>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Reporter {
    pub(crate) fn new(session: SessionId, ledger: Arc<dyn Ledger>, instances: &[Arc<Instance>]) -> Self {
        let ledger = Arc::new(Mutex::new(ledger));
        let stop = CancellationToken::new();
        let watched = instances.iter().map(|instance| instance.watch()).collect();
        let task = tokio::spawn(report(session, Arc::clone(&ledger), watched, stop.clone()));
        Self {
            ledger,
            stop,
            task: Mutex::new(Some(task)),
        }
    }

    /// The session was admitted again.
    pub(crate) fn replace(&self, ledger: Arc<dyn Ledger>) {
        *self.ledger.lock().unwrap_or_else(PoisonError::into_inner) = ledger;
    }

    /// Ends it, and waits until it has.
    pub(crate) async fn end(&self) {
        self.stop.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            drop(task.await);
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn report(
    session: SessionId,
    ledger: Arc<Mutex<Arc<dyn Ledger>>>,
    watched: Vec<watch::Receiver<Told>>,
    stop: CancellationToken,
) {
    let mut memories: BTreeMap<ServerName, Memory> = BTreeMap::new();
    let mut watched = watched;
    loop {
        let mut failed = false;
        for told in &mut watched {
            let status = told.borrow_and_update().status.clone();
            let memory = memories.entry(status.name.clone()).or_default();
            let before = memory.clone();
            if !memory.is_news(&status) {
                continue;
            }
            let (to, name) = (
                ledger.lock().unwrap_or_else(PoisonError::into_inner).clone(),
                status.name.clone(),
            );
            if let Err(error) = to.record(DoorEvent::McpServer { status }).await {
                tracing::warn!(%session, server = %name, %error, "the state of an MCP server could not be recorded");
                *memories.entry(name).or_default() = before;
                failed = true;
            }
        }
        let again = async {
            if failed {
                tokio::time::sleep(AGAIN).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        // Every arm may be dropped: a change that is not seen now is seen in the next round.
        tokio::select! {
            () = any_changed(&mut watched) => {}
            () = again => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Waits until one of them changes. One whose owner is gone does not any more.
async fn any_changed(watched: &mut [watch::Receiver<Told>]) {
    let changes = watched.iter_mut().map(|told| {
        Box::pin(async move {
            if told.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    });
    let changes: Vec<_> = changes.collect();
    if changes.is_empty() {
        return std::future::pending().await;
    }
    futures::future::select_all(changes).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: ServerState, held: &[&str]) -> ServerStatus {
        ServerStatus {
            name: "git".parse().unwrap(),
            state,
            reason: None,
            failures: 0,
            retry_in_ms: None,
            held: held.iter().map(|name| (*name).to_owned()).collect(),
            tools: None,
        }
    }

    #[test]
    fn what_is_told_is_told_once() {
        use ServerState::{Failed, GaveUp, Idle, NeedsLogin, Ready, Starting};
        let mut memory = Memory::default();
        let steps = [
            (Idle, false),
            (Starting, false),
            (Ready, false),
            (Idle, false),
            (Failed, true),
            (Starting, false),
            (Failed, false),
            (GaveUp, true),
            (Starting, false),
            (GaveUp, false),
            (Starting, false),
            (Ready, true),
            (Starting, false),
            (Ready, false),
            (NeedsLogin, true),
            (Ready, true),
        ];
        for (step, (state, news)) in steps.into_iter().enumerate() {
            assert_eq!(
                memory.is_news(&status(state, &[])),
                news,
                "step {step}: {state:?}"
            );
        }
        assert!(memory.is_news(&status(Idle, &["log"])), "a tool is held");
        assert!(!memory.is_news(&status(Starting, &["log"])));
        assert!(memory.is_news(&status(Ready, &[])), "it is free");
    }
}
