//! Files into a container and out of it, as tar streams.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::Stream;

use super::{
    Link,
    call::{Call, Replies},
};
use crate::{
    error::{LinkError, Result},
    mux::MuxWriter,
    transfer::CopyReport,
    wire::frame::Kind,
};

/// An archive on its way in. Dropping it aborts: what was unpacked before stays.
#[derive(Debug)]
pub struct CopyIn {
    call: Call,
    writing: bool,
    _link: Link,
}

impl CopyIn {
    pub(super) async fn accepted(link: Link, mut call: Call) -> Result<Self> {
        call.first_reply::<()>().await?;
        Ok(Self {
            call,
            writing: false,
            _link: link,
        })
    }

    /// Sends the next bytes of the archive; waits while the container does not keep up. A write that is dropped
    /// unfinished spoils the transfer.
    ///
    /// # Errors
    /// What went wrong in the container: `UnsafeArchive`, `InvalidArchive`, `NoSpace`, `LimitReached`, …
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        if self.writing {
            return Err(LinkError::invalid(
                "copy_in",
                "a write before this one was dropped unfinished",
            ));
        }
        self.writing = true;
        self.call.send_bulk(Kind::Data, &bytes).await?;
        self.writing = false;
        Ok(())
    }

    /// Says that the archive is complete and waits until all of it is unpacked.
    ///
    /// # Errors
    /// See [`CopyIn::write`].
    pub async fn finish(mut self) -> Result<CopyReport> {
        if self.writing {
            return Err(LinkError::invalid(
                "copy_in",
                "a write before this one was dropped unfinished",
            ));
        }
        self.call.send(Kind::End, &[]).await?;
        self.call.reply().await
    }
}

/// An archive on its way out. Ends without an error only when it is complete. Dropping it aborts.
#[derive(Debug)]
pub struct CopyOut {
    replies: Replies,
    report: Option<CopyReport>,
    // Dropped together with the reading half: the stream ends with both.
    _writer: MuxWriter,
    _link: Link,
}

impl CopyOut {
    pub(super) async fn accepted(link: Link, mut call: Call) -> Result<Self> {
        call.first_reply::<()>().await?;
        Ok(Self {
            replies: call.replies,
            report: None,
            _writer: call.writer,
            _link: link,
        })
    }

    /// The next bytes of the archive, `None` when it is complete. Cancel-safe.
    ///
    /// # Errors
    /// `Truncated` or `Closed` if it ends early, and what went wrong in the container.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        std::future::poll_fn(|cx| self.poll_bytes(cx)).await
    }

    /// What was packed, once the archive is complete.
    pub fn report(&self) -> Option<CopyReport> {
        self.report
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if self.report.is_some() {
            return Poll::Ready(Ok(None));
        }
        Poll::Ready(match ready!(self.replies.poll_frame(cx))? {
            Some(frame) if frame.kind == Kind::Data => Ok(Some(frame.payload)),
            Some(frame) if frame.kind == Kind::End => {
                self.report = Some(self.replies.parse(&frame.payload)?);
                Ok(None)
            }
            Some(_) => Err(self.replies.broken("a frame that has no place in an archive")),
            None => Err(self.replies.cut()),
        })
    }
}

impl Stream for CopyOut {
    type Item = Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_bytes(cx).map(Result::transpose)
    }
}
