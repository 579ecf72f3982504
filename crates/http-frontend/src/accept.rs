//! Accepting: bounded, and never stuck. Beyond its bounds the server refuses at once instead of letting clients wait.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use futures::FutureExt as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use crate::connection::{Gauges, Guarded, Open, Peer};
use crate::listen::ServerSocket;
use crate::state::AppState;

/// Header lines of a request.
const MAX_HEADERS: usize = 64;
/// Header lines and what else is buffered of a request, in bytes.
const MAX_BUFFER: usize = 64 << 10;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long those that are refused may take to read why, and how many of them at once.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
const REFUSALS: usize = 16;
/// How many are refused at once when there are no file descriptors left.
const MAX_REFUSED: usize = 64;
/// How long to wait after a connection could not be accepted.
const BREATH: Duration = Duration::from_millis(50);
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
content-type: application/problem+json\r\ncontent-length: 184\r\n\r\n\
{\"type\":\"https://cofferdam.dev/problems/unavailable\",\"title\":\"The server cannot serve now\",\"status\":503,\
\"detail\":\"there are too many connections\",\"code\":\"unavailable\",\"retryable\":true}";

/// Where clients knock.
pub(crate) enum Door {
    Socket(ServerSocket),
    Tcp(TcpListener, Option<TlsAcceptor>),
}

enum Stream {
    Socket(UnixStream),
    Tcp(TcpStream),
}

/// What all doors of a server share.
#[derive(Clone)]
pub(crate) struct Hall {
    pub(crate) state: AppState,
    pub(crate) router: Router,
    pub(crate) open: Arc<Open>,
    /// Fires when what has not ended by then is cut.
    pub(crate) cut: CancellationToken,
    /// Connections that may still begin here: the socket's are apart, so that a flood over TCP does not lock its user out.
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) refusals: Arc<Semaphore>,
}

impl Hall {
    pub(crate) fn refusals() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(REFUSALS))
    }
}

/// How many connections there may be over one kind of door: where the process may have few file descriptors, others need
/// some of them, too.
pub(crate) fn bound(asked: usize) -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let share = limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit / 4).unwrap_or(usize::MAX)
    });
    asked.min(share).max(1)
}

/// Accepts until the server ends. Then nobody can connect any more.
pub(crate) async fn accept(mut door: Door, hall: Hall) {
    let mut spare = Spare::new();
    let closing = hall.state.closing().clone();
    loop {
        // Accepting is cancel-safe: a connection that was not returned stays in the queue of the kernel.
        let accepted = tokio::select! {
            accepted = door.accept() => accepted,
            () = closing.cancelled() => break,
        };
        match accepted {
            Ok(stream) => welcome(stream, &door, &hall),
            Err(error) if is_scarce(&error) => {
                hall.state.metrics().refused("file_descriptors");
                tracing::warn!(%error, "a connection was refused: there are no file descriptors left");
                spare.refuse(&mut door);
                tokio::time::sleep(BREATH).await;
            }
            Err(error) => {
                tracing::debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
    if let Door::Socket(socket) = &door {
        socket.remove();
    }
}

impl Door {
    async fn accept(&mut self) -> io::Result<Stream> {
        match self {
            Self::Socket(socket) => Ok(Stream::Socket(socket.listener.accept().await?.0)),
            Self::Tcp(listener, _) => Ok(Stream::Tcp(listener.accept().await?.0)),
        }
    }
}

/// A file descriptor that is given up to refuse a connection when there is no other: one that waits to be accepted would
/// wait for ever.
struct Spare(Option<File>);

impl Spare {
    fn new() -> Self {
        Self(File::open("/dev/null").ok())
    }

    fn refuse(&mut self, door: &mut Door) {
        self.0 = None;
        for _ in 0..MAX_REFUSED {
            // Closed at once. Who asks next is accepted in the ordinary way, if there is room again.
            let Some(Ok(_)) = door.accept().now_or_never() else {
                break;
            };
        }
        *self = Self::new();
    }
}

fn is_scarce(error: &io::Error) -> bool {
    [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn welcome(stream: Stream, door: &Door, hall: &Hall) {
    let permit = hall.permits.clone().try_acquire_owned().ok();
    match stream {
        Stream::Socket(stream) => {
            let Some(uid) = trusted(&stream) else {
                hall.state.metrics().refused("user");
                tracing::warn!("a connection of another user was refused");
                return;
            };
            let Some(permit) = permit else {
                return refuse(stream, hall);
            };
            let hall = hall.clone();
            let tasks = hall.state.tasks().clone();
            tasks.spawn(async move { serve(stream, Peer::Local { uid }, permit, hall).await });
        }
        Stream::Tcp(stream) => {
            let tls = match door {
                Door::Tcp(_, tls) => tls.clone(),
                Door::Socket(_) => None,
            };
            match permit {
                Some(permit) => {
                    let hall = hall.clone();
                    let tasks = hall.state.tasks().clone();
                    tasks.spawn(async move { serve_tcp(stream, tls, permit, hall).await });
                }
                // Who expects a handshake would not understand.
                None if tls.is_none() => refuse(stream, hall),
                None => hall.state.metrics().refused("connections"),
            }
        }
    }
}

/// Who is at the other end, when it is the server's own user, or root.
fn trusted(stream: &UnixStream) -> Option<u32> {
    let us = rustix::process::geteuid().as_raw();
    let uid = stream.peer_cred().ok()?.uid();
    (uid == us || uid == 0).then_some(uid)
}

async fn serve_tcp(stream: TcpStream, tls: Option<TlsAcceptor>, permit: OwnedSemaphorePermit, hall: Hall) {
    let Ok(address) = stream.peer_addr().map(|peer| peer.ip().to_canonical()) else {
        return;
    };
    // Neither changes what is right or wrong: a kernel that refuses is let be.
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_socket_keepalive(&stream, true);
    let encrypted = tls.is_some();
    let peer = Peer::Remote { address, encrypted };
    let Some(tls) = tls else {
        return serve(stream, peer, permit, hall).await;
    };
    match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => serve(stream, peer, permit, hall).await,
        Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
        Err(_) => tracing::debug!("a handshake took too long"),
    }
}

async fn serve<S>(stream: S, peer: Peer, permit: OwnedSemaphorePermit, hall: Hall)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let metrics = hall.state.metrics();
    let gauges = Gauges {
        connections: metrics.connections(peer.transport()),
        streams: metrics.streams().clone(),
    };
    let connection = hall.open.enter(peer, hall.cut.child_token(), gauges, permit);
    let options = hall.state.options();
    let write_timeout = (!matches!(peer, Peer::Local { .. })).then_some(options.write_timeout);
    let io = TokioIo::new(Guarded::new(stream, connection.clone(), write_timeout));
    let router = hall.router.clone();
    let shared = connection.clone();
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(shared.clone());
        router.clone().call(request)
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_BUFFER)
        .half_close(false)
        .serve_connection(io, service)
        .with_upgrades();
    let mut served = Box::pin(served);
    let closing = hall.state.closing();
    let mut draining = false;
    loop {
        tokio::select! {
            // Kept across rounds; polling it again goes on where it was.
            outcome = &mut served => {
                if let Err(error) = outcome {
                    tracing::debug!(%error, "a connection broke");
                }
                return;
            }
            // Waiting for a token loses nothing. The connection is dropped, and with it what its client waited for.
            () = connection.cut.cancelled() => return,
            // Likewise.
            () = closing.cancelled(), if !draining => {
                draining = true;
                served.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Says why, to whoever reads it soon.
fn refuse<S>(mut stream: S, hall: &Hall)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    hall.state.metrics().refused("connections");
    let Ok(permit) = hall.refusals.clone().try_acquire_owned() else {
        return;
    };
    hall.state.tasks().spawn(async move {
        let _permit = permit;
        let telling = async {
            stream.write_all(FULL).await?;
            stream.shutdown().await?;
            // What was not read would make the kernel take the answer back.
            let mut rest = [0; 4 << 10];
            while stream.read(&mut rest).await? > 0 {}
            io::Result::Ok(())
        };
        // Whatever came of it, the connection ends.
        drop(timeout(REFUSAL_TIMEOUT, telling).await);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_is_an_answer_of_the_length_that_it_says() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{}",
            body.len()
        );
        assert!(serde_json::from_str::<http_api::Problem>(body).is_ok());
    }

    #[test]
    fn few_file_descriptors_mean_few_connections() {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let share = usize::try_from(limit.current.unwrap_or(u64::MAX) / 4).unwrap();
        assert_eq!(bound(usize::MAX), share);
        assert_eq!(bound(3), 3);
        assert_eq!(bound(0), 1);
    }
}
