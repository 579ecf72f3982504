//! What the process that serves a state directory needs: to be the only one, to list what anybody did, and to know
//! whether it may leave.

use std::collections::BTreeSet;
use std::time::Duration;

use session_core::api::SessionApi;
use session_core::command::{CommandRequest, OnDisconnect};
use session_core::error::ErrorKind;
use session_core::session::{CreateSession, SessionFilter};
use session_core::state::{SessionState, StateName};
use session_core::state_dir::StateDir;
use testkit::harness::ManagerProcess;
use testkit::memory::AgentTurn;

use super::world::{World, ask, create, outcome, reaches, send, soon};

async fn at_work(manager: &ManagerProcess) -> bool {
    let asked = manager.run(|manager| async move { Ok(manager.at_work()) });
    asked.await.unwrap()
}

/// It has nothing to do, and does not seem to have from time to time.
async fn comes_to_rest(manager: &ManagerProcess) {
    let resting = async {
        while at_work(manager).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("a manager at rest", resting).await;
    for _ in 0..150 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(!at_work(manager).await, "it has nothing to do");
    }
}

#[tokio::test]
async fn what_another_manager_did_is_in_the_next_list() {
    let world = World::new();
    let (ours, theirs) = (world.manager().await, world.manager().await);
    let mut versions = BTreeSet::new();
    let version = async || ours.list_version().await.unwrap().unwrap();
    versions.insert(version().await);

    let session = create(&theirs).await;
    versions.insert(version().await);
    let listed = ours.list(SessionFilter::default()).await.unwrap();
    assert_eq!(listed, theirs.list(SessionFilter::default()).await.unwrap());
    assert_eq!(listed[0].id, session);
    let unchanged = version().await;
    assert_eq!(version().await, unchanged);

    ask(&theirs, &session, "Do it.").await;
    versions.insert(version().await);
    assert_eq!(ours.list(SessionFilter::default()).await.unwrap()[0].turns, 1);
    assert_eq!(ours.session(&session).await.unwrap().turns, 1);

    soon("the end", theirs.destroy(&session)).await.unwrap();
    versions.insert(version().await);
    assert_eq!(ours.list(SessionFilter::default()).await.unwrap(), []);
    assert_eq!(
        ours.session(&session).await.unwrap().state,
        SessionState::Destroyed
    );
    assert_eq!(versions.len(), 4, "each change is another version");
    world.finish(&ours).await;
}

#[tokio::test]
async fn one_serves_a_state_directory_and_others_may_work_in_it() {
    let world = World::new();
    let serving = world.manager().await;
    let dir = StateDir::open(&world.site.state_dir()).unwrap();
    let held = dir.lock_serving().unwrap();
    let second = StateDir::open(&world.site.state_dir()).unwrap().lock_serving();
    assert_eq!(second.unwrap_err().kind(), ErrorKind::Busy);
    let embedded = world.manager().await;
    let session = create(&embedded).await;
    assert_eq!(
        serving.session(&session).await.unwrap().state,
        SessionState::Ready
    );
    drop(held);
    world.finish(&serving).await;
}

#[tokio::test]
async fn a_manager_is_at_work_while_a_turn_runs_or_waits_and_not_after() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    comes_to_rest(&manager).await;
    let gate = world.hold("Done.");
    let running = send(&manager, &session, "Work.").await;
    let waiting = send(&manager, &session, "Then this.").await;
    world.asked(1).await;
    for _ in 0..50 {
        assert!(at_work(&manager).await, "a turn runs");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    gate.open();
    outcome(&manager, &running).await;
    outcome(&manager, &waiting).await;
    // The agent stays, with nothing to do.
    comes_to_rest(&manager).await;
    world.finish(&manager).await;
    comes_to_rest(&manager).await;
}

#[tokio::test]
async fn a_session_that_was_lost_or_interrupted_keeps_nobody_at_work() {
    let world = World::new();
    let manager = world.manager().await;
    let (lost, kept) = (create(&manager).await, create(&manager).await);
    for session in [&lost, &kept] {
        world.then(AgentTurn::new().say("I am at it.").hang());
        send(&manager, session, "Work.").await;
    }
    world.asked(2).await;
    world.container(&lost).kill();
    reaches(&manager, &lost, StateName::Interrupted).await;
    assert!(at_work(&manager).await, "the other one works");
    assert!(soon("an interrupt", manager.interrupt(&kept)).await.unwrap());
    comes_to_rest(&manager).await;
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_manager_is_at_work_while_a_command_runs_also_one_that_nobody_watches() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    let watched = manager.command(&session, CommandRequest::new(["sleep", "1000"]));
    let watched = watched.await.unwrap();
    assert!(at_work(&manager).await);
    drop(watched);
    comes_to_rest(&manager).await;

    let detach = CommandRequest {
        on_disconnect: OnDisconnect::Detach,
        ..CommandRequest::new(["sleep", "1000"])
    };
    let detached = manager.command(&session, detach).await.unwrap();
    let id = detached.id;
    drop(detached);
    for _ in 0..20 {
        assert!(at_work(&manager).await, "a command runs that nobody watches");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let again = manager.attach_command(&session, &id, 0).await.unwrap();
    again.control.signal(9).await.unwrap();
    drop(again);
    comes_to_rest(&manager).await;
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_manager_is_at_work_while_a_copy_is_under_way() {
    let world = World::new();
    let manager = world.manager().await;
    let request = CreateSession::default();
    let session = soon("a session", manager.create(request)).await.unwrap().id;
    let copy = manager.copy_out(&session, ".").await.unwrap();
    assert!(at_work(&manager).await);
    drop(copy);
    comes_to_rest(&manager).await;
    let never = Box::pin(futures::stream::pending());
    let mut copying = Box::pin(manager.copy_in(&session, ".", never));
    let asked = tokio::time::timeout(Duration::from_millis(50), &mut copying).await;
    assert!(asked.is_err());
    assert!(at_work(&manager).await);
    world.finish(&manager).await;
}
