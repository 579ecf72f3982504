//! Commands outlive, or end with, what they depend on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use session_core::api::SessionApi;
use session_core::command::{CommandEvent, CommandRequest, OnDisconnect, RunningCommand};
use session_core::error::ErrorKind;
use session_core::event::EventKind;
use session_core::store::MAX_KEPT_COMMANDS;
use testkit::memory::Exit;

use super::world::{World, create, history, soon};

#[tokio::test]
async fn output_past_the_bound_is_a_gap_that_is_told() {
    let world = World::new();
    world.site.memory.program("flood", async |context| {
        let block = vec![b'x'; 64 << 10];
        for _ in 0..(70 << 4) {
            context.stdout.write(block.clone()).await;
        }
        context.stdout.write("end").await;
        std::future::pending().await
    });
    let manager = world.manager().await;
    let session = create(&manager).await;
    let request = CommandRequest {
        on_disconnect: OnDisconnect::Detach,
        ..CommandRequest::new(["flood"])
    };
    let command = manager.command(&session, request).await.unwrap();
    let id = command.id;
    // Nobody reads from here on.
    drop(command);
    let total: u64 = (70 << 20) + 3;
    let written = async {
        while world.container(&session).written() < total {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the flood", written).await;
    let mut running = manager.attach_command(&session, &id, 0).await.unwrap();
    let Some(Ok(CommandEvent::Gap { from: 0, to })) = running.events.next().await else {
        panic!("the gap is not told");
    };
    let mut next = to;
    while next < total {
        let Some(Ok(CommandEvent::Output { offset, bytes, .. })) = running.events.next().await else {
            panic!("output ends before its end");
        };
        assert_eq!(offset, next);
        next += bytes.len() as u64;
    }
    running.control.signal(9).await.unwrap();
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_paused_session_answers_late_and_not_never() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    world.container(&session).pause();
    let running = manager.command(&session, CommandRequest::new(["echo", "thawed"]));
    tokio::pin!(running);
    assert!(
        tokio::time::timeout(Duration::from_millis(100), &mut running)
            .await
            .is_err()
    );
    world.container(&session).resume();
    let mut running = soon("the command", running).await.unwrap();
    assert!(matches!(
        soon("output", running.events.next()).await,
        Some(Ok(CommandEvent::Output { .. }))
    ));
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_manager_that_shuts_down_ends_what_is_its_own_and_keeps_the_rest() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    let detach = CommandRequest {
        on_disconnect: OnDisconnect::Detach,
        ..CommandRequest::new(["sleep", "1000"])
    };
    let kept = manager.command(&session, detach).await.unwrap();
    let ended = manager
        .command(&session, CommandRequest::new(["sleep", "2000"]))
        .await
        .unwrap();
    soon("the shutdown", manager.shutdown()).await;
    let alone = async {
        while world.container(&session).running() != [["sleep", "1000"]] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the end of one command", alone).await;
    let second = world.manager().await;
    assert!(second.attach_command(&session, &kept.id, 0).await.is_ok());
    drop((kept, ended));
    world.finish(&second).await;
}

#[tokio::test]
async fn a_manager_that_was_shut_down_refuses_work() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    manager
        .run(|manager| async move {
            manager.shutdown().await;
            Ok(())
        })
        .await
        .unwrap();
    let refused = soon(
        "a refusal",
        manager.command(&session, CommandRequest::new(["true"])),
    )
    .await
    .unwrap_err();
    assert!(
        matches!(refused.kind(), ErrorKind::Cancelled | ErrorKind::StateConflict),
        "{refused:?}"
    );
    let second = world.manager().await;
    world.finish(&second).await;
}

/// A program that counts how often it is run.
fn counting(world: &World) -> Arc<AtomicUsize> {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    world.site.memory.program("count", move |context| {
        let counted = counted.clone();
        async move {
            let run = counted.fetch_add(1, Ordering::SeqCst) + 1;
            context.stdout.write(format!("run {run}")).await;
            Exit::OK
        }
    });
    runs
}

fn keyed(key: &str) -> CommandRequest {
    CommandRequest {
        on_disconnect: OnDisconnect::Detach,
        idempotency_key: Some(key.to_owned()),
        ..CommandRequest::new(["count"])
    }
}

async fn output(mut command: RunningCommand) -> String {
    let mut text = Vec::new();
    let reading = async {
        while let Some(event) = command.events.next().await {
            if let CommandEvent::Output { bytes, .. } = event.unwrap() {
                text.extend_from_slice(&bytes);
            }
        }
    };
    soon("the end of a command", reading).await;
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_command_with_a_key_is_run_once_whoever_repeats_it() {
    let world = World::new();
    let runs = counting(&world);
    let first = world.manager().await;
    let session = create(&first).await;
    let command = first.command(&session, keyed("a")).await.unwrap();
    let id = command.id;
    assert_eq!(output(command).await, "run 1");
    let again = first.command(&session, keyed("a")).await.unwrap();
    assert_eq!(again.id, id);
    assert_eq!(output(again).await, "run 1");
    let mut other = keyed("a");
    other.argv.push(b"more".to_vec());
    let refused = first.command(&session, other).await.err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::IdempotencyMismatch);
    let another = first.command(&session, keyed("b")).await.unwrap();
    assert_eq!(output(another).await, "run 2");
    // Nobody reads the third, and nobody knows that it was started.
    drop(first.command(&session, keyed("c")).await.unwrap());
    first.kill().await;
    let second = world.manager().await;
    let repeated = second.command(&session, keyed("c")).await.unwrap();
    assert_eq!(output(repeated).await, "run 3");
    assert_eq!(
        output(second.command(&session, keyed("a")).await.unwrap()).await,
        "run 1"
    );
    assert_eq!(runs.load(Ordering::SeqCst), 3);
    let told = history(&second, &session).await;
    let count = |wanted: fn(&EventKind) -> bool| told.iter().filter(|event| wanted(&event.kind)).count();
    assert_eq!(count(|kind| matches!(kind, EventKind::CommandStarted { .. })), 3);
    world.finish(&second).await;
}

#[tokio::test]
async fn of_commands_with_a_key_the_newest_can_be_come_back_to() {
    let world = World::new();
    let runs = counting(&world);
    let manager = world.manager().await;
    let session = create(&manager).await;
    for number in 0..=MAX_KEPT_COMMANDS {
        drop(
            output(
                manager
                    .command(&session, keyed(&format!("{number}")))
                    .await
                    .unwrap(),
            )
            .await,
        );
    }
    let forgotten = async {
        loop {
            match manager.command(&session, keyed("0")).await {
                Err(error) => return error,
                Ok(_there) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let refused = soon("a command to be forgotten", forgotten).await;
    assert_eq!(
        (refused.kind(), refused.is_retryable()),
        (ErrorKind::StateConflict, false)
    );
    let kept = manager.command(&session, keyed("1")).await.unwrap();
    assert_eq!(output(kept).await, "run 2");
    assert_eq!(runs.load(Ordering::SeqCst), MAX_KEPT_COMMANDS + 1);
    world.finish(&manager).await;
}
