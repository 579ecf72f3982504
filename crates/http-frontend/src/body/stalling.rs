//! Bodies of requests that must go on arriving.

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

/// That nothing came for too long.
#[derive(Debug)]
pub(crate) struct Stall;

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing more of the body arrived in time")
    }
}

impl StdError for Stall {}

/// Whether a body broke off because it stalled.
pub(crate) fn is_stall(error: &axum::Error) -> bool {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        if error.is::<Stall>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// A body that fails with [`Stall`] when its reader waits for longer than it may.
pub(crate) struct Stalling {
    body: Body,
    patience: Duration,
    /// Runs while the reader waits.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stalling {
    /// Empty bodies, which most are, stay as they are.
    pub(crate) fn guard(body: Body, patience: Duration) -> Body {
        if hyper::body::Body::is_end_stream(&body) {
            return body;
        }
        Body::new(Self {
            body,
            patience,
            timer: None,
        })
    }
}

impl hyper::body::Body for Stalling {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.timer = None;
            return Poll::Ready(frame);
        }
        let patience = this.patience;
        let timer = this
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + patience)));
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(axum::Error::new(Stall)))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
