//! What the gateway adds to a call, and how many it passes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use serde_json::{Value, json};

use super::client::Client;
use super::server::TOOL;
use super::{Result, open, seconds};

/// Sides take turns after so many calls: whatever disturbs the machine disturbs both.
const BATCH: usize = 50;
/// Calls under way at once, of all sessions together; each has one connection of its own.
const SESSIONS: usize = 4;
const AT_ONCE: usize = 16;
const SERVER: &str = "echo";

/// One call after the other.
pub(super) async fn calls(count: usize) -> Result<Value> {
    let place = tempfile::tempdir()?;
    let door = open(place.path(), &[SERVER.to_owned()], 1).await?;
    let (ours, baseline) = (Client::at_door(&door).await?, Client::direct(1).await?);
    let tool = format!("{SERVER}__{TOOL}");
    // The first call starts the server.
    batch(&ours, &tool).await?;
    batch(&baseline, TOOL).await?;
    let (mut our_times, mut baseline_times) = (Vec::new(), Vec::new());
    for _ in 0..count.div_ceil(BATCH) {
        our_times.extend(batch(&ours, &tool).await?);
        baseline_times.extend(batch(&baseline, TOOL).await?);
    }
    ours.leave().await?;
    baseline.leave().await?;
    door.close().await;
    Ok(json!({ "ours": seconds(&our_times), "baseline": seconds(&baseline_times) }))
}

async fn batch(client: &Client, tool: &str) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(BATCH);
    for _ in 0..BATCH {
        let started = Instant::now();
        client.call(tool).await?;
        times.push(started.elapsed());
    }
    Ok(times)
}

/// Many at once: how long all of them took, in several rounds.
pub(super) async fn rate(count: usize) -> Result<Value> {
    const ROUNDS: usize = 5;
    let place = tempfile::tempdir()?;
    let door = open(place.path(), &[SERVER.to_owned()], 1).await?;
    let mut ours = Vec::new();
    let mut baseline = Vec::new();
    for _ in 0..SESSIONS {
        ours.push(Arc::new(Client::at_door(&door).await?));
        baseline.push(Arc::new(Client::direct(1).await?));
    }
    let tool = format!("{SERVER}__{TOOL}");
    round(&ours, &tool, BATCH).await?;
    round(&baseline, TOOL, BATCH).await?;
    let (mut our_times, mut baseline_times) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        our_times.push(round(&ours, &tool, count).await?);
        baseline_times.push(round(&baseline, TOOL, count).await?);
    }
    drop((ours, baseline));
    door.close().await;
    Ok(json!({ "count": count, "ours": seconds(&our_times), "baseline": seconds(&baseline_times) }))
}

async fn round(clients: &[Arc<Client>], tool: &str, count: usize) -> Result<Duration> {
    let each = count.div_ceil(clients.len() * AT_ONCE);
    let started = Instant::now();
    let callers = clients
        .iter()
        .flat_map(|client| (0..AT_ONCE).map(move |_| client));
    let callers = callers.map(|client| {
        let (client, tool) = (Arc::clone(client), tool.to_owned());
        let caller = tokio::spawn(async move {
            for _ in 0..each {
                client.call(&tool).await?;
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        });
        async move { caller.await? }
    });
    try_join_all(callers).await?;
    Ok(started.elapsed())
}
