//! The MCP gateway for clients of any kind, without an engine: one session's door at a port of loopback.
//!
//! `cargo run -p session-gateway --example mcp_door -- SERVERS_TOML STATE_DIRECTORY TOKEN` serves the profile `default` and says
//! where. `cargo xtask conformance` runs it.

mod door;

use std::path::Path;
use std::process::ExitCode;

use session_core::error::{Error, ErrorKind, Result};

use self::door::Door;

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter("warn,session_gateway=debug")
        .init();
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, source = ?std::error::Error::source(&error), "the door cannot be served");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [servers, state, token] = &arguments[..] else {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            "serve an MCP door",
            "it is told other things than it needs",
        )
        .with_hint("name servers.toml, a directory for what is kept, and a token"));
    };
    let door = Door::open(Path::new(servers), Path::new(state), token.clone().into()).await?;
    eprintln!("MCP door at {}", door.address);
    let _asked_to_end = tokio::signal::ctrl_c().await;
    door.close().await;
    Ok(())
}
