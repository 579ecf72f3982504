//! Programs that turn against what runs them.

use std::{os::unix::process::CommandExt, process::Command, time::Duration};

use session_link::{ErrorKind, ExitCause, Link, LinkOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fixture::{Fixture, PATIENCE, eventually, run, runs, sh};

/// The parent of the shell it runs in: its supervisor.
const KILL_SUPERVISOR: &str =
    r#"setsid sh -c 'echo $$; exec sleep 1000' & echo $$; kill -KILL $PPID; exec sleep 1000"#;

#[tokio::test]
async fn a_killed_supervisor_takes_its_command_along() {
    let (_fixture, link) = Fixture::linked().await;
    let said = run(&link, sh(KILL_SUPERVISOR)).await;
    assert_eq!(said.exit().cause, ExitCause::SupervisorLost);
    for pid in said.out().lines() {
        let pid = pid.parse().expect("a pid");
        eventually("the orphan's end", || !runs(pid)).await;
    }
    assert!(run(&link, sh("true")).await.exit().success());
}

#[tokio::test]
async fn a_supervisor_that_is_killed_before_its_command_comes_is_replaced() {
    let fixture = Fixture::start();
    let (link, _tunnels) = fixture.link().await;
    for _ in 0..10 {
        assert!(run(&link, sh("true")).await.exit().success());
        let kill = format!(
            "kill -KILL $(grep -l '^PPid:.{}$' /proc/[0-9]*/status | cut -d/ -f3 | grep -v $PPID)",
            fixture.pid()
        );
        assert!(run(&link, sh(&kill)).await.exit.is_some());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(run(&link, sh("true")).await.exit().success());
}

#[tokio::test]
async fn a_stopped_supervisor_goes_on() {
    let (_fixture, link) = Fixture::linked().await;
    let said = run(&link, sh("kill -STOP $PPID; sleep 0.05; exit 7")).await;
    assert_eq!(
        (said.exit().cause, said.exit().code),
        (ExitCause::Exited, Some(7))
    );
}

#[tokio::test]
async fn nothing_dumps_core_and_commands_are_taken_first_when_memory_runs_out() {
    let fixture = Fixture::start();
    let (link, _tunnels) = fixture.link().await;
    let init = fixture.pid();
    let core = run(
        &link,
        sh(&format!(
            "grep 'Max core file size' /proc/{init}/limits /proc/self/limits"
        )),
    )
    .await;
    assert!(
        core.out()
            .lines()
            .all(|line| line.split_whitespace().rev().nth(1) == Some("0")),
        "{}",
        core.out()
    );
    let adjusted = run(
        &link,
        sh(&format!(
            "score() {{ cat /proc/$1/oom_score_adj; }}; tries=500
             # The supervisor spares itself after it has started this.
             while [ $(score $PPID) != $(score {init}) ] && [ $tries -gt 0 ]; do tries=$((tries - 1)); done
             score {init}; score $PPID; score self"
        )),
    )
    .await;
    let scores: Vec<i32> = adjusted
        .out()
        .lines()
        .map(|line| line.parse().expect("a number"))
        .collect();
    let [init, supervisor, command] = scores[..] else {
        panic!("{scores:?}");
    };
    assert_eq!(supervisor, init, "who tells how it ended is not taken instead");
    assert!(init < command, "{scores:?}");
}

#[tokio::test]
async fn no_zombies_and_no_descriptors_are_left() {
    let fixture = Fixture::start();
    let (link, _tunnels) = fixture.link().await;
    let children = || {
        let entries = std::fs::read_dir("/proc").expect("proc").filter_map(Result::ok);
        let stats = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
        stats
            .filter(|stat| {
                stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1))
                    == Some(&fixture.pid().to_string())
            })
            .count()
    };
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", fixture.pid())).map_or(0, Iterator::count);
    assert!(run(&link, sh("true")).await.exit().success());
    // One that waits for its command.
    eventually("reaping", || children() == 1).await;
    let before = descriptors();
    for _ in 0..20 {
        let spec = sh("(sleep 0.01 &) ; (exit 3) & echo x");
        let id = spec.id.clone();
        run(&link, spec).await;
        link.forget(&id).await.expect("forgotten");
    }
    eventually("reaping", || children() == 1).await;
    eventually("closing", || descriptors() <= before).await;
}

#[tokio::test]
async fn commands_inherit_nothing_but_their_streams() {
    let (_fixture, link) = Fixture::linked().await;
    // Whoever runs the tests may hand down descriptors and ignored signals; a container's PID 1 gets none.
    let handed_down = |script: &str| {
        let output = Command::new("sh").args(["-c", script]).output().expect("it runs");
        String::from_utf8(output.stdout).expect("text")
    };
    let told = async |script: &str| String::from_utf8(run(&link, sh(script)).await.stdout).expect("text");
    let descriptors = "exec ls /proc/self/fd";
    assert_eq!(told(descriptors).await, handed_down(descriptors));
    for mask in ["SigIgn", "SigBlk"] {
        let script = format!("sed -n 's/{mask}:.//p' /proc/self/status");
        let [ours, theirs] = [told(&script).await, handed_down(&script)]
            .map(|text| u64::from_str_radix(text.trim(), 16).expect("a mask"));
        // Init's own handlers may have replaced one that was ignored.
        assert_eq!(ours & !theirs, 0, "{mask}: {ours:x} of {theirs:x}");
    }
}

#[tokio::test]
async fn a_host_that_talks_nonsense_harms_no_other() {
    let fixture = Fixture::start();
    let (link, _tunnels) = fixture.link().await;
    let other = session_link::LinkListener::bind(&fixture.links(), "nonsense").expect("a listener");
    let mut io = tokio::time::timeout(PATIENCE, other.accept())
        .await
        .expect("dialled")
        .expect("a connection");
    io.write_all(&[0xa5; 4096]).await.expect("written");
    let mut rest = Vec::new();
    let _ = io.read_to_end(&mut rest).await;
    assert!(run(&link, sh("true")).await.exit().success());
}

#[tokio::test]
async fn something_else_than_init_is_refused() {
    let (mut ours, theirs) = tokio::io::duplex(1 << 16);
    let link = tokio::spawn(Link::establish(theirs, LinkOptions::default()));
    ours.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("written");
    assert_eq!(
        link.await.expect("joined").expect_err("refused").kind(),
        ErrorKind::Protocol
    );
    let (_silent, theirs) = tokio::io::duplex(1 << 16);
    let options = LinkOptions {
        hello_timeout: Duration::from_millis(50),
        ..LinkOptions::default()
    };
    let error = Link::establish(theirs, options).await.expect_err("refused");
    assert_eq!((error.kind(), error.retryable()), (ErrorKind::Timeout, true));
}

#[tokio::test]
async fn the_bridge_carries_a_link() {
    let fixture = Fixture::start();
    let (link, _tunnels) = fixture.link().await;
    link.close().await;
    let mut bridge = tokio::process::Command::new(env!("CARGO_BIN_EXE_session-init"))
        .args(["bridge", "--session", &fixture.session])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("a bridge");
    let io = tokio::io::join(
        bridge.stdout.take().expect("a pipe"),
        bridge.stdin.take().expect("a pipe"),
    );
    let (link, _tunnels) = Link::establish(io, LinkOptions::default()).await.expect("a link");
    let said = run(&link, sh("seq 1 300000")).await;
    assert_eq!(said.stdout.len(), 1_988_895);
    link.close().await;
    tokio::time::timeout(PATIENCE, bridge.wait())
        .await
        .expect("it ends")
        .expect("a status");
}

#[test]
fn a_bridge_without_init_says_so() {
    let output = Command::new(env!("CARGO_BIN_EXE_session-init"))
        .arg0("session-init")
        .args(["bridge", "--session", "nobody"])
        .output()
        .expect("it runs");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("refused"));
}
