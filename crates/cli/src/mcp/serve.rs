//! From settings to a server that runs, and to its end.

use std::path::PathBuf;
use std::sync::Arc;

use mcp_frontend::McpServer;
use session_core::error::{Error, ErrorKind, Result};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::keeper::ProcessKeeper;
use super::settings::{HttpSettings, McpSettings};
use crate::compose::Backend;
use crate::daemon::connect::{Told, Wish};
use crate::deploying::ClientFiles;
use crate::printer::Printer;
use crate::settings::Overrides;
use crate::settings::env::Environment;

/// Serves until the client leaves or `stop` is cancelled, then lets go of all sessions without ending any.
pub(super) async fn serve(
    settings: McpSettings,
    program: PathBuf,
    environment: &dyn Environment,
    printer: &Printer,
    backend: &dyn Backend,
    stop: CancellationToken,
) -> Result<()> {
    let McpSettings {
        base,
        options,
        http,
        embedded,
    } = settings;
    // Before anything is opened: what would be refused is refused at once.
    let http = match http {
        Some(http) => Some((listen(&http).await?, http.options)),
        None => None,
    };
    let opened = if embedded {
        backend.open(&base).await?
    } else {
        let overrides = Overrides {
            state_dir: Some(base.state_dir.clone()),
            ..Overrides::default()
        };
        let told = Told {
            settings: &base,
            overrides: &overrides,
            environment,
            // Clients may bring accounts of their own.
            needs_model: false,
        };
        let wish = Wish {
            state_dir: &base.state_dir,
            told: Some(told),
            printer,
        };
        backend.connect(wish).await?
    };
    let files = ClientFiles {
        home: base.home.clone(),
        state_dir: base.state_dir.clone(),
        storage: base.mcp.catalog.storage.clone(),
        program,
    };
    let mut server =
        McpServer::new(opened.api, options).with_catalog(base.mcp.catalog(), Some(Arc::new(files)));
    if !opened.lasting {
        server = server.with_keeper(Arc::new(ProcessKeeper::new(&base.state_dir)));
    }
    let stopped = async move { stop.cancelled().await };
    let served = match http {
        Some((listener, options)) => server.serve_http(listener, options, stopped).await,
        None => server.serve_stdio(stopped).await,
    };
    opened.close.await;
    served
}

async fn listen(http: &HttpSettings) -> Result<TcpListener> {
    let failed = |source| {
        Error::new(
            ErrorKind::HostIo,
            "listen for MCP clients",
            "the address cannot be used",
        )
        .with_context("address", format_args!("{} port {}", http.host, http.port))
        .with_hint("another program may listen there; choose with MCP_HOST and MCP_PORT")
        .with_source(source)
    };
    let listener = TcpListener::bind((http.host.as_str(), http.port))
        .await
        .map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    tracing::info!(target: "cofferdam_mcp", "listening on http://{address}/mcp");
    Ok(listener)
}
