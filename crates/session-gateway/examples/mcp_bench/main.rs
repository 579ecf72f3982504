//! What the MCP gateway costs: the same server, called directly with the protocol's library and through the gateway's door.
//!
//! `mcp_bench WHAT COUNT` prints one JSON document; `cargo xtask bench --only gateway` runs it, built for release, and puts the
//! figures into its table. `mcp_bench serve TOOLS` is the server.

#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a program whose result is what it prints"
)]

#[path = "../mcp_door/door.rs"]
mod door;

mod client;
mod kills;
mod listing;
mod server;
mod speed;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use session_gateway::mcp::upstream::supervise;

use self::door::{Door, SUPERVISE};

/// Everything here can fail in many ways, and is only ever shown.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The token of the session whose door is asked.
const TOKEN: &str = "session-token-of-the-bench";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Before there are threads.
    if arguments == [SUPERVISE] {
        return ExitCode::from(u8::from(supervise().is_err()));
    }
    // What speaks HTTP here asks for one even where there is no TLS.
    let _ours_or_there_before = rustls::crypto::ring::default_provider().install_default();
    let ran = tokio::runtime::Runtime::new().map_err(Into::into);
    match ran.and_then(|runtime| runtime.block_on(run(&arguments))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &[String]) -> Result<()> {
    let [what, count] = arguments else {
        return Err("say what, and how often: calls, rate, list, kills".into());
    };
    let count: usize = count.parse()?;
    let figures = match what.as_str() {
        "serve" => return server::serve(count).await,
        "calls" => speed::calls(count).await?,
        "rate" => speed::rate(count).await?,
        "list" => listing::list(count).await?,
        "kills" => kills::kills(count).await?,
        other => return Err(format!("nothing here is called {other}").into()),
    };
    println!("{figures}");
    Ok(())
}

/// The door of a session with these servers, each this program with so many tools.
async fn open(place: &Path, servers: &[String], tools: usize) -> Result<Door> {
    let program = std::env::current_exe()?;
    // All of them are listed, however many there are.
    let mut text = "search_above = 100000\n".to_owned();
    for server in servers {
        text.push_str(&format!(
            "[servers.{server}]\ncommand = {program:?}\nargs = [\"serve\", \"{tools}\"]\n"
        ));
    }
    text.push_str(&format!(
        "[profiles.default]\nservers = {servers:?}\nsearch = false\n"
    ));
    let file = place.join("servers.toml");
    std::fs::write(&file, text)?;
    Ok(Door::open(&file, &place.join("state"), TOKEN.to_owned().into()).await?)
}

/// Times in seconds.
fn seconds(times: &[Duration]) -> Value {
    json!(times.iter().map(Duration::as_secs_f64).collect::<Vec<_>>())
}
