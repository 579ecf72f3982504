//! Bodies of answers, seen to their end: their bytes are counted, and subscriptions end with the server.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio_util::sync::WaitForCancellationFutureOwned;

/// Who wants to know how a body ended. Told once, when it is dropped at the latest.
pub(crate) trait Watched: Send + Unpin + 'static {
    /// `bytes` were taken by the connection.
    fn ended(&mut self, bytes: u64);
}

/// See the module.
pub(crate) struct Measured<W: Watched> {
    body: Body,
    bytes: u64,
    watcher: W,
    /// When a body without an end of its own shall end.
    closing: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl<W: Watched> Measured<W> {
    pub(crate) fn new(body: Body, watcher: W, closing: Option<WaitForCancellationFutureOwned>) -> Self {
        Self {
            body,
            bytes: 0,
            watcher,
            closing: closing.map(Box::pin),
        }
    }
}

impl<W: Watched> hyper::body::Body for Measured<W> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                this.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            Poll::Ready(_) => {}
            // What is there already goes out before the end.
            Poll::Pending => {
                if let Some(closing) = &mut this.closing
                    && closing.as_mut().poll(cx).is_ready()
                {
                    return Poll::Ready(None);
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<W: Watched> Drop for Measured<W> {
    fn drop(&mut self) {
        self.watcher.ended(self.bytes);
    }
}
