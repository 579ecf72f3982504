//! What this program is when a test starts it.

use std::io::{BufRead as _, Write as _};
use std::process::ExitCode;

use rmcp::model::{ServerCapabilities, ServerConfig};
use rmcp::{ServerHandler, ServiceExt as _};
use serde_json::{Value, json};

use crate::support::{Lab, server};

/// Plays a role, when it is one.
pub(crate) fn run(role: &str, mut arguments: impl Iterator<Item = String>) -> Option<ExitCode> {
    match role {
        "__supervise" => Some(ExitCode::from(u8::from(
            session_gateway::mcp::supervise().is_err(),
        ))),
        "__modern" => Some(block_on(modern())),
        "__old" => Some(old(&arguments.next().unwrap_or_default())),
        "__owner" => {
            let (directory, journal) = (arguments.next()?, arguments.next()?);
            Some(block_on(owner(directory, journal)))
        }
        _ => None,
    }
}

fn block_on(role: impl Future<Output = ()>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(role);
    ExitCode::SUCCESS
}

/// A server of the newest revision.
async fn modern() {
    struct Modern;
    impl ServerHandler for Modern {
        fn get_info(&self) -> ServerConfig {
            ServerConfig::new(ServerCapabilities::default())
        }
    }
    let running = Modern.serve(rmcp::transport::stdio()).await.unwrap();
    drop(running.waiting().await);
}

/// A server that knows `initialize` alone. `ends`: it ends when anything else comes first; `ignores`: it does not answer
/// that; `prints NAME`: it answers any call with that variable.
#[expect(
    clippy::disallowed_methods,
    reason = "what it was given is what the test asks for"
)]
fn old(how: &str) -> ExitCode {
    let mut stdout = std::io::stdout();
    let mut begun = false;
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let request: Value = serde_json::from_str(&line).unwrap();
        let id = &request["id"];
        let answer = match request["method"].as_str().unwrap_or_default() {
            "initialize" => {
                begun = true;
                json!({ "jsonrpc": "2.0", "id": id, "result": {
                    "protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": { "name": "old", "version": "1" },
                } })
            }
            _ if id.is_null() => continue,
            _ if !begun && how == "ends" => return ExitCode::from(1),
            _ if !begun && how == "ignores" => continue,
            _ => match how.strip_prefix("prints ") {
                Some(name) => {
                    let value = std::env::vars()
                        .find(|(known, _)| known == name)
                        .unwrap_or_default()
                        .1;
                    std::io::stderr()
                        .write_all(format!("{name}={value}\n").as_bytes())
                        .unwrap();
                    let text = json!([{ "type": "text", "text": format!("{name}={value}") }]);
                    json!({ "jsonrpc": "2.0", "id": id, "result": { "content": text } })
                }
                None => {
                    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32601, "message": "unknown" } })
                }
            },
        };
        stdout.write_all(format!("{answer}\n").as_bytes()).unwrap();
        stdout.flush().unwrap();
    }
    ExitCode::SUCCESS
}

/// Somebody who owns a server, and is killed.
async fn owner(directory: String, journal: String) {
    let lab = Lab::at(directory.into());
    let modes = [
        "--mode",
        "ignore-sigterm",
        "--mode",
        "double-fork",
        "--journal",
        &journal,
    ];
    let connection = lab.connect("stubborn", server(&modes)).await.unwrap();
    println!("ready");
    connection.ended().await;
}
