//! One connection: who is at its other end, and how it is cut.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use metrics::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::tokens::Identity;

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// The server's own user, or root.
    Local {
        /// As which user.
        uid: u32,
    },
    /// Somebody at an address, who needs a token.
    Remote {
        /// Where from.
        address: IpAddr,
        /// Whether the connection is encrypted.
        encrypted: bool,
    },
}

impl Peer {
    /// As the audit log names whoever has shown no token.
    pub(crate) fn actor(self) -> String {
        match self {
            Self::Local { uid } => format!("socket uid {uid}"),
            Self::Remote { address, .. } => format!("address {address}"),
        }
    }

    pub(crate) fn transport(self) -> &'static str {
        match self {
            Self::Local { .. } => "socket",
            Self::Remote { encrypted: false, .. } => "tcp",
            Self::Remote { encrypted: true, .. } => "tls",
        }
    }
}

/// See the module. Lives as long as its stream, also when that has become a WebSocket.
#[derive(Debug)]
pub(crate) struct Connection {
    number: u64,
    pub(crate) peer: Peer,
    /// Fires when the connection shall break at once.
    pub(crate) cut: CancellationToken,
    /// The token of the request that is under way, or was last: requests of a connection come one after the other.
    identity: Mutex<Option<Identity>>,
    upgraded: AtomicBool,
    open: Arc<Open>,
    gauges: Gauges,
    _permit: OwnedSemaphorePermit,
}

/// What a connection is counted by.
#[derive(Debug, Clone)]
pub(crate) struct Gauges {
    pub(crate) connections: Gauge,
    pub(crate) streams: Gauge,
}

/// All connections that are open.
#[derive(Debug)]
pub(crate) struct Open {
    next: AtomicU64,
    all: Mutex<HashMap<u64, Weak<Connection>>>,
    count: watch::Sender<usize>,
}

impl Default for Open {
    fn default() -> Self {
        Self {
            next: AtomicU64::new(0),
            all: Mutex::default(),
            count: watch::Sender::new(0),
        }
    }
}

impl Open {
    pub(crate) fn enter(
        self: &Arc<Self>,
        peer: Peer,
        cut: CancellationToken,
        gauges: Gauges,
        permit: OwnedSemaphorePermit,
    ) -> Arc<Connection> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        gauges.connections.increment(1.0);
        let connection = Arc::new(Connection {
            number,
            peer,
            cut,
            identity: Mutex::default(),
            upgraded: AtomicBool::new(false),
            open: self.clone(),
            gauges,
            _permit: permit,
        });
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(number, Arc::downgrade(&connection));
        self.count.send_replace(all.len());
        connection
    }

    /// How many there are, from now on.
    pub(crate) fn count(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }

    /// How many of them are WebSockets: somebody's command or terminal.
    pub(crate) fn streams(&self) -> usize {
        let all: Vec<_> = {
            let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
            all.values().filter_map(Weak::upgrade).collect()
        };
        // One that is let go of here takes the lock.
        all.iter()
            .filter(|connection| connection.upgraded.load(Ordering::Relaxed))
            .count()
    }

    /// Cuts those whose last request came with a token that opens nothing any more.
    pub(crate) fn cut_unless(&self, holds: impl Fn(&Identity) -> bool) {
        let all: Vec<_> = {
            let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
            all.values().filter_map(Weak::upgrade).collect()
        };
        for connection in all {
            let identity = *connection.identity.lock().unwrap_or_else(PoisonError::into_inner);
            if identity.is_some_and(|identity| !holds(&identity)) {
                connection.cut.cancel();
            }
        }
    }
}

impl Connection {
    /// Whose request is under way.
    pub(crate) fn identify(&self, identity: Option<Identity>) {
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = identity;
    }

    /// It is a WebSocket from now on.
    pub(crate) fn upgrade(&self) {
        if !self.upgraded.swap(true, Ordering::Relaxed) {
            self.gauges.streams.increment(1.0);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.gauges.connections.decrement(1.0);
        if *self.upgraded.get_mut() {
            self.gauges.streams.decrement(1.0);
        }
        let mut all = self.open.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&self.number);
        self.open.count.send_replace(all.len());
    }
}

type Cut = Pin<Box<WaitForCancellationFutureOwned>>;

/// A WebSocket's other end may take nothing for so many times as long: a person reads there.
const UPGRADED_PATIENCE: u32 = 10;

/// The bytes of a connection: they end when it is cut, and when the other end takes nothing for too long.
pub(crate) struct Guarded<S> {
    io: S,
    /// One for each half: they may be waited for by different tasks.
    read_cut: Cut,
    write_cut: Cut,
    write_timeout: Option<Duration>,
    /// Runs while the other end takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    connection: Arc<Connection>,
}

impl<S> Guarded<S> {
    /// `write_timeout` is how long the other end may take nothing; for ever when `None`.
    pub(crate) fn new(io: S, connection: Arc<Connection>, write_timeout: Option<Duration>) -> Self {
        Self {
            io,
            read_cut: Box::pin(connection.cut.clone().cancelled_owned()),
            write_cut: Box::pin(connection.cut.clone().cancelled_owned()),
            write_timeout,
            stalled: None,
            connection,
        }
    }

    fn watch_stall<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let Some(mut patience) = self.write_timeout else {
            return polled;
        };
        if self.connection.upgraded.load(Ordering::Relaxed) {
            patience *= UPGRADED_PATIENCE;
        }
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the other end takes nothing",
            ))),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn poll_cut(cut: &mut Cut, cx: &mut Context<'_>) -> io::Result<()> {
    // Polled again after it fired, it fires again.
    if cut.as_mut().poll(cx).is_pending() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "the connection was cut",
    ))
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        poll_cut(&mut self.read_cut, cx)?;
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        poll_cut(&mut self.write_cut, cx)?;
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch_stall(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        poll_cut(&mut self.write_cut, cx)?;
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.watch_stall(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        poll_cut(&mut self.write_cut, cx)?;
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.watch_stall(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        poll_cut(&mut self.write_cut, cx)?;
        let polled = Pin::new(&mut self.io).poll_shutdown(cx);
        self.watch_stall(cx, polled)
    }
}
