//! Streamable HTTP on the session's loopback port: who may talk to the endpoint, and how much of it they may hold.
//!
//! The protocol itself is the library's; this stands in front of it. Whoever comes is asked for the right Host and
//! Origin first, then for the session's token. Bodies are read whole within a bound and a time, and weighed, before the
//! library sees them.

mod body;
mod clients;
mod early;
mod gate;
mod service;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::Response;
use hyper_util::rt::{TokioIo, TokioTimer};
use secrecy::SecretString;
use session_core::runtime::BoxedByteStream;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;

pub(super) use self::body::Taken;
use self::service::Service;
use super::core::Core;

/// How long the header of a request may take to arrive, and a connection may say nothing between requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(120);
const MAX_HEADERS: usize = 64;
/// Header lines and what else is buffered of a request, in bytes.
const MAX_BUFFER: usize = 64 << 10;
/// How long connections may take to come to their end.
const DRAIN: Duration = Duration::from_secs(2);
/// What a connection too many is told.
const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

type AnswerBody = UnsyncBoxBody<Bytes, Infallible>;
type Answer = Response<AnswerBody>;

/// See the module.
pub(super) struct Http {
    core: Arc<Core>,
    service: Service,
    connections: Semaphore,
}

impl Http {
    pub(super) fn new(core: Arc<Core>, token: SecretString) -> Self {
        Self {
            service: Service::new(core.clone(), token),
            connections: Semaphore::new(core.options.max_connections),
            core,
        }
    }

    /// Sessions of the protocol that there are.
    #[cfg(test)]
    pub(super) async fn sessions(&self) -> usize {
        self.service.sessions().await
    }

    /// Serves one connection until it is closed or the endpoint is. Dropping the future cuts the connection.
    pub(super) async fn serve(&self, mut tunnel: BoxedByteStream) {
        let Ok(_place) = self.connections.try_acquire() else {
            tracing::debug!("a session has as many connections to its MCP endpoint as it may");
            let refusing = async {
                tunnel.write_all(TOO_MANY).await?;
                tunnel.shutdown().await
            };
            let _ = tokio::time::timeout(DRAIN, refusing).await;
            return;
        };
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_BUFFER)
            .half_close(false);
        let mut connection = pin!(http.serve_connection(TokioIo::new(tunnel), self.service.clone()));
        // The connection is polled where it is and goes on below; the other only says that it should not.
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.core.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::time::timeout(DRAIN, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended
            && !error.is_timeout()
        {
            tracing::debug!(%error, "a connection to the MCP endpoint broke");
        }
    }
}
