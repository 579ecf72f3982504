//! One stream of a link: whole, as bytes in both directions, or as two halves that take chunks as they came.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::{Stream as _, io::AsyncRead as _, io::AsyncWrite as _};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::OwnedSemaphorePermit,
    task::coop,
};

/// A stream. Dropping it resets it, unless it was shut down in both directions.
#[derive(Debug)]
pub struct MuxStream {
    stream: yamux::Stream,
    permit: OwnedSemaphorePermit,
}

impl MuxStream {
    pub(super) fn new(stream: yamux::Stream, permit: OwnedSemaphorePermit) -> Self {
        Self { stream, permit }
    }

    /// Two halves for two owners; the stream ends with the last of them.
    pub fn split(self) -> (MuxReader, MuxWriter) {
        let shared = Arc::new(Shared {
            stream: Mutex::new(self.stream),
            _permit: self.permit,
        });
        (
            MuxReader {
                shared: shared.clone(),
            },
            MuxWriter { shared },
        )
    }
}

impl AsyncRead for MuxStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        target: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = Pin::new(&mut self.get_mut().stream);
        let read = ready!(stream.poll_read(cx, target.initialize_unfilled()))?;
        target.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MuxStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_close(cx)
    }
}

#[derive(Debug)]
struct Shared {
    // Held for the length of a poll only. Reader and writer are woken apart: yamux keeps a waker for each direction.
    stream: Mutex<yamux::Stream>,
    _permit: OwnedSemaphorePermit,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, yamux::Stream> {
        // A poll that panicked leaves a stream that is at worst closed.
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The half that reads.
#[derive(Debug)]
pub struct MuxReader {
    shared: Arc<Shared>,
}

impl MuxReader {
    /// The next chunk as it came, uncopied; `None` at the end of the stream, which says nothing about why it ended.
    /// Cancel-safe.
    ///
    /// # Errors
    /// Whatever the carrier failed with.
    pub async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        std::future::poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// See [`MuxReader::chunk`].
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        // A flood is always readable: without a budget its reader would never let another task run.
        let budget = ready!(coop::poll_proceed(cx));
        let packet = ready!(Pin::new(&mut *self.shared.lock()).poll_next(cx));
        budget.made_progress();
        Poll::Ready(packet.transpose().map(|packet| packet.map(Bytes::from_owner)))
    }
}

/// The half that writes.
#[derive(Debug)]
pub struct MuxWriter {
    shared: Arc<Shared>,
}

impl MuxWriter {
    /// Writes all of `bytes`; waits while the other end's window is full. Not cancel-safe: a part may have gone.
    ///
    /// # Errors
    /// Whatever the carrier failed with, `WriteZero` once the stream is closed.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written =
                std::future::poll_fn(|cx| Pin::new(&mut *self.shared.lock()).poll_write(cx, bytes)).await?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// Says that nothing more will be written.
    ///
    /// # Errors
    /// Whatever the carrier failed with.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| Pin::new(&mut *self.shared.lock()).poll_close(cx)).await
    }
}
