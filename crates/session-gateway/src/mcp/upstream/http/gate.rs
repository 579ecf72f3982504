//! The way to servers elsewhere: a name is resolved once, each address judged, and the judged address dialled.
//!
//! No proxy, no redirect, HTTP/1.1, and TLS as everywhere in the gateway.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::Full;
use hyper::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::super::life::Reason;
use super::super::network::Network;
use super::place::{self, HostPlace, Place};
use crate::egress::denial::Failure;
use crate::egress::dial::{DialFault, Dialer};
use crate::egress::tls::TlsClient;
use crate::mcp::call::FailureCause;

/// How long an unused connection is kept; shorter than servers usually do, so that it is we who close it.
const IDLE: Duration = Duration::from_secs(45);
const MAX_IDLE: usize = 8;
/// Bytes of the head of an answer.
const MAX_HEAD: usize = 64 << 10;
/// When nothing moves on a connection for so long, the host is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// A pool of connections through a gate.
pub(in crate::mcp) type Pool = Client<Gate, Full<Bytes>>;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(in crate::mcp) struct Gate {
    dialer: Arc<Dialer>,
    tls: Arc<TlsClient>,
    private: bool,
}

impl Gate {
    /// `private`: whether this machine and its networks may be reached.
    pub(in crate::mcp) fn new(network: &Network, tls: Arc<TlsClient>, private: bool) -> Self {
        let dialer = Dialer::judging(
            Arc::clone(&network.resolver),
            place::judge(private),
            network.resolve_timeout,
            network.connect_timeout,
        );
        Self {
            dialer: Arc::new(dialer),
            tls,
            private,
        }
    }

    /// A pool with nothing in it.
    pub(in crate::mcp) fn pool(self) -> Pool {
        Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .http1_max_buf_size(MAX_HEAD)
            .build(self)
    }

    /// Whether the endpoint is one that may be reached, as far as it is known without asking anybody.
    pub(in crate::mcp) fn check(&self, uri: &Uri) -> Result<(), Reason> {
        Place::read(uri, self.private).map(drop)
    }

    async fn connect(self, uri: Uri) -> Result<TokioIo<Line>, GateFault> {
        let place = Place::read(&uri, self.private)?;
        let dialled = match &place.host {
            HostPlace::Name(name) => self.dialer.dial(name, place.port).await,
            HostPlace::Addresses(_, addresses) => self.dialer.dial_addresses(addresses, place.port).await,
        };
        let stream = dialled.map_err(of_dial)?;
        keep_alive(&stream);
        let line: Box<dyn Stream> = if place.secure {
            let name = place
                .server_name()
                .ok_or_else(|| of_failure(Failure::Unresolvable))?;
            Box::new(self.tls.connect_as(name, stream).await.map_err(of_failure)?)
        } else {
            Box::new(stream)
        };
        Ok(TokioIo::new(Line(line)))
    }
}

fn keep_alive(stream: &TcpStream) {
    use rustix::net::sockopt;
    // Without it, a host that has gone away is only noticed later.
    let _ = sockopt::set_socket_keepalive(stream, true)
        .and_then(|()| sockopt::set_tcp_keepidle(stream, KEEP_ALIVE))
        .and_then(|()| sockopt::set_tcp_keepintvl(stream, KEEP_ALIVE / 3))
        .and_then(|()| sockopt::set_tcp_keepcnt(stream, 3));
}

impl tower_service::Service<Uri> for Gate {
    type Response = TokioIo<Line>;
    type Error = GateFault;
    type Future = BoxFuture<'static, Result<Self::Response, GateFault>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), GateFault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(in crate::mcp) struct GateFault(Reason);

impl From<Reason> for GateFault {
    fn from(reason: Reason) -> Self {
        Self(reason)
    }
}

impl fmt::Display for GateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.1)
    }
}

impl StdError for GateFault {}

fn of_dial(fault: DialFault) -> GateFault {
    match fault {
        DialFault::Forbidden => place::closed().into(),
        DialFault::Failed(failure) => of_failure(failure),
    }
}

fn of_failure(failure: Failure) -> GateFault {
    let (cause, told) = match failure {
        Failure::Unresolvable => (FailureCause::Missing, "its host's name has no address"),
        Failure::ResolveTimedOut => (FailureCause::Silent, "the name server did not answer in time"),
        Failure::ConnectTimedOut => (
            FailureCause::Silent,
            "its host did not take the connection in time",
        ),
        Failure::Unreachable(cause) => (FailureCause::Ended, cause.trim_end_matches('.')),
        Failure::NoTls => (
            FailureCause::Unavailable,
            "this machine has no usable root certificates (the package ca-certificates)",
        ),
        _ => (FailureCause::Ended, "the connection with its host failed"),
    };
    GateFault((cause, told.to_owned()))
}

/// What a failed request means, and whether it never reached the server.
pub(in crate::mcp) fn judge_error(error: &ClientError) -> (Option<Reason>, bool) {
    let mut next = error.source();
    while let Some(source) = next {
        if let Some(fault) = source.downcast_ref::<GateFault>() {
            return (Some(fault.0.clone()), true);
        }
        next = source.source();
    }
    (None, error.is_connect())
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection, with TLS or without.
pub(in crate::mcp) struct Line(Box<dyn Stream>);

impl Connection for Line {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}
