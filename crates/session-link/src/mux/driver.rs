//! The one task that owns a connection: it moves bytes, opens streams on request and hands out those of the other end.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Semaphore, mpsc},
};

use super::{Ending, MAX_INCOMING, MuxStream, OpenRequest, Side, carrier::Carrier, config};
use crate::error::LinkError;

/// How long a close may take to hand over what is still in its buffers.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// Owns the connection. [`Driver::run`] is the task.
#[derive(Debug)]
pub struct Driver<IO> {
    connection: yamux::Connection<Carrier<IO>>,
    requests: mpsc::Receiver<OpenRequest>,
    /// Waits for the other end to acknowledge streams that were opened before it.
    waiting: Option<OpenRequest>,
    incoming: mpsc::Sender<MuxStream>,
    permits: Arc<Semaphore>,
    ending: Ending,
}

/// Whatever way the task ends, the link has ended then.
struct Done(Ending);

impl Drop for Done {
    fn drop(&mut self) {
        self.0.done.cancel();
    }
}

enum End {
    /// Nobody wants the link any more.
    Unwanted,
    /// The other end closed it, or the carrier failed.
    Lost,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Driver<IO> {
    pub(super) fn new(
        io: IO,
        side: Side,
        requests: mpsc::Receiver<OpenRequest>,
        incoming: mpsc::Sender<MuxStream>,
        ending: Ending,
    ) -> Self {
        let mode = match side {
            Side::Host => yamux::Mode::Client,
            Side::Init => yamux::Mode::Server,
        };
        let connection = yamux::Connection::new(Carrier::new(io), config(), mode);
        Self {
            connection,
            requests,
            waiting: None,
            incoming,
            permits: Arc::new(Semaphore::new(MAX_INCOMING)),
            ending,
        }
    }

    /// Drives the link until it is closed by either end.
    pub async fn run(mut self) {
        let done = Done(self.ending.clone());
        let asked = self.ending.asked.clone();
        let end = tokio::select! {
            // Both arms only look at state that `self` keeps: whichever loses, nothing is lost with it.
            () = asked.cancelled() => End::Unwanted,
            end = poll_fn(|cx| self.poll(cx)) => end,
        };
        if matches!(end, End::Unwanted) {
            let close = poll_fn(|cx| self.connection.poll_close(cx));
            match tokio::time::timeout(CLOSE_LIMIT, close).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "the link did not close cleanly"),
                Err(_elapsed) => tracing::debug!("the other end does not read; the link is cut"),
            }
        }
        drop(self);
        drop(done);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            if let Poll::Ready(end) = self.poll_requests(cx) {
                return Poll::Ready(end);
            }
            match self.connection.poll_next_inbound(cx) {
                Poll::Ready(Some(Ok(stream))) => self.accept(stream),
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(%error, "the link failed");
                    return Poll::Ready(End::Lost);
                }
                Poll::Ready(None) => return Poll::Ready(End::Lost),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn poll_requests(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            let answer = match self.waiting.take() {
                Some(answer) => answer,
                None => match ready!(self.requests.poll_recv(cx)) {
                    Some(answer) => answer,
                    None => return Poll::Ready(End::Unwanted),
                },
            };
            let opened = match self.connection.poll_new_outbound(cx) {
                Poll::Ready(opened) => opened,
                // So many unacknowledged streams that yamux makes no more; it wakes this task when that changes. A
                // caller that went away in the meantime is not waited for.
                Poll::Pending if !answer.is_closed() => {
                    self.waiting = Some(answer);
                    return Poll::Pending;
                }
                Poll::Pending => continue,
            };
            let opened = opened.map_err(|error| LinkError::closed("open stream").with_source(error));
            // A caller that went away drops its stream here, which costs nothing: nobody has heard of it yet.
            drop(answer.send(opened));
        }
    }

    fn accept(&mut self, stream: yamux::Stream) {
        let Ok(permit) = self.permits.clone().try_acquire_owned() else {
            tracing::debug!("too many streams from the other end; one is refused");
            return;
        };
        if self.incoming.try_send(MuxStream::new(stream, permit)).is_err() {
            tracing::debug!("nobody takes streams from the other end; one is refused");
        }
    }
}
