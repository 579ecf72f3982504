//! The MCP gateway for clients of any kind, without an engine: one session's door at a port of loopback.
//!
//! `cargo run -p session-gateway --example mcp_door -- SERVERS_TOML STATE_DIRECTORY TOKEN` serves the profile `default` and says
//! where. `cargo xtask conformance` runs it.

mod door;

use std::path::Path;
use std::process::ExitCode;

use session_core::error::{Error, ErrorKind, Result};
use session_gateway::mcp::upstream::supervise;

use self::door::{Door, SUPERVISE};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Before there are threads.
    if arguments == [SUPERVISE] {
        return ExitCode::from(u8::from(supervise().is_err()));
    }
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter("warn,session_gateway=debug")
        .init();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, source = ?std::error::Error::source(&error), "the door cannot be served");
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "whoever starts it reads there where the door is"
)]
fn run(arguments: &[String]) -> Result<()> {
    let failed = |message: &'static str| Error::new(ErrorKind::InvalidArgument, "serve an MCP door", message);
    let [servers, state, token] = arguments else {
        return Err(failed("it is told other things than it needs")
            .with_hint("name servers.toml, a directory for what is kept, and a token"));
    };
    let runtime = tokio::runtime::Runtime::new();
    let runtime = runtime.map_err(|source| failed("there is no asynchronous runtime").with_source(source))?;
    runtime.block_on(async {
        let door = Door::open(Path::new(servers), Path::new(state), token.clone().into()).await?;
        eprintln!("MCP door at {}", door.address);
        let _asked_to_end = tokio::signal::ctrl_c().await;
        door.close().await;
        Ok(())
    })
}
