//! Limits end whole trees, and what is over leaves nothing behind.

use std::time::{Duration, Instant};

use session_link::{ExitCause, OnDisconnect, ProcessId, Signal};

use crate::fixture::{Fixture, Said, eventually, read_some, run, runs, sh};

/// A tree that resists: double-forked, in sessions of its own, deaf to SIGTERM. Each member writes its pid.
const RESISTING: &str = r#"
trap '' TERM HUP INT
deaf() { trap '' TERM HUP INT; echo $$; while :; do sleep 0.05; done; }
sh -c 'trap "" TERM HUP INT; echo $$; while :; do sleep 0.05; done' &
setsid sh -c 'trap "" TERM; echo $$; (setsid sh -c "trap \"\" TERM; echo \$\$; while :; do sleep 0.05; done" &) ; exec sleep 1000' &
(setsid sh -c 'echo $$; exec sleep 1000' &)
echo $$
while :; do sleep 0.05; done
"#;

const RESISTING_MEMBERS: usize = 5;

fn pids(said: &Said) -> Vec<u32> {
    said.out()
        .lines()
        .map(|line| line.parse().expect("a pid"))
        .collect()
}

async fn read_pids(process: &mut session_link::Process, count: usize) -> Vec<u32> {
    let mut said = Said::default();
    while said.stdout.iter().filter(|byte| **byte == b'\n').count() < count {
        let more = read_some(process, 1).await;
        said.stdout.extend_from_slice(&more.stdout);
    }
    pids(&said)
}

#[tokio::test]
async fn a_time_limit_ends_the_whole_tree() {
    let (_fixture, link) = Fixture::linked().await;
    let mut spec = sh(RESISTING);
    spec.time_limit = Some(Duration::from_millis(500));
    let start = Instant::now();
    let said = run(&link, spec).await;
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(said.exit().cause, ExitCause::TimedOut);
    let pids = pids(&said);
    assert_eq!(pids.len(), RESISTING_MEMBERS);
    assert!(!pids.iter().any(|pid| runs(*pid)));
}

#[tokio::test]
async fn killing_returns_when_nothing_is_left() {
    let (_fixture, link) = Fixture::linked().await;
    let mut process = link.run(sh(RESISTING)).await.expect("it runs");
    let pids = read_pids(&mut process, RESISTING_MEMBERS).await;
    assert!(pids.iter().all(|pid| runs(*pid)));
    process.signal(Signal::Kill).await.expect("sent");
    assert!(!pids.iter().any(|pid| runs(*pid)));
}

#[tokio::test]
async fn a_fork_bomb_is_ended() {
    let (_fixture, link) = Fixture::linked().await;
    let mut spec =
        sh("ulimit -u 300 2>/dev/null; n() { (sleep 5; :) & }; while :; do n; n; n; sleep 0.002; done");
    spec.time_limit = Some(Duration::from_millis(300));
    let id = spec.id.clone();
    let said = run(&link, spec).await;
    assert_eq!(said.exit().cause, ExitCause::TimedOut);
    link.forget(&id).await.expect("forgotten");
    assert_eq!(link.health().await.expect("an answer").processes, 0);
}

#[tokio::test]
async fn an_output_limit_is_kept_to_the_byte() {
    let (_fixture, link) = Fixture::linked().await;
    let mut spec = sh("yes");
    spec.output_limit = Some(100_001);
    let said = run(&link, spec).await;
    assert_eq!(said.exit().cause, ExitCause::OutputLimit);
    assert_eq!(said.stdout.len(), 100_001);
    let mut spec = sh("printf 12345");
    spec.output_limit = Some(5);
    let said = run(&link, spec).await;
    assert_eq!((said.exit().cause, said.out()), (ExitCause::Exited, "12345"));
}

#[tokio::test]
async fn what_holds_the_pipes_does_not_hold_up_the_end() {
    let (_fixture, link) = Fixture::linked().await;
    let start = Instant::now();
    let spec = sh("echo now; (sleep 0.6; echo later) &");
    let id = spec.id.clone();
    let said = run(&link, spec).await;
    assert!(
        start.elapsed() < Duration::from_millis(500),
        "{:?}",
        start.elapsed()
    );
    assert_eq!((said.out(), said.exit().code), ("now\n", Some(0)));
    tokio::time::sleep(Duration::from_millis(800)).await;
    let said = crate::fixture::finish(link.attach(&id, 0).await.expect("it is there")).await;
    assert_eq!(said.out(), "now\nlater\n");
    // One that is never quiet does not either.
    let start = Instant::now();
    let spec = sh("(while :; do echo noise; sleep 0.01; done) & exit 4");
    let id = spec.id.clone();
    assert_eq!(run(&link, spec).await.exit().code, Some(4));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    link.forget(&id).await.expect("ended");
}

#[tokio::test]
async fn forgetting_ends_what_was_left_behind() {
    let (_fixture, link) = Fixture::linked().await;
    let spec = sh("setsid sleep 1000 & echo $!");
    let id = spec.id.clone();
    let left = pids(&run(&link, spec).await);
    assert!(runs(left[0]));
    link.forget(&id).await.expect("forgotten");
    assert!(!runs(left[0]));
}

#[tokio::test]
async fn a_link_that_closes_ends_what_was_to_end_with_it() {
    let (fixture, link) = Fixture::linked().await;
    let mut ends = sh("echo $$; exec sleep 1000");
    ends.on_disconnect = OnDisconnect::Kill;
    let mut stays = sh("echo $$; exec sleep 1000");
    stays.on_disconnect = OnDisconnect::KeepRunning;
    let mut first = link.run(ends).await.expect("it runs");
    let mut second = link.run(stays).await.expect("it runs");
    let ends = read_pids(&mut first, 1).await[0];
    let stays = read_pids(&mut second, 1).await[0];
    link.close().await;
    eventually("the kill", || !runs(ends)).await;
    assert!(runs(stays));
    drop(fixture);
    eventually("the end", || !runs(stays)).await;
}

#[tokio::test]
async fn no_more_processes_than_are_remembered() {
    let (_fixture, link) = Fixture::linked().await;
    // What was told to the end makes room.
    let mut last = None;
    for number in 0..40 {
        let mut spec = sh("exit 0");
        spec.id = ProcessId::new(format!("n-{number}")).expect("an id");
        last = Some(run(&link, spec).await);
    }
    assert!(last.expect("one").exit().success());
    assert_eq!(link.processes().await.expect("a list").len(), 40);
}
