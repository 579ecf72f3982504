//! The end of a session fails, is killed, and is tried again: in the end nothing is left.

use std::time::Duration;

use session_core::api::SessionApi;
use session_core::error::ErrorKind;
use session_core::event::EventKind;
use session_core::id::SessionId;
use session_core::session::{CreateSession, WorkspaceSource};
use session_core::state::{SessionState, StateName};
use testkit::faults::{Fault, FaultPlan, Operation};
use testkit::harness::ManagerProcess;
use testkit::memory::AgentTurn;

use super::world::{World, all, ask, create, prompt, reaches, recorded, send, soon, stored};

#[tokio::test]
async fn an_end_that_fails_says_destroying_and_can_be_tried_again() {
    for fault in [Fault::FailBefore, Fault::FailAfter] {
        let world = World::new();
        let manager = world.manager().await;
        let session = create(&manager).await;
        world
            .site
            .faulty
            .set_plan(FaultPlan::none().always(Operation::Remove, fault));
        for _ in 0..2 {
            let error = soon("an end", manager.destroy(&session)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::EngineFailed);
            assert_eq!(recorded(&manager, &session).await, SessionState::Destroying);
        }
        let refused = manager.prompt(&session, prompt("x")).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::StateConflict);
        world.site.faulty.set_plan(FaultPlan::none());
        soon("an end", manager.destroy(&session)).await.unwrap();
        assert_eq!(recorded(&manager, &session).await, SessionState::Destroyed);
        world.finish(&manager).await;
    }
}

#[tokio::test]
async fn an_end_that_was_broken_off_is_finished_by_the_reconciler_of_the_next_manager() {
    for fault in [Fault::Hang, Fault::HangAfter] {
        let world = World::new();
        let first = world.manager().await;
        let session = create(&first).await;
        world
            .site
            .faulty
            .set_plan(FaultPlan::none().always(Operation::Remove, fault));
        let ending = tokio::time::timeout(std::time::Duration::from_millis(200), first.destroy(&session));
        ending.await.unwrap_err();
        first.kill().await;
        world.site.faulty.set_plan(FaultPlan::none());
        let second = world.supervisor().await;
        reaches(&second, &session, StateName::Destroyed).await;
        world.finish(&second).await;
    }
}

#[tokio::test]
async fn many_ends_at_once_are_one_end() {
    let world = World::new();
    let (one, other) = (world.manager().await, world.manager().await);
    let session = create(&one).await;
    world.then(AgentTurn::new().hang());
    send(&one, &session, "Work.").await;
    let ends = [&one, &other, &one, &other, &one].map(|manager| manager.destroy(&session));
    for end in soon("the ends", futures::future::join_all(ends)).await {
        end.unwrap();
    }
    assert_eq!(recorded(&one, &session).await, SessionState::Destroyed);
    world.finish(&one).await;
}

#[tokio::test]
async fn an_interrupted_or_failed_session_can_be_destroyed() {
    let world = World::new();
    let manager = world.manager().await;
    let lost = create(&manager).await;
    world.container(&lost).kill();
    manager.inspect(&lost).await.unwrap();
    world
        .site
        .faulty
        .set_plan(FaultPlan::none().always(Operation::Launch, Fault::FailBefore));
    manager.create(Default::default()).await.unwrap_err();
    world.site.faulty.set_plan(FaultPlan::none());
    for session in all(&manager).await {
        soon("an end", manager.destroy(&session)).await.unwrap();
        assert_eq!(recorded(&manager, &session).await, SessionState::Destroyed);
    }
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_paused_session_can_be_destroyed() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    ask(&manager, &session, "Hello").await;
    manager.pause(&session).await.unwrap();
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_mounted_workspace_survives_its_session() {
    let world = World::new();
    let manager = world.manager().await;
    let path = world.site.workspace("project").unwrap();
    let workspace = session_core::session::WorkspaceSource::Mount { path: path.clone() };
    let request = session_core::session::CreateSession {
        workspace,
        ..Default::default()
    };
    let session = manager.create(request).await.unwrap().id;
    world.then(AgentTurn::new().write("result.txt", "work").say("Done."));
    ask(&manager, &session, "Work.").await;
    world.finish(&manager).await;
    assert_eq!(std::fs::read_to_string(path.join("result.txt")).unwrap(), "work");
}

#[tokio::test]
async fn a_session_that_stands_still_while_it_is_made_can_be_destroyed() {
    let world = World::new();
    let manager = world.manager().await;
    let path = world.site.workspace("large").unwrap();
    let large = std::fs::File::create(path.join("large")).unwrap();
    large.set_len(64 << 20).unwrap();
    let request = CreateSession {
        workspace: WorkspaceSource::Copy { path },
        ..CreateSession::default()
    };
    let destroying = async {
        let session = soon("the copy to begin", copying(&manager)).await;
        world.container(&session).pause();
        let destroyed = tokio::time::timeout(Duration::from_secs(15), manager.destroy(&session)).await;
        destroyed.expect("it is not waited for").unwrap();
        session
    };
    let (created, session) = tokio::join!(manager.create(request), destroying);
    assert_eq!(created.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(recorded(&manager, &session).await, SessionState::Destroyed);
    world.finish(&manager).await;
}

/// Waits for a session that gets its workspace.
async fn copying(manager: &ManagerProcess) -> SessionId {
    loop {
        if let [session] = all(manager).await[..] {
            let events = stored(manager, &session).await;
            if events
                .iter()
                .any(|event| matches!(&event.kind, EventKind::Progress { message } if message.starts_with("copying")))
            {
                return session;
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
