//! From the thread that packs, which blocks, to the stream, which does not: a short queue, and an end that is said.

use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::writer::Writer;
use super::{Failure, OPERATION};
use crate::api::ArchiveStream;
use crate::error::{Error, ErrorKind, Result};

/// Chunks between the thread and the reader.
const QUEUE: usize = 4;

/// The archive that `work` writes on a thread of its own, which starts when the stream is polled first.
pub(super) fn stream_of<W>(work: W) -> ArchiveStream
where
    W: FnOnce(&mut Writer) -> std::result::Result<(), Failure> + Send + 'static,
{
    stream::try_unfold(State::Start(work), |state| async move {
        let (mut chunks, thread) = match state {
            State::Start(work) => start(work),
            State::Running(chunks, thread) => (chunks, thread),
        };
        fail::fail_point!("transfer.pack.chunk", |_| crate::fault::host(OPERATION));
        if let Some(chunk) = chunks.recv().await {
            return Ok(Some((chunk, State::Running(chunks, thread))));
        }
        // Only the thread's own word makes the archive complete: a queue also ends when the thread dies.
        match thread.await {
            Ok(Ok(())) => Ok(None),
            Ok(Err(error)) => Err(error),
            Err(died) => {
                Err(Error::new(ErrorKind::Internal, OPERATION, "the packing thread died").with_source(died))
            }
        }
    })
    .boxed()
}

enum State<W> {
    Start(W),
    Running(mpsc::Receiver<Bytes>, JoinHandle<Result<()>>),
}

fn start<W>(work: W) -> (mpsc::Receiver<Bytes>, JoinHandle<Result<()>>)
where
    W: FnOnce(&mut Writer) -> std::result::Result<(), Failure> + Send + 'static,
{
    let (sender, chunks) = mpsc::channel(QUEUE);
    let thread = tokio::task::spawn_blocking(move || {
        let mut writer = Writer::new(sender);
        match work(&mut writer).and_then(|()| Ok(writer.finish()?)) {
            // Nobody reads any more, so nobody hears of it either.
            Err(Failure::Unread) => Ok(()),
            Err(Failure::Told(error)) => Err(error),
            Ok(()) => Ok(()),
        }
    });
    (chunks, thread)
}
