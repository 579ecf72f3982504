//! Terminals: a program that has one finds itself where a person could sit, and everything goes through unchanged.

use std::time::Duration;

use bytes::Bytes;
use session_link::{ErrorKind, ExitCause, Link, Process, ProcessId, Signal, SpawnSpec, Terminal, WindowSize};

use crate::fixture::{Fixture, PATIENCE, Said, eventually, finish, runs, sh, spec};

fn size(rows: u16, columns: u16) -> WindowSize {
    WindowSize::new(rows, columns).expect("a size")
}

fn on_terminal(mut spec: SpawnSpec) -> SpawnSpec {
    spec.terminal = Some(Terminal {
        size: size(24, 80),
        note: "a note".to_owned(),
    });
    spec
}

/// Reads until `wanted` was said; all that was said by then.
async fn until(process: &mut Process, wanted: &[u8]) -> Vec<u8> {
    let mut said = Said::default();
    let found = |all: &[u8]| all.windows(wanted.len()).any(|window| window == wanted);
    let reading = async {
        while !found(&said.stdout) {
            let Some(event) = process.next().await.expect("an event") else {
                break;
            };
            said.take(event);
        }
    };
    let late = tokio::time::timeout(PATIENCE, reading).await.is_err();
    assert!(
        !late && found(&said.stdout),
        "{:?} instead of {:?}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(wanted)
    );
    said.stdout
}

async fn type_in(process: &mut Process, text: impl Into<Bytes>) {
    process.write(text.into()).await.expect("it takes input");
}

#[tokio::test]
async fn a_program_sits_at_a_terminal_of_its_own() {
    let (_fixture, link) = Fixture::linked().await;
    let script = "test -t 0 && test -t 1 && test -t 2 && stty size && stty -a; echo to-stderr >&2; \
        cat /proc/$$/stat; sh -c 'echo here > /dev/tty'";
    let said = finish(link.run(on_terminal(sh(script))).await.expect("it runs")).await;
    assert!(said.exit().success(), "{:?}", said.exit());
    assert!(said.stderr.is_empty(), "a terminal has one stream");
    let out = said.out();
    assert!(out.starts_with("24 80\r\n"), "its size: {out}");
    assert!(out.contains(" iutf8"), "whole characters: {out}");
    assert!(out.contains("to-stderr\r\n") && out.contains("here\r\n"), "{out}");
    // pid (comm) state ppid pgrp session tty tpgid: it leads its group and its session, and stands in front.
    let stat = out.lines().find(|line| line.contains("(sh)")).expect("its line");
    let pid = stat.split(' ').next().expect("a pid");
    let fields: Vec<_> = stat.rsplit(") ").next().expect("the rest").split(' ').collect();
    assert_eq!((fields[2], fields[3], fields[5]), (pid, pid, pid), "{stat}");
    assert_ne!(fields[4], "0", "no controlling terminal: {stat}");
}

#[tokio::test]
async fn every_byte_goes_through_in_both_directions() {
    let (_fixture, link) = Fixture::linked().await;
    let spec = on_terminal(sh("stty raw -echo; printf ready; exec cat"));
    let mut process = link.run(spec).await.expect("it runs");
    until(&mut process, b"ready").await;
    let bytes: Vec<u8> = (0..=255).cycle().take(64 << 10).collect();
    type_in(&mut process, bytes.clone()).await;
    let mut back = Vec::new();
    while back.len() < bytes.len() {
        let mut said = Said::default();
        said.take(process.next().await.expect("an event").expect("more"));
        back.extend(said.stdout);
    }
    assert!(back == bytes, "the bytes changed on their way");
    process.signal(Signal::Kill).await.expect("a signal");
}

#[tokio::test]
async fn keys_do_what_they_do_at_a_terminal() {
    let (_fixture, link) = Fixture::linked().await;
    let script = "trap 'echo interrupted' INT; echo ready; until read line; do :; done; echo \"got $line\"; cat; echo end";
    let mut process = link.run(on_terminal(sh(script))).await.expect("it runs");
    until(&mut process, b"ready").await;
    type_in(&mut process, "\x03").await;
    until(&mut process, b"interrupted").await;
    type_in(&mut process, "wörds\x7f\r").await;
    until(&mut process, "got wörd\r\n".as_bytes()).await;
    type_in(&mut process, "\x04").await;
    let said = finish(process).await;
    assert!(said.out().contains("end"), "{}", said.out());
    assert!(said.exit().success());
}

#[tokio::test]
async fn another_size_is_told() {
    let (_fixture, link) = Fixture::linked().await;
    let script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done";
    let mut process = link.run(on_terminal(sh(script))).await.expect("it runs");
    until(&mut process, b"ready").await;
    let id = process.id().clone();
    link.resize(&id, size(50, 132)).await.expect("another size");
    until(&mut process, b"50 132").await;
    let info = link.processes().await.expect("a list").pop().expect("a process");
    let terminal = info.terminal.expect("a terminal");
    assert_eq!((terminal.size, terminal.note.as_str()), (size(50, 132), "a note"));
    process.signal(Signal::Kill).await.expect("a signal");
    finish(process).await;
    link.resize(&id, size(1, 1)).await.expect("it has ended");
    let plain = sh("sleep 60");
    let id = plain.id.clone();
    link.spawn(plain).await.expect("it runs");
    let refused = link.resize(&id, size(1, 1)).await.expect_err("no terminal");
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    let nobody = ProcessId::new("nobody").expect("an id");
    let refused = link.resize(&nobody, size(1, 1)).await.expect_err("nobody");
    assert_eq!(refused.kind(), ErrorKind::NoSuchProcess);
}

/// The process id that a program has written behind `word`.
async fn pid_after(process: &mut Process, word: &str) -> u32 {
    let said = until(process, b"!").await;
    let said = String::from_utf8_lossy(&said).into_owned();
    let digits = said.split(word).nth(1).expect("the word").split('!').next();
    digits
        .and_then(|digits| digits.trim().parse().ok())
        .expect("a pid")
}

#[tokio::test]
async fn what_it_started_ends_with_it() {
    let (_fixture, link) = Fixture::linked().await;
    let script = "setsid sh -c 'trap \"\" HUP; echo \"pid $$!\"; exec sleep 600' & wait";
    let mut process = link.run(on_terminal(sh(script))).await.expect("it runs");
    let pid = pid_after(&mut process, "pid ").await;
    link.forget(&process.id().clone()).await.expect("forgotten");
    eventually("the end of what got away", || !runs(pid)).await;
}

#[tokio::test]
async fn who_sits_in_front_is_hung_up_on_when_the_program_ends() {
    let (_fixture, link) = Fixture::linked().await;
    let script =
        "set -m; sh -c 'trap \"echo hung-up; exit\" HUP; echo \"pid $$!\"; while :; do sleep 0.05; done'";
    let mut process = link.run(on_terminal(sh(script))).await.expect("it runs");
    let pid = pid_after(&mut process, "pid ").await;
    let leader = process.pid().expect("it runs");
    rustix::process::kill_process(crate::fixture::pid(leader), rustix::process::Signal::KILL)
        .expect("killed");
    eventually("the end of the one in front", || !runs(pid)).await;
    let said = finish(process).await;
    assert_eq!(said.exit().cause, ExitCause::Signaled);
}

#[tokio::test]
async fn a_terminal_that_nobody_has_open_for_a_while_is_still_there() {
    let (_fixture, link) = Fixture::linked().await;
    let script = "exec </dev/null >/dev/null 2>&1; sleep 0.3; echo back >/dev/tty; exit 7";
    let said = finish(link.run(on_terminal(sh(script))).await.expect("it runs")).await;
    assert_eq!(said.out(), "back\r\n");
    assert_eq!(
        (said.exit().code, said.exit().cause),
        (Some(7), ExitCause::Exited)
    );
}

#[tokio::test]
async fn the_last_words_are_not_lost() {
    let (_fixture, link) = Fixture::linked().await;
    for _ in 0..20 {
        let spec = on_terminal(sh(
            "stty -opost; head -c 30000 /dev/zero | tr '\\0' x; printf last",
        ));
        let said = finish(link.run(spec).await.expect("it runs")).await;
        assert_eq!(said.out().len(), 30_004);
        assert!(said.out().ends_with("last"));
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_says_so() {
    let (fixture, link) = Fixture::linked().await;
    let said = finish(
        link.run(on_terminal(spec(["no-such-program"])))
            .await
            .expect("tried"),
    )
    .await;
    assert_eq!(said.exit().cause, ExitCause::NotFound);
    let noise = fixture.work().join("noise");
    std::fs::write(&noise, "#!/no/such/interpreter\n").expect("a file");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&noise, executable).expect("a mode");
    let said = finish(link.run(on_terminal(spec(["./noise"]))).await.expect("tried")).await;
    assert_eq!(said.exit().code, Some(126));
    assert!(said.out().contains("./noise"), "{}", said.out());
}

async fn flooding(link: &Link) -> ProcessId {
    let mut spec = on_terminal(spec(["yes"]));
    spec.spool.memory = 64 << 10;
    spec.spool.file = 256 << 10;
    let id = spec.id.clone();
    link.spawn(spec).await.expect("it runs");
    id
}

#[tokio::test]
async fn a_flood_that_nobody_reads_keeps_its_end() {
    let (_fixture, link) = Fixture::linked().await;
    let id = flooding(&link).await;
    let info = loop {
        let info = link.processes().await.expect("a list").pop().expect("a process");
        if info.end > 2 << 20 {
            break info;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let kept = info.end - info.start;
    assert!((256 << 10..=512 << 10).contains(&kept), "{kept} bytes are kept");
    link.forget(&id).await.expect("forgotten");
}
