//! A process's input: one task owns the pipe, so that a write that was begun is finished whoever asked for it went away.

use std::{
    cell::{Cell, RefCell},
    io,
};

use bytes::Bytes;
use session_link::{ErrorKind, LinkError, Result, WriteOutcome};
use tokio::{
    io::AsyncWriteExt,
    net::unix::pipe,
    sync::{mpsc, oneshot},
};

/// Writes that wait for the process; more wait at the host.
const QUEUE: usize = 4;

struct Input {
    bytes: Bytes,
    written: Option<oneshot::Sender<()>>,
}

/// The way to a process's input. Keys make a write happen once, whichever link it comes on.
#[derive(Debug)]
pub(crate) struct Stdin {
    queue: RefCell<Option<mpsc::Sender<Input>>>,
    key: Cell<Option<u64>>,
}

impl Stdin {
    /// The way to `pipe`, if there is one, and the task that owns it.
    pub(super) fn new(pipe: Option<pipe::Sender>) -> (Self, impl Future<Output = ()>) {
        let (queue, inputs) = mpsc::channel(QUEUE);
        let stdin = Self {
            queue: RefCell::new(pipe.is_some().then_some(queue)),
            key: Cell::new(None),
        };
        let task = async move {
            if let Some(pipe) = pipe {
                // The process closed its input, or ended: who waits learns it as the queue is dropped.
                let _ = feed(pipe, inputs).await;
            }
        };
        (stdin, task)
    }

    /// The highest key so far.
    pub(crate) fn key(&self) -> Option<u64> {
        self.key.get()
    }

    /// No more input, after what is queued.
    pub(crate) fn close(&self) {
        self.queue.borrow_mut().take();
    }

    /// Writes without a key; what the process does not take is dropped.
    pub(crate) async fn write(&self, bytes: Bytes) {
        if let Ok(queue) = self.queue() {
            // Refused only if the process takes no input any more.
            let _ = queue.send(Input { bytes, written: None }).await;
        }
    }

    /// Writes once per key, and returns when the pipe has taken all of it.
    pub(crate) async fn write_once(&self, key: u64, bytes: Bytes) -> Result<WriteOutcome> {
        if self.key.get().is_some_and(|highest| key <= highest) {
            return Ok(WriteOutcome::Duplicate);
        }
        let place = self.queue()?.reserve_owned().await.map_err(|_gone| closed())?;
        // Nothing awaits between the last look at the key and the queue, so that a key is used up exactly when its bytes
        // are on their way, even if this request is dropped at any point.
        if self.key.get().is_some_and(|highest| key <= highest) {
            return Ok(WriteOutcome::Duplicate);
        }
        self.key.set(Some(key));
        let (sender, written) = oneshot::channel();
        place.send(Input {
            bytes,
            written: Some(sender),
        });
        written.await.map_err(|_gone| closed())?;
        Ok(WriteOutcome::Written)
    }

    fn queue(&self) -> Result<mpsc::Sender<Input>> {
        self.queue.borrow().clone().ok_or_else(closed)
    }
}

fn closed() -> LinkError {
    LinkError::new(
        ErrorKind::StdinClosed,
        "write_stdin",
        "the process takes no (more) input",
    )
}

async fn feed(mut pipe: pipe::Sender, mut inputs: mpsc::Receiver<Input>) -> io::Result<()> {
    while let Some(Input { bytes, written }) = inputs.recv().await {
        pipe.write_all(&bytes).await?;
        if let Some(written) = written {
            // Who asked may have gone away.
            let _ = written.send(());
        }
    }
    Ok(())
}
