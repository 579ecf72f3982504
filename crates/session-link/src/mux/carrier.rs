//! The carrier as yamux sees it, with fewer system calls.
//!
//! yamux writes the 12 bytes of a frame's header and its body apart, and reads them apart. Here short writes wait for
//! what follows them (a body, or the flush), and short reads are served from a buffer; bodies pass through uncopied.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Writes up to this size are kept for company.
const SHORT_WRITE: usize = 1024;

/// Kept bytes are written out beyond this size.
const WRITE_BUFFER: usize = 8 << 10;

/// Enough for many headers and short bodies; a long body's first part is copied once, so not more.
const READ_BUFFER: usize = 8 << 10;

/// A carrier with short reads and writes gathered.
#[derive(Debug)]
pub(super) struct Carrier<IO> {
    io: IO,
    read: Box<[u8]>,
    readable: std::ops::Range<usize>,
    unwritten: BytesMut,
}

impl<IO> Carrier<IO> {
    pub(super) fn new(io: IO) -> Self {
        let read = vec![0; READ_BUFFER].into_boxed_slice();
        Self {
            io,
            read,
            readable: 0..0,
            unwritten: BytesMut::with_capacity(SHORT_WRITE),
        }
    }
}

impl<IO: AsyncRead + Unpin> futures::io::AsyncRead for Carrier<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, target: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.readable.is_empty() {
            if target.len() >= READ_BUFFER {
                let mut buffer = ReadBuf::new(target);
                ready!(Pin::new(&mut this.io).poll_read(cx, &mut buffer))?;
                return Poll::Ready(Ok(buffer.filled().len()));
            }
            let mut buffer = ReadBuf::new(&mut this.read);
            ready!(Pin::new(&mut this.io).poll_read(cx, &mut buffer))?;
            this.readable = 0..buffer.filled().len();
        }
        let taken = this.readable.len().min(target.len());
        let start = this.readable.start;
        target[..taken].copy_from_slice(&this.read[start..start + taken]);
        this.readable.start += taken;
        Poll::Ready(Ok(taken))
    }
}

impl<IO: AsyncWrite + Unpin> Carrier<IO> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unwritten.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.unwritten))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unwritten.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what was kept together with `bytes`; says how many of `bytes` are gone.
    fn poll_write_together(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let kept = self.unwritten.len();
            let parts = [IoSlice::new(&self.unwritten), IoSlice::new(bytes)];
            let written = match kept {
                0 => ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?,
                _ => ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &parts))?,
            };
            self.unwritten.advance(written.min(kept));
            if written > kept || written == 0 {
                return Poll::Ready(Ok(written.saturating_sub(kept)));
            }
        }
    }
}

impl<IO: AsyncWrite + Unpin> futures::io::AsyncWrite for Carrier<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.len() > SHORT_WRITE || this.unwritten.len() + bytes.len() > WRITE_BUFFER {
            return this.poll_write_together(cx, bytes);
        }
        this.unwritten.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}
