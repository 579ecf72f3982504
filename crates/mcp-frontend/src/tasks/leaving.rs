//! Prompts that were just given up, and those that come after them.
//!
//! The lifecycle API interrupts sessions, and with the running turn it takes back those that wait. A client that cancels
//! one prompt and sends the next at once must not lose that one, too: the next is accepted after the first was taken
//! back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use session_core::id::SessionId;
use tokio_util::sync::CancellationToken;

/// How long a prompt waits for one before it to be taken back.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leaving(Arc<Mutex<Vec<Entry>>>);

#[derive(Debug, Clone)]
struct Entry {
    session: SessionId,
    /// Whoever waited for it gave up.
    cancelled: CancellationToken,
    /// It was taken back, or came to its end.
    gone: CancellationToken,
}

/// A prompt that somebody waits for, or that is being taken back. Dropped when it is neither any more.
#[derive(Debug)]
pub(crate) struct Place {
    all: Leaving,
    gone: CancellationToken,
}

impl Leaving {
    /// Somebody waits for a prompt of this session until `cancelled`.
    pub(crate) fn enter(&self, session: SessionId, cancelled: CancellationToken) -> Place {
        let gone = CancellationToken::new();
        self.entries().push(Entry {
            session,
            cancelled,
            gone: gone.clone(),
        });
        Place {
            all: self.clone(),
            gone,
        }
    }

    /// Waits until no prompt of this session is given up and not taken back yet.
    pub(crate) async fn settle(&self, session: &SessionId) {
        let leaving: Vec<_> = {
            let entries = self.entries();
            let left = entries
                .iter()
                .filter(|entry| entry.session == *session && entry.cancelled.is_cancelled());
            left.map(|entry| entry.gone.clone()).collect()
        };
        let settled = async {
            for gone in leaving {
                gone.cancelled().await;
            }
        };
        if tokio::time::timeout(PATIENCE, settled).await.is_err() {
            tracing::warn!(%session, "a prompt that was given up is not taken back yet");
        }
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gone.cancel();
        self.all.entries().retain(|entry| !entry.gone.is_cancelled());
    }
}
