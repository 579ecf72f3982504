//! Commands outlive, or end with, what they depend on.

use std::time::Duration;

use futures::StreamExt;
use session_core::api::SessionApi;
use session_core::command::{CommandEvent, CommandRequest, OnDisconnect};
use session_core::error::ErrorKind;

use super::world::{World, create, soon};

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
