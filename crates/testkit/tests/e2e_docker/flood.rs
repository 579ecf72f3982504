//! Output that nobody reads, or not fast enough: it costs the manager nothing, and what is lost is said.
//!
//! A caller that is there is waited for, as at the other end of a pipe. Without one, the oldest output goes.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use libtest_mimic::Trial;
use session_core::api::SessionApi;
use session_core::command::{CommandEvent, CommandExit, CommandRequest, OnDisconnect, RunningCommand};
use session_core::id::SessionId;
use testkit::model::Script;

use super::world::World;
use super::{Outcome, test};

const FLOOD: u64 = 1 << 30;
/// What promise 4 allows.
const GROWTH: u64 = 8 << 20;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test(
            "a_flood_that_nobody_reads_costs_the_manager_nothing",
            Script::new,
            unread,
        ),
        test(
            "a_flood_without_a_caller_loses_the_oldest_and_says_so",
            Script::new,
            detached,
        ),
        test("a_flood_that_is_read_comes_whole", Script::new, read),
    ]
}

async fn unread(world: Arc<World>) -> Outcome {
    let (session, before) = quiet_session(&world).await?;
    let mut running = world.manager.command(&session, flood()).await?;
    // Long enough for a gigabyte to arrive, if anything took it.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(
        world.run(&session, &["true"]).await?.exit.code,
        Some(0),
        "its neighbours run"
    );
    expect_small(before)?;
    let read = drain(&mut running, before).await?;
    assert_eq!(
        (read.lost, read.exit.output_bytes),
        (0, FLOOD),
        "a caller that is there is waited for"
    );
    Ok(())
}

async fn detached(world: Arc<World>) -> Outcome {
    let (session, before) = quiet_session(&world).await?;
    let request = CommandRequest {
        on_disconnect: OnDisconnect::Detach,
        ..flood()
    };
    let running = world.manager.command(&session, request).await?;
    let id = running.id;
    drop(running);
    let mut wait = CommandRequest::new(["sh", "-c", "while pgrep -x head >/dev/null; do sleep 0.1; done"]);
    wait.time_limit = Some(Duration::from_secs(120));
    assert_eq!(
        world.run_request(&session, wait).await?.exit.code,
        Some(0),
        "the flood ends"
    );
    let mut running = world.manager.attach_command(&session, &id, 0).await?;
    let read = drain(&mut running, before).await?;
    assert_eq!((read.exit.code, read.exit.output_bytes), (Some(0), FLOOD));
    assert!(read.lost > 0, "a bound of a gigabyte is none");
    Ok(())
}

async fn read(world: Arc<World>) -> Outcome {
    let (session, before) = quiet_session(&world).await?;
    let mut running = world.manager.command(&session, flood()).await?;
    let read = drain(&mut running, before).await?;
    assert_eq!((read.lost, read.exit.output_bytes), (0, FLOOD));
    Ok(())
}

fn flood() -> CommandRequest {
    CommandRequest::new(["head", "-c", &FLOOD.to_string(), "/dev/zero"])
}

/// A session that has run a command, and the memory of this process, which keeps no log from now on.
async fn quiet_session(world: &World) -> Result<(SessionId, u64), Box<dyn std::error::Error + Send + Sync>> {
    world.stop_logging();
    let session = world.session().await?;
    world.run(&session, &["true"]).await?;
    Ok((session, resident()?))
}

struct Drained {
    lost: u64,
    exit: CommandExit,
}

/// Reads to the end: every byte once, or said to be lost, and nothing of it stays here.
async fn drain(
    running: &mut RunningCommand,
    before: u64,
) -> Result<Drained, Box<dyn std::error::Error + Send + Sync>> {
    let (mut position, mut lost, mut looked) = (0, 0, 0);
    while let Some(event) = running.events.next().await {
        match event? {
            CommandEvent::Output { offset, bytes, .. } => {
                assert_eq!(offset, position, "nothing is missing without a word");
                position += bytes.len() as u64;
                if position - looked > 64 << 20 {
                    looked = position;
                    expect_small(before)?;
                }
            }
            CommandEvent::Gap { from, to } => {
                assert_eq!(from, position);
                lost += to - from;
                position = to;
            }
            CommandEvent::Exited(exit) => {
                assert_eq!(position, FLOOD);
                return Ok(Drained { lost, exit });
            }
        }
    }
    Err("the command did not end".into())
}

fn expect_small(before: u64) -> Outcome {
    let grown = resident()?.saturating_sub(before);
    assert!(grown <= GROWTH, "the manager grew by {grown} bytes");
    Ok(())
}

/// The memory of this process, which is the manager's.
fn resident() -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .ok_or("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024)
}
