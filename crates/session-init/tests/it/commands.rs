//! Commands: what goes in arrives byte for byte, what comes out is complete and in order, and every end has its name.

use std::{ffi::OsString, os::unix::ffi::OsStringExt, time::Duration};

use bytes::Bytes;
use session_link::{
    ErrorKind, ExitCause, OutputStream, ProcessEvent, ProcessId, Signal, SpawnSpec, StdinMode, WriteOutcome,
};

use crate::fixture::{Fixture, finish, read_some, run, sh, spec};

#[tokio::test]
async fn arguments_arrive_byte_for_byte() {
    let (_fixture, link) = Fixture::linked().await;
    let odd = OsString::from_vec(vec![b'a', 0xff, b'\n', b'$', b'\'', 0x80]);
    let mut spec = spec(["printf", "%s|"]);
    spec.argv
        .extend([odd.clone(), OsString::new(), "two words".into(), "é".into()]);
    let said = run(&link, spec).await;
    let mut expected = odd.into_vec();
    expected.extend_from_slice("||two words|é|".as_bytes());
    assert_eq!(said.stdout, expected);
    assert!(said.exit().success());
}

#[tokio::test]
async fn the_environment_is_what_was_given() {
    let (fixture, link) = Fixture::linked().await;
    let mut spec = spec(["/usr/bin/env"]);
    spec.env = vec![
        ("A".into(), "1=2".into()),
        ("EMPTY".into(), String::new()),
        ("Ü".into(), "ü\nx".into()),
    ];
    let said = run(&link, spec).await;
    let mut lines: Vec<_> = said.out().split_terminator('\n').collect();
    lines.sort_unstable();
    assert_eq!(lines, ["A=1=2", "EMPTY=", "x", "Ü=ü"]);
    let mut spec = sh("pwd");
    let work = fixture.work().join("sub dir");
    std::fs::create_dir(&work).expect("a directory");
    spec.cwd = Some(work.to_str().expect("text").to_owned());
    assert_eq!(
        run(&link, spec).await.out().trim_end(),
        work.to_str().expect("text")
    );
    assert_eq!(
        run(&link, sh("pwd")).await.out().trim_end(),
        fixture.work().to_str().expect("text")
    );
}

#[tokio::test]
async fn every_end_has_its_name() {
    let (fixture, link) = Fixture::linked().await;
    let ends = |code, signal, cause| (code, signal, cause);
    for (script, expected) in [
        ("exit 0", ends(Some(0), None, ExitCause::Exited)),
        ("exit 255", ends(Some(255), None, ExitCause::Exited)),
        ("exit 127", ends(Some(127), None, ExitCause::Exited)),
        ("kill -TERM $$", ends(None, Some(15), ExitCause::Signaled)),
        ("kill -KILL $$", ends(None, Some(9), ExitCause::Signaled)),
    ] {
        let said = run(&link, sh(script)).await;
        let exit = said.exit();
        assert_eq!((exit.code, exit.signal, exit.cause), expected, "{script}");
    }
    let plain = fixture.work().join("plain");
    std::fs::write(&plain, "no program").expect("a file");
    let missing = run(&link, spec(["no-such-program"])).await;
    assert_eq!(
        (missing.exit().code, missing.exit().cause),
        (Some(127), ExitCause::NotFound)
    );
    let missing = run(&link, spec(["/no/such/program"])).await;
    assert_eq!(
        (missing.exit().code, missing.exit().cause),
        (Some(127), ExitCause::NotFound)
    );
    let refused = run(&link, spec(["./plain"])).await;
    assert_eq!(
        (refused.exit().code, refused.exit().cause),
        (Some(126), ExitCause::NotExecutable)
    );
    let refused = run(&link, spec(["/etc"])).await;
    assert_eq!(refused.exit().cause, ExitCause::NotExecutable);
    for cwd in ["/no/such/directory", "/etc/passwd", "/proc/self/fd"] {
        let mut nowhere = sh("true");
        nowhere.cwd = Some(cwd.into());
        assert_eq!(
            run(&link, nowhere).await.exit().cause,
            ExitCause::BadWorkingDirectory,
            "{cwd}"
        );
    }
}

#[tokio::test]
async fn what_no_system_takes_is_refused_before_it_is_sent() {
    let (_fixture, link) = Fixture::linked().await;
    let mut nul = sh("true");
    nul.argv.push("a\0b".into());
    let mut long = sh("true");
    long.argv.push("x".repeat(200 << 10).into());
    let mut name = sh("true");
    name.env.push(("A=B".into(), String::new()));
    let empty = SpawnSpec::new(ProcessId::new("empty").expect("an id"), Vec::<OsString>::new());
    for spec in [nul, long, name, empty] {
        assert_eq!(
            link.run(spec).await.expect_err("refused").kind(),
            ErrorKind::InvalidArgument
        );
    }
}

#[tokio::test]
async fn both_streams_keep_order_and_bytes() {
    let (_fixture, link) = Fixture::linked().await;
    let mut process = link
        .run(sh(
            "for i in 1 2 3 4 5; do printf out$i; sleep 0.02; printf 'err\\377' >&2; sleep 0.02; done",
        ))
        .await
        .expect("it runs");
    let (mut order, mut next) = (Vec::new(), 0);
    while let Some(event) = process.next().await.expect("an event") {
        if let ProcessEvent::Output {
            stream,
            offset,
            bytes,
        } = event
        {
            assert_eq!(offset, next);
            next += bytes.len() as u64;
            order.push((stream, bytes));
        }
    }
    let expected: Vec<_> = (1..=5)
        .flat_map(|i| {
            [
                (OutputStream::Stdout, Bytes::from(format!("out{i}"))),
                (OutputStream::Stderr, Bytes::from_static(b"err\xff")),
            ]
        })
        .collect();
    assert_eq!(order, expected);
}

#[tokio::test]
async fn long_output_is_intact() {
    let (_fixture, link) = Fixture::linked().await;
    let said = run(&link, sh("seq 1 1500000; seq 1 1500000 >&2")).await;
    let expected: String = (1..=1_500_000).map(|n| format!("{n}\n")).collect();
    assert!(expected.len() > 10 << 20);
    assert!(said.stdout == expected.as_bytes() && said.stderr == expected.as_bytes());
    assert!(said.gaps.is_empty() && said.exit().success());
}

#[tokio::test]
async fn input_reaches_the_process() {
    let (_fixture, link) = Fixture::linked().await;
    let mut cat = spec(["cat"]);
    cat.stdin = StdinMode::Piped;
    let process = link.run(cat).await.expect("it runs");
    let (mut reader, writer) = process.into_split();
    let sent = Bytes::from((0..3_u32 << 20).map(|n| n.to_le_bytes()[0]).collect::<Vec<_>>());
    let writing = {
        let sent = sent.clone();
        tokio::spawn(async move {
            writer.write(sent).await.expect("written");
            writer.close_stdin().await.expect("closed");
        })
    };
    let mut got = Vec::new();
    while let Some(event) = reader.next().await.expect("an event") {
        if let ProcessEvent::Output { bytes, .. } = event {
            got.extend_from_slice(&bytes);
        }
    }
    writing.await.expect("the writer");
    assert!(got == sent);
}

#[tokio::test]
async fn input_with_a_key_is_written_once() {
    let (fixture, link) = Fixture::linked().await;
    let mut cat = spec(["cat"]);
    cat.stdin = StdinMode::Piped;
    let id = cat.id.clone();
    link.spawn(cat).await.expect("it runs");
    assert_eq!(
        link.write_stdin(&id, 1, "one ".into()).await.expect("written"),
        WriteOutcome::Written
    );
    assert_eq!(
        link.write_stdin(&id, 1, "one ".into()).await.expect("known"),
        WriteOutcome::Duplicate
    );
    link.close().await;
    let (link, _tunnels) = {
        // A host that comes back touches its socket.
        let path = fixture.links().join(fixture.listener.file_name());
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .expect("touched");
        fixture.link().await
    };
    assert_eq!(
        link.write_stdin(&id, 1, "one ".into()).await.expect("known"),
        WriteOutcome::Duplicate
    );
    assert_eq!(
        link.write_stdin(&id, 7, "two".into()).await.expect("written"),
        WriteOutcome::Written
    );
    assert_eq!(
        link.write_stdin(&id, 3, "late".into()).await.expect("known"),
        WriteOutcome::Duplicate
    );
    link.close_stdin(&id).await.expect("closed");
    let said = finish(link.attach(&id, 0).await.expect("it is there")).await;
    assert_eq!(said.out(), "one two");
    assert_eq!(
        link.write_stdin(&id, 8, "x".into())
            .await
            .expect_err("over")
            .kind(),
        ErrorKind::StdinClosed
    );
}

#[tokio::test]
async fn an_id_is_started_once() {
    let (_fixture, link) = Fixture::linked().await;
    let spec = sh("echo once; sleep 0.2");
    let id = spec.id.clone();
    let first = link.spawn(spec.clone()).await.expect("it runs");
    let second = link.spawn(spec.clone()).await.expect("known");
    assert!(!first.existed && second.existed && first.pid == second.pid);
    let process = link.run(spec.clone()).await.expect("known");
    assert!(process.existed());
    assert_eq!(finish(process).await.out(), "once\n");
    assert_eq!(link.processes().await.expect("a list").len(), 1);
    link.forget(&id).await.expect("forgotten");
    link.forget(&id).await.expect("twice");
    assert_eq!(
        link.attach(&id, 0).await.expect_err("gone").kind(),
        ErrorKind::NoSuchProcess
    );
    assert!(!link.spawn(spec).await.expect("it runs again").existed);
}

#[tokio::test]
async fn signals_reach_the_tree() {
    let (_fixture, link) = Fixture::linked().await;
    let mut process = link
        .run(sh(
            "trap 'echo got; exit 3' USR1; echo ready; while :; do sleep 0.05; done",
        ))
        .await
        .expect("it runs");
    read_some(&mut process, 6).await;
    process.signal(Signal::User1).await.expect("sent");
    let said = finish(process).await;
    assert_eq!(said.out(), "got\n");
    assert_eq!(said.exit().code, Some(3));
    let mut process = link.run(sh("echo ready; sleep 100")).await.expect("it runs");
    read_some(&mut process, 6).await;
    process.signal(Signal::Kill).await.expect("sent");
    let said = finish(process).await;
    assert_eq!(
        (said.exit().cause, said.exit().signal),
        (ExitCause::Cancelled, Some(9))
    );
}

#[tokio::test]
async fn ping_and_health_answer() {
    let (_fixture, link) = Fixture::linked().await;
    link.ping().await.expect("an answer");
    let process = link.run(sh("sleep 5")).await.expect("it runs");
    let health = link.health().await.expect("an answer");
    assert_eq!(health.processes, 1);
    assert!(health.uptime < Duration::from_secs(60));
    process.into_split().1.signal(Signal::Kill).await.expect("ended");
}
