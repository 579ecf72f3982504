//! A server to try clients on, without an engine: its containers are tasks of this process and its agents answer at once.
//!
//! `cargo run -p mcp-frontend --example in_memory` serves standard input and output;
//! `… --example in_memory -- 127.0.0.1:3001 TOKEN` serves HTTP.

use std::process::ExitCode;
use std::sync::Arc;

use mcp_frontend::{HttpOptions, McpOptions, McpServer};
use session_core::error::{Error, ErrorKind, Result};
use session_core::policy::mounts::HostPaths;
use testkit::harness::Site;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::WARN)
        .init();
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, source = ?std::error::Error::source(&error), "it cannot be served");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<()> {
    let failed = |message: &'static str| {
        move |source: std::io::Error| Error::new(ErrorKind::HostIo, "serve", message).with_source(source)
    };
    let site = Site::new()?;
    let manager = Arc::new(site.manager().await?);
    let host = HostPaths {
        state_dir: site.state_dir(),
        ..HostPaths::default()
    };
    let server = McpServer::new(manager, McpOptions::new(host));
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(token)) = (arguments.next(), arguments.next()) else {
        return server.serve_stdio(std::future::pending()).await;
    };
    let listener = TcpListener::bind(address)
        .await
        .map_err(failed("nobody can listen there"))?;
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    server
        .serve_http(listener, HttpOptions::new(token.into()), stop)
        .await
}
