//! Output that nobody reads: it costs the manager nothing, and what is lost is said.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use libtest_mimic::Trial;
use session_core::api::SessionApi;
use session_core::command::{CommandEvent, CommandRequest};
use testkit::model::Script;

use super::world::World;
use super::{Outcome, test};

const FLOOD: u64 = 1 << 30;
/// What promise 4 allows.
const GROWTH: u64 = 8 << 20;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("a_flood_that_nobody_reads_costs_the_manager_nothing", Script::new, unread),
        test("a_flood_that_is_read_comes_whole", Script::new, read),
    ]
}

fn flood() -> CommandRequest {
    CommandRequest::new(["head", "-c", &FLOOD.to_string(), "/dev/zero"])
}

async fn unread(world: Arc<World>) -> Outcome {
    let session = world.session().await?;
    world.run(&session, &["true"]).await?;
    let before = resident()?;
    let mut running = world.manager.command(&session, flood()).await?;
    // Neighbours are not blocked, and the command ends although nobody reads.
    let ended = "until ! pgrep -x head >/dev/null; do sleep 0.1; done";
    let mut wait = CommandRequest::new(["sh", "-c", ended]);
    wait.time_limit = Some(Duration::from_secs(120));
    assert_eq!(world.run_request(&session, wait).await?.exit.code, Some(0), "the flood ends");
    let grown = resident()?.saturating_sub(before);
    assert!(grown <= GROWTH, "the manager grew by {grown} bytes");

    let (mut position, mut lost, mut ended) = (0, 0, None);
    while let Some(event) = running.events.next().await {
        match event? {
            CommandEvent::Output { offset, bytes, .. } => {
                assert_eq!(offset, position, "nothing is missing without a word");
                position += bytes.len() as u64;
            }
            CommandEvent::Gap { from, to } => {
                assert_eq!(from, position);
                lost += to - from;
                position = to;
            }
            CommandEvent::Exited(exit) => ended = Some(exit),
        }
    }
    let exit = ended.ok_or("it ended")?;
    assert_eq!((exit.code, exit.output_bytes, position), (Some(0), FLOOD, FLOOD));
    assert!(lost > 0, "a bound of a gigabyte is none");
    let grown = resident()?.saturating_sub(before);
    assert!(grown <= GROWTH, "the manager grew by {grown} bytes while it read");
    Ok(())
}

async fn read(world: Arc<World>) -> Outcome {
    let session = world.session().await?;
    world.run(&session, &["true"]).await?;
    let before = resident()?;
    let mut running = world.manager.command(&session, flood()).await?;
    let (mut position, mut most) = (0, 0);
    while let Some(event) = running.events.next().await {
        match event? {
            CommandEvent::Output { offset, bytes, .. } => {
                assert_eq!(offset, position);
                position += bytes.len() as u64;
                if position % (64 << 20) < bytes.len() as u64 {
                    most = most.max(resident()?.saturating_sub(before));
                }
            }
            CommandEvent::Gap { from, to } => panic!("a gap from {from} to {to} although everything was read at once"),
            CommandEvent::Exited(exit) => assert_eq!(exit.output_bytes, FLOOD),
        }
    }
    assert_eq!(position, FLOOD);
    assert!(most <= GROWTH, "the manager grew by {most} bytes");
    Ok(())
}

/// The memory of this process, which is the manager's.
fn resident() -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024)
}
