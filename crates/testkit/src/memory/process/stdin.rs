//! A process's input: one task feeds the pipe, and a write with a key happens once whichever link it comes on.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use session_link::{ErrorKind, LinkError, Result, WriteOutcome};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

/// Writes that wait for the process; more wait at the host.
const QUEUE: usize = 4;

/// What a pipe holds before its writer waits.
pub(super) const PIPE: usize = 64 << 10;

/// Where input goes: a pipe or a terminal.
pub(super) type Sink = Box<dyn AsyncWrite + Send + Unpin>;

struct Input {
    bytes: Bytes,
    written: Option<oneshot::Sender<()>>,
}

struct State {
    queue: Option<mpsc::Sender<Input>>,
    key: Option<u64>,
}

/// See the module.
pub(in crate::memory) struct Stdin(Mutex<State>);

impl Stdin {
    /// The way to `pipe`, if there is one, and the task that owns it.
    pub(super) fn new(pipe: Option<Sink>) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, inputs) = mpsc::channel(QUEUE);
        let state = State {
            queue: pipe.is_some().then_some(queue),
            key: None,
        };
        let task = async move {
            if let Some(pipe) = pipe {
                feed(pipe, inputs).await;
            }
        };
        (Self(Mutex::new(state)), task)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn key(&self) -> Option<u64> {
        self.lock().key
    }

    /// No more input, after what is queued.
    pub(in crate::memory) fn close(&self) {
        self.lock().queue = None;
    }

    /// Writes without a key; what the process does not take is dropped.
    pub(super) async fn write(&self, bytes: Bytes) {
        let queue = self.lock().queue.clone();
        if let Some(queue) = queue {
            let _ = queue.send(Input { bytes, written: None }).await;
        }
    }

    /// Writes once per key, and returns when the pipe has taken all of it.
    pub(in crate::memory) async fn write_once(&self, key: u64, bytes: Bytes) -> Result<WriteOutcome> {
        let queue = {
            let state = self.lock();
            if state.key.is_some_and(|highest| key <= highest) {
                return Ok(WriteOutcome::Duplicate);
            }
            state.queue.clone().ok_or_else(closed)?
        };
        let place = queue.reserve_owned().await.map_err(|_gone| closed())?;
        let (sender, written) = oneshot::channel();
        {
            let mut state = self.lock();
            if state.key.is_some_and(|highest| key <= highest) {
                return Ok(WriteOutcome::Duplicate);
            }
            state.key = Some(key);
            place.send(Input {
                bytes,
                written: Some(sender),
            });
        }
        written.await.map_err(|_gone| closed())?;
        Ok(WriteOutcome::Written)
    }
}

impl std::fmt::Debug for Stdin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stdin")
            .field("key", &self.key())
            .finish_non_exhaustive()
    }
}

fn closed() -> LinkError {
    LinkError::new(
        ErrorKind::StdinClosed,
        "write_stdin",
        "the process takes no (more) input",
    )
}

async fn feed(mut pipe: Sink, mut inputs: mpsc::Receiver<Input>) {
    while let Some(Input { bytes, written }) = inputs.recv().await {
        if pipe.write_all(&bytes).await.is_err() {
            return;
        }
        if let Some(written) = written {
            // Who asked may have gone away.
            let _ = written.send(());
        }
    }
}
