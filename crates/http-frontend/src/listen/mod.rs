//! Where clients come from: the socket, and addresses with or without TLS.

mod socket;
mod tls;

use std::net::SocketAddr;

use session_core::error::{Error, ErrorKind, Result};
use tokio::net::TcpListener;

use crate::options::HttpOptions;
use crate::tokens::TokenTable;

pub use self::socket::{MAX_SOCKET_PATH, ServerSocket, bind_socket};
pub use self::tls::TlsConfig;
pub(crate) use self::tls::{Certificate, acceptor};

/// Where clients come from.
#[derive(Debug, Default)]
pub struct Listeners {
    /// The socket.
    pub unix: Option<ServerSocket>,
    /// Addresses, with or without TLS.
    pub tcp: Vec<(TcpListener, Option<TlsConfig>)>,
}

/// Refuses what must not listen on an address.
pub(crate) fn judge(
    listener: &TcpListener,
    encrypted: bool,
    options: &HttpOptions,
    tokens: &TokenTable,
) -> Result<SocketAddr> {
    const OPERATION: &str = "listen for clients";
    let address = listener.local_addr().map_err(|source| {
        Error::new(ErrorKind::HostIo, OPERATION, "the listener has no address").with_source(source)
    })?;
    let bad = |message: &'static str| {
        Error::new(ErrorKind::InvalidArgument, OPERATION, message).with_context("address", address)
    };
    if !address.ip().is_loopback() && !encrypted && !options.allow_remote {
        return Err(bad("the address is not loopback, and the connection is not encrypted")
            .with_hint("listen on 127.0.0.1, give a certificate and its key, or say that a proxy in front of it encrypts"));
    }
    if options.allowed_hosts.is_empty() {
        return Err(bad("no host name is allowed")
            .with_hint("name at least the one under which clients address the server"));
    }
    if !tokens.can_have_any() {
        return Err(bad("nobody could come in: there are no tokens")
            .with_hint("make one with `cofferdam token create`"));
    }
    Ok(address)
}
