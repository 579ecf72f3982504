//! A server to try clients on, without an engine: its containers are tasks of this process, and its agents do as they are
//! told: `work 3` takes three seconds and says twice a second how far it is, `fail` fails, and any other prompt is
//! repeated at once.
//!
//! `cargo run -p mcp-frontend --example in_memory` serves standard input and output;
//! `… --example in_memory -- 127.0.0.1:3001 TOKEN` serves HTTP. `cargo xtask conformance` runs it.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use mcp_catalog::{Catalog, CatalogPaths};
use mcp_frontend::{HttpOptions, McpOptions, McpServer};
use session_core::error::{Error, ErrorKind, Result};
use session_core::policy::mounts::HostPaths;
use testkit::harness::Site;
use testkit::memory::AgentTurn;
use testkit::model::Gate;
use tokio::net::TcpListener;

/// How often an agent at work says how far it is.
const PACE: Duration = Duration::from_millis(500);

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter("warn,mcp_frontend=info")
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
    site.memory.agents().otherwise(turn);
    let manager = Arc::new(site.manager().await?);
    let host = HostPaths {
        state_dir: site.state_dir(),
        ..HostPaths::default()
    };
    let catalog = Catalog::new(CatalogPaths {
        servers: site.state_dir().join("servers.toml"),
        storage: site.state_dir().join("storage/mcp"),
        keys: site.state_dir().join("keys"),
    });
    let server = McpServer::new(manager, McpOptions::new(host)).with_catalog(Arc::new(catalog), None);
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

/// What an agent does with a prompt.
fn turn(prompt: &str) -> AgentTurn {
    match prompt.split_once(' ') {
        Some(("work", seconds)) => work(seconds.parse().unwrap_or(1).min(600)),
        None if prompt == "fail" => AgentTurn::new().say("I give up.").exit(1),
        _ => AgentTurn::new().say(prompt),
    }
}

fn work(seconds: u32) -> AgentTurn {
    let gates: Vec<Gate> = (0..seconds * 2).map(|_| Gate::new()).collect();
    let turn = gates
        .iter()
        .enumerate()
        .fold(AgentTurn::new(), |turn, (done, gate)| {
            turn.say(format!("{done} of {} done", gates.len())).hold(gate)
        });
    // Ends with its last gate; a turn that was interrupted leaves it opening gates that nobody waits at.
    tokio::spawn(async move {
        for gate in gates {
            tokio::time::sleep(PACE).await;
            gate.open();
        }
    });
    turn.say("done")
}
