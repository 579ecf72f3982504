//! TLS towards hosts that get a credential: the door is their client, in the place of the program inside.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::ConfigBuilderExt;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::denial::Failure;
use super::target::Host;

/// Makes TLS connections. The system's authorities are read at the first one.
pub(crate) struct TlsClient {
    authorities: Option<RootCertStore>,
    connector: OnceCell<TlsConnector>,
    handshake_timeout: Duration,
}

impl TlsClient {
    pub(crate) fn new(authorities: Option<RootCertStore>, handshake_timeout: Duration) -> Self {
        Self {
            authorities,
            connector: OnceCell::new(),
            handshake_timeout,
        }
    }

    /// The handshake, for the host's name.
    pub(crate) async fn connect(
        &self,
        host: &Host,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let name = ServerName::try_from(host.as_str().to_owned())
            .map_err(|_| Failure::Unreachable("no TLS certificate can be for this host's name."))?;
        self.connect_as(name, stream).await
    }

    /// The handshake, for a name or an address.
    pub(crate) async fn connect_as(
        &self,
        name: ServerName<'static>,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let connector = self
            .connector
            .get_or_try_init(|| self.make())
            .await
            .map_err(|error| {
                tracing::error!(%error, "this machine cannot make TLS connections");
                Failure::NoTls
            })?;
        let shown = name.to_str().into_owned();
        match timeout(self.handshake_timeout, connector.connect(name, stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => {
                tracing::warn!(host = shown, %error, "a TLS handshake failed");
                Err(Failure::Unreachable(
                    "the TLS handshake with the host failed, perhaps because of its certificate.",
                ))
            }
            Err(_elapsed) => Err(Failure::ConnectTimedOut),
        }
    }

    async fn make(&self) -> io::Result<TlsConnector> {
        let authorities = self.authorities.clone();
        // The system's authorities are files, so not on an async thread.
        let config = tokio::task::spawn_blocking(move || {
            let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(io::Error::other)?;
            let builder = match authorities {
                Some(authorities) => builder.with_root_certificates(authorities),
                None => builder.with_native_roots()?,
            };
            Ok::<_, io::Error>(builder.with_no_client_auth())
        });
        let mut config = config.await.map_err(io::Error::other)??;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }
}
