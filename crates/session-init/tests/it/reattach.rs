//! Output waits for its reader: every byte from an offset once, a gap where some are gone, whoever comes back.

use std::time::Duration;

use session_link::{ErrorKind, LinkListener, ProcessEvent, SpoolLimits};

use crate::fixture::{Fixture, Said, accept, eventually, finish, read_some, run, sh};

fn numbers(count: u32) -> String {
    (1..=count).map(|n| format!("{n}\n")).collect()
}

#[tokio::test]
async fn every_byte_from_an_offset_once() {
    let (_fixture, link) = Fixture::linked().await;
    let spec = sh("seq 1 200000");
    let id = spec.id.clone();
    link.spawn(spec).await.expect("it runs");
    let whole = numbers(200_000);
    for from in [0, 1, 65_536, 700_000, whole.len() - 1, whole.len()] {
        let mut process = link.attach(&id, from as u64).await.expect("it is there");
        process.acknowledge_manually();
        let said = finish(process).await;
        assert!(said.stdout == whole.as_bytes()[from..], "from {from}");
        assert!(said.gaps.is_empty() && said.exit().success());
    }
    let beyond = link
        .attach(&id, whole.len() as u64 + 1)
        .await
        .expect_err("beyond");
    assert_eq!(beyond.kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn a_reader_that_comes_back_goes_on_where_it_stopped() {
    let fixture = Fixture::start();
    let (link, _tunnels) = fixture.link().await;
    let spec = sh(
        "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo $i; [ $((i % 10)) = 0 ] && sleep 0.01; done; echo end",
    );
    let id = spec.id.clone();
    let mut process = link.run(spec).await.expect("it runs");
    let mut said = read_some(&mut process, 100).await;
    // The host dies: no goodbye to the process, the socket goes with it.
    drop(process);
    link.close().await;
    drop(link);
    let links = fixture.links();
    for _ in 0..3 {
        let listener = LinkListener::bind(&links, &crate::fixture::unique("again")).expect("a listener");
        let (link, _tunnels) = accept(&listener).await;
        let mut process = link
            .attach(&id, said.stdout.len() as u64)
            .await
            .expect("it is there");
        let more = read_some(&mut process, 150).await;
        said.stdout.extend_from_slice(&more.stdout);
    }
    let listener = LinkListener::bind(&links, "last").expect("a listener");
    let (link, _tunnels) = accept(&listener).await;
    let rest = finish(
        link.attach(&id, said.stdout.len() as u64)
            .await
            .expect("it is there"),
    )
    .await;
    said.stdout.extend_from_slice(&rest.stdout);
    assert_eq!(said.out(), format!("{}end\n", numbers(300)));
}

#[tokio::test]
async fn what_does_not_fit_is_reported_as_a_gap() {
    let (_fixture, link) = Fixture::linked().await;
    let mut spec = sh("seq 1 200000");
    spec.spool = SpoolLimits {
        memory: 10_000,
        file: 100_000,
    };
    let id = spec.id.clone();
    link.spawn(spec).await.expect("it runs");
    let whole = numbers(200_000);
    loop {
        let info = link.processes().await.expect("a list").remove(0);
        if info.end == whole.len() as u64 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let said = finish(link.attach(&id, 5).await.expect("it is there")).await;
    let [(from, to)] = said.gaps[..] else {
        panic!("one gap: {:?}", said.gaps)
    };
    assert_eq!(from, 5);
    let kept = whole.len() - usize::try_from(to).expect("small");
    assert!((100_000..=110_000).contains(&kept), "{kept}");
    assert!(said.stdout == whole.as_bytes()[whole.len() - kept..]);
}

#[tokio::test]
async fn a_full_disk_costs_only_what_should_have_gone_there() {
    let fixture = Fixture::start();
    let (link, _tunnels) = fixture.link().await;
    // Whoever may do everything can write to a directory without permissions, but not to one that is gone.
    std::fs::remove_dir(fixture.directory.path().join("spool")).expect("removed");
    let mut spec = sh("seq 1 200000");
    spec.spool = SpoolLimits {
        memory: 300_000,
        file: 1 << 20,
    };
    let id = spec.id.clone();
    link.spawn(spec).await.expect("it runs");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let said = finish(link.attach(&id, 0).await.expect("it is there")).await;
    assert_eq!(said.gaps.len(), 1);
    assert!(said.stdout.len() > 200_000 && numbers(200_000).as_bytes().ends_with(&said.stdout));
}

#[tokio::test]
async fn what_was_acknowledged_is_gone() {
    let (_fixture, link) = Fixture::linked().await;
    let spec = sh("seq 1 1000");
    let id = spec.id.clone();
    let whole = numbers(1000);
    let said = run(&link, spec).await;
    assert_eq!(said.out(), whole);
    link.acknowledge(&id, 2000).await.expect("acknowledged");
    let said = finish(link.attach(&id, 1500).await.expect("it is there")).await;
    assert_eq!(said.gaps, [(1500, 2000)]);
    assert_eq!(said.out(), &whole[2000..]);
}

#[tokio::test]
async fn a_slow_reader_makes_the_process_wait_and_loses_nothing() {
    let (_fixture, link) = Fixture::linked().await;
    let mut spec = sh("seq 1 3000000; echo end >&2");
    spec.spool = SpoolLimits {
        memory: 64 << 10,
        file: 0,
    };
    let mut process = link.run(spec).await.expect("it runs");
    let mut said = Said::default();
    said.take(process.next().await.expect("an event").expect("more"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let written = link.processes().await.expect("a list").remove(0).end;
    assert!(written < 8 << 20, "it was to wait, and wrote {written}");
    while let Some(event) = process.next().await.expect("an event") {
        said.take(event);
    }
    assert_eq!(said.gaps, []);
    assert_eq!(said.stderr, b"end\n");
    assert!(said.stdout == numbers(3_000_000).as_bytes());
}

#[tokio::test]
async fn single_bytes_are_not_lost_either() {
    let (_fixture, link) = Fixture::linked().await;
    let mut spec = sh("dd if=/dev/zero bs=1 count=60000 2>/dev/null");
    spec.spool = SpoolLimits { memory: 0, file: 0 };
    let mut process = link.run(spec).await.expect("it runs");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut said = Said::default();
    while let Some(event) = process.next().await.expect("an event") {
        said.take(event);
    }
    assert_eq!((said.stdout.len(), said.gaps), (60_000, vec![]));
}

#[tokio::test]
async fn a_reader_that_stops_holds_up_no_other() {
    let (_fixture, link) = Fixture::linked().await;
    let spec = sh("seq 1 3000000");
    let id = spec.id.clone();
    let idle = link.run(spec).await.expect("it runs");
    let whole = finish(link.attach(&id, 0).await.expect("it is there")).await;
    assert!(whole.stdout == numbers(3_000_000).as_bytes());
    assert!(run(&link, sh("true")).await.exit().success());
    // And what it did not read waited for it, in the file.
    let late = finish(idle).await;
    assert!(late.stdout == numbers(3_000_000).as_bytes() || !late.gaps.is_empty());
}

#[tokio::test]
async fn two_hosts_at_once() {
    let fixture = Fixture::start();
    let (first, _tunnels) = fixture.link().await;
    let other = LinkListener::bind(&fixture.links(), "other").expect("a listener");
    let (second, _others) = accept(&other).await;
    assert_eq!(first.hello(), second.hello());
    let spec = sh("echo one; sleep 0.2; echo two");
    let id = spec.id.clone();
    let process = first.run(spec).await.expect("it runs");
    let (one, two) = tokio::join!(finish(process), async {
        finish(second.attach(&id, 0).await.expect("there")).await
    });
    assert_eq!((one.out(), two.out()), ("one\ntwo\n", "one\ntwo\n"));
    first.close().await;
    assert!(run(&second, sh("true")).await.exit().success());
}

#[tokio::test]
async fn init_dials_at_once() {
    let fixture = Fixture::start();
    let (link, _tunnels) = fixture.link().await;
    link.close().await;
    for number in 0..3 {
        let listener = LinkListener::bind(&fixture.links(), &format!("late-{number}")).expect("a listener");
        let start = std::time::Instant::now();
        listener.accept().await.expect("a connection");
        assert!(
            start.elapsed() < Duration::from_millis(50),
            "{:?}",
            start.elapsed()
        );
    }
    // The same name again, as by a host that restarts.
    let path = fixture.links();
    for _ in 0..3 {
        let listener = LinkListener::bind(&path, "same").expect("a listener");
        let (link, _tunnels) = accept(&listener).await;
        link.ping().await.expect("an answer");
    }
    eventually("removal", || {
        std::fs::read_dir(&path).expect("a directory").count() == 1
    })
    .await;
}

#[tokio::test]
async fn a_lost_link_is_an_error_to_whoever_reads() {
    let (fixture, link) = Fixture::linked().await;
    let mut process = link.run(sh("echo up; sleep 100")).await.expect("it runs");
    read_some(&mut process, 3).await;
    drop(fixture);
    let end = loop {
        match process.next().await {
            Ok(Some(ProcessEvent::Exited(report))) => break Ok(report),
            Ok(Some(_)) => {}
            Ok(None) => panic!("an end without a reason"),
            Err(error) => break Err(error.kind()),
        }
    };
    assert!(
        matches!(end, Err(ErrorKind::Closed | ErrorKind::Truncated) | Ok(_)),
        "{end:?}"
    );
    link.closed().await;
    assert_eq!(link.ping().await.expect_err("closed").kind(), ErrorKind::Closed);
}
