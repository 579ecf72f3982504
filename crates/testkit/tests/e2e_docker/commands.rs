//! Commands: bytes, codes, signals, limits, whole process trees, and callers that come back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use libtest_mimic::Trial;
use session_core::api::SessionApi;
use session_core::command::{CommandEvent, CommandRequest, ExitCause, OnDisconnect, OutputStream};
use testkit::model::Script;

use super::world::World;
use super::{Outcome, outside, test};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("arguments_arrive_byte_for_byte", Script::new, bytes_arrive),
        test("ends_are_told_apart", Script::new, ends),
        test("both_streams_keep_their_order", Script::new, order),
        test("input_is_passed_on_and_ends", Script::new, input),
        test("a_time_limit_ends_every_descendant", Script::new, descendants),
        test("an_output_limit_ends_a_command", Script::new, output_limit),
        test("a_command_ends_with_its_caller", Script::new, cancelled),
        test(
            "a_detached_command_is_read_from_any_offset",
            Script::new,
            detached,
        ),
        test("many_commands_run_at_once", Script::new, at_once),
    ]
}

async fn bytes_arrive(world: Arc<World>) -> Outcome {
    let session = world.session().await?;
    let odd: Vec<u8> = (1..=255).collect();
    let request = CommandRequest::new([b"printf".to_vec(), b"%s".to_vec(), odd.clone()]);
    assert_eq!(world.run_request(&session, request).await?.stdout, odd);
    Ok(())
}

async fn ends(world: Arc<World>) -> Outcome {
    let session = world.session().await?;
    let shell = |script: &'static str| ["sh", "-c", script];
    for (script, cause, code, signal, shell_code) in [
        ("exit 0", ExitCause::Exited, Some(0), None, 0),
        ("exit 42", ExitCause::Exited, Some(42), None, 42),
        ("exit 127", ExitCause::Exited, Some(127), None, 127),
        ("kill -TERM $$", ExitCause::Signaled, None, Some(15), 143),
        ("kill -KILL $$", ExitCause::Signaled, None, Some(9), 137),
    ] {
        let exit = world.run(&session, &shell(script)).await?.exit;
        assert_eq!(
            (exit.cause, exit.code, exit.signal),
            (cause, code, signal),
            "{script}"
        );
        assert_eq!(exit.shell_code(), shell_code, "{script}");
    }
    assert_eq!(
        world.run(&session, &["no-such-program"]).await?.exit.shell_code(),
        127
    );
    assert_eq!(world.run(&session, &["/workspace"]).await?.exit.shell_code(), 126);
    let mut lost = CommandRequest::new(["true"]);
    lost.cwd = Some("/no/such/directory".to_owned());
    assert_eq!(
        world.run_request(&session, lost).await?.exit.cause,
        ExitCause::BadWorkingDirectory
    );
    Ok(())
}

async fn order(world: Arc<World>) -> Outcome {
    let session = world.session().await?;
    let script = "for i in 1 2 3 4 5 6 7 8; do echo out $i; sleep 0.01; echo err $i >&2; sleep 0.01; done";
    let mut running = world
        .manager
        .command(&session, CommandRequest::new(["sh", "-c", script]))
        .await?;
    let (mut text, mut next) = (String::new(), 0);
    while let Some(event) = running.events.next().await {
        if let CommandEvent::Output {
            stream,
            offset,
            bytes,
        } = event?
        {
            assert_eq!(offset, next, "offsets have no gaps");
            next += bytes.len() as u64;
            let what = String::from_utf8_lossy(&bytes).into_owned();
            let expected = if stream == OutputStream::Stdout {
                "out"
            } else {
                "err"
            };
            assert!(what.lines().all(|line| line.starts_with(expected)), "{what}");
            text.push_str(&what);
        }
    }
    let wanted: String = (1..=8).map(|i| format!("out {i}\nerr {i}\n")).collect();
    assert_eq!(text, wanted);
    Ok(())
}

async fn input(world: Arc<World>) -> Outcome {
    let session = world.session().await?;
    let mut request = CommandRequest::new(["sha256sum"]);
    request.stdin = true;
    let mut running = world.manager.command(&session, request).await?;
    let chunk = Bytes::from(vec![b'x'; 1 << 20]);
    for _ in 0..16 {
        running.control.write(chunk.clone()).await?;
    }
    running.control.close_stdin().await?;
    let mut said = Vec::new();
    while let Some(event) = running.events.next().await {
        if let CommandEvent::Output { bytes, .. } = event? {
            said.extend_from_slice(&bytes);
        }
    }
    let wanted = world
        .read(
            &session,
            &["sh", "-c", "head -c 16777216 /dev/zero | tr '\\0' x | sha256sum"],
        )
        .await?;
    assert_eq!(String::from_utf8(said)?.trim(), wanted);
    Ok(())
}

async fn descendants(world: Arc<World>) -> Outcome {
    let session = world.session().await?;
    // Double forks, sessions of their own, ears closed to SIGTERM.
    let script = "trap '' TERM; (setsid sh -c 'trap \"\" TERM; sleep 4711 & sleep 4711' &) ; sleep 4711";
    let mut request = CommandRequest::new(["sh", "-c", script]);
    request.time_limit = Some(Duration::from_secs(1));
    let started = Instant::now();
    let exit = world.run_request(&session, request).await?.exit;
    assert_eq!(exit.cause, ExitCause::TimedOut);
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "it took {:?}",
        started.elapsed()
    );
    let left = outside::processes(&session)
        .await?
        .into_iter()
        .filter(|(_, args)| args.contains("4711"));
    assert_eq!(left.collect::<Vec<_>>(), []);
    Ok(())
}

async fn output_limit(world: Arc<World>) -> Outcome {
    let session = world.session().await?;
    let mut request = CommandRequest::new(["yes"]);
    request.output_limit = Some(1 << 20);
    let output = world.run_request(&session, request).await?;
    assert_eq!(output.exit.cause, ExitCause::OutputLimit);
    assert!(
        output.exit.output_bytes >= 1 << 20 && output.exit.output_bytes < 8 << 20,
        "{:?}",
        output.exit
    );
    Ok(())
}

async fn cancelled(world: Arc<World>) -> Outcome {
    let session = world.session().await?;
    let running = world
        .manager
        .command(&session, CommandRequest::new(["sleep", "4711"]))
        .await?;
    wait_until(&world, &session, true).await?;
    drop(running);
    wait_until(&world, &session, false).await
}

async fn wait_until(_world: &World, session: &session_core::id::SessionId, runs: bool) -> Outcome {
    for _ in 0..100 {
        let found = outside::processes(session)
            .await?
            .iter()
            .any(|(_, args)| args == "sleep 4711");
        if found == runs {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(format!("after 5 s the command runs: {}", !runs).into())
}

async fn detached(world: Arc<World>) -> Outcome {
    let session = world.session().await?;
    let script = "for i in $(seq 1 2000); do echo line $i; done; until test -e /tmp/end; do sleep 0.05; done; echo end";
    let mut request = CommandRequest::new(["sh", "-c", script]);
    request.on_disconnect = OnDisconnect::Detach;
    let mut running = world.manager.command(&session, request).await?;
    let id = running.id;
    let mut read = Vec::new();
    while read.len() < 100 {
        if let CommandEvent::Output { bytes, .. } = running.events.next().await.ok_or("it ended")?? {
            read.extend_from_slice(&bytes);
        }
    }
    drop(running);
    // Another manager comes to it, as after a restart.
    let other = world.another_manager().await?;
    let mut again = other.attach_command(&session, &id, read.len() as u64).await?;
    world.run(&session, &["touch", "/tmp/end"]).await?;
    while let Some(event) = again.events.next().await {
        match event? {
            CommandEvent::Output { offset, bytes, .. } => {
                assert_eq!(offset, read.len() as u64, "every byte once");
                read.extend_from_slice(&bytes);
            }
            CommandEvent::Gap { from, to } => panic!("a gap from {from} to {to}"),
            CommandEvent::Exited(exit) => assert_eq!(exit.code, Some(0)),
        }
    }
    other.shutdown().await;
    let wanted: String = (1..=2000).map(|i| format!("line {i}\n")).collect();
    assert_eq!(String::from_utf8(read)?, format!("{wanted}end\n"));
    Ok(())
}

async fn at_once(world: Arc<World>) -> Outcome {
    let session = world.session().await?;
    let runs = (0..64).map(|number| {
        let (world, number) = (Arc::clone(&world), number.to_string());
        async move {
            let said = world
                .read(&session, &["sh", "-c", &format!("sleep 0.1; echo {number}")])
                .await?;
            if said == number {
                Ok(())
            } else {
                Err(format!("{number} said {said}").into())
            }
        }
    });
    let all: Vec<Outcome> = futures::future::join_all(runs).await;
    all.into_iter().collect()
}
