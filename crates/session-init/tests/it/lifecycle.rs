//! Init itself: what it costs when nothing happens, and how it ends.

use std::time::{Duration, Instant};

use crate::fixture::{Fixture, eventually, run, runs, sh};

fn resident_kilobytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// User and system time in clock ticks.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<_> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    fields[11].parse::<u64>().expect("ticks") + fields[12].parse::<u64>().expect("ticks")
}

/// How often it gave up the processor by itself: once per wake-up.
fn wakeups(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
        .expect("a count");
    line.trim().parse().expect("a number")
}

#[tokio::test]
async fn idle_costs_nothing() {
    let fixture = Fixture::start();
    let (link, _tunnels) = fixture.link().await;
    link.ping().await.expect("an answer");
    // A build for debugging is larger than the static one, which stays under 4 MB.
    let limit = if cfg!(debug_assertions) { 16 << 10 } else { 6 << 10 };
    assert!(resident_kilobytes(fixture.pid()) < limit);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = (ticks(fixture.pid()), wakeups(fixture.pid()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((ticks(fixture.pid()), wakeups(fixture.pid())), before);
}

#[tokio::test]
async fn a_running_command_that_is_quiet_costs_nothing() {
    let fixture = Fixture::start();
    let (link, _tunnels) = fixture.link().await;
    let _process = link.run(sh("exec sleep 30")).await.expect("it runs");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = wakeups(fixture.pid());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(wakeups(fixture.pid()), before);
}

#[tokio::test]
async fn a_request_to_end_ends_everything_at_once() {
    let mut fixture = Fixture::start();
    let (link, _tunnels) = fixture.link().await;
    let spec = sh(
        "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$; exec sleep 1000' & sleep 0.1; echo $$; while :; do sleep 1; done",
    );
    let mut process = link.run(spec).await.expect("it runs");
    let mut said = crate::fixture::Said::default();
    while said.stdout.iter().filter(|byte| **byte == b'\n').count() < 2 {
        said.take(process.next().await.expect("an event").expect("more"));
    }
    let pids: Vec<u32> = said
        .out()
        .lines()
        .map(|line| line.parse().expect("a pid"))
        .collect();
    let start = Instant::now();
    let status = fixture.end();
    let took = start.elapsed();
    assert_eq!(status.code(), Some(0));
    // Without other load it takes some 5 ms.
    assert!(took < Duration::from_millis(500), "{took:?}");
    for pid in pids {
        eventually("the end", || !runs(pid)).await;
    }
    link.closed().await;
}

#[tokio::test]
async fn sixteen_commands_at_once() {
    let (_fixture, link) = Fixture::linked().await;
    let runs = (0..16).map(|number| {
        let link = link.clone();
        async move {
            let said = run(&link, sh(&format!("sleep 0.05; seq 1 20000; exit {number}"))).await;
            (said.stdout.len(), said.exit().code)
        }
    });
    let ended = futures::future::join_all(runs).await;
    let expected: Vec<_> = (0..16).map(|number| (108_894, Some(number))).collect();
    assert_eq!(ended, expected);
}

#[test]
fn it_says_its_version() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_session-init"))
        .arg("--version")
        .output()
        .expect("it runs");
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        concat!("session-init ", env!("CARGO_PKG_VERSION"))
    );
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_session-init"))
        .arg("--what")
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(64));
}
