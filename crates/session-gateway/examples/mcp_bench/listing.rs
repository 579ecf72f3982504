//! The list of many servers' tools, from what is known of them.

use std::time::Instant;

use serde_json::{Value, json};

use super::client::Client;
use super::server::TOOL;
use super::{Result, open, seconds};

const SERVERS: usize = 50;
const TOOLS: usize = 20;

/// So many times the whole list, by a session of which no server was started.
pub(super) async fn list(count: usize) -> Result<Value> {
    let place = tempfile::tempdir()?;
    let servers: Vec<String> = (0..SERVERS).map(|number| format!("server-{number}")).collect();
    learn(place.path(), &servers).await?;
    let door = open(place.path(), &servers, TOOLS).await?;
    let client = Client::at_door(&door).await?;
    let mut times = Vec::new();
    // The first one reads the files; later sessions of the process find them read.
    for _ in 0..=count {
        let started = Instant::now();
        let listed = client.tools().await?;
        times.push(started.elapsed());
        if listed != SERVERS * TOOLS {
            return Err(format!("{listed} tools are listed, not {}", SERVERS * TOOLS).into());
        }
    }
    client.leave().await?;
    door.close().await;
    Ok(json!({ "first": seconds(&times[..1]), "ours": seconds(&times[1..]) }))
}

/// Each server is started once, so that its tools are known.
async fn learn(place: &std::path::Path, servers: &[String]) -> Result<()> {
    let door = open(place, servers, TOOLS).await?;
    let client = Client::at_door(&door).await?;
    for server in servers {
        client.call(&format!("{server}__{TOOL}")).await?;
    }
    client.leave().await?;
    door.close().await;
    Ok(())
}
