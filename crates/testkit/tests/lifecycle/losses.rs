//! The container goes away, or stands still, behind the manager's back: the state says so, and why.

use session_core::api::SessionApi;
use session_core::command::CommandRequest;
use session_core::error::ErrorKind;
use session_core::state::{InterruptCause, SessionState, StateName};
use session_core::turn::{TurnFailureCause, TurnStatus};
use testkit::memory::{AgentTurn, MemoryContainer};

use super::world::{World, ask, create, inspected, outcome, prompt, reaches, recorded, send, soon};

/// A way to lose a container, and what is then said of it.
type Loss = (fn(&MemoryContainer), InterruptCause, TurnFailureCause);

const LOSSES: [Loss; 4] = [
    (
        MemoryContainer::kill,
        InterruptCause::ContainerExited,
        TurnFailureCause::SessionLost,
    ),
    (
        MemoryContainer::out_of_memory,
        InterruptCause::OutOfMemory,
        TurnFailureCause::OutOfMemory,
    ),
    (
        MemoryContainer::remove,
        InterruptCause::ContainerRemoved,
        TurnFailureCause::SessionLost,
    ),
    (
        MemoryContainer::remove_without_storage,
        InterruptCause::ContainerRemoved,
        TurnFailureCause::SessionLost,
    ),
];

#[tokio::test]
async fn an_idle_session_tells_its_loss_when_it_is_inspected() {
    for (lose, cause, _) in LOSSES {
        let world = World::new();
        let manager = world.manager().await;
        let session = create(&manager).await;
        lose(&world.container(&session));
        assert_eq!(
            inspected(&manager, &session).await,
            SessionState::Interrupted { cause }
        );
        let refused = manager.prompt(&session, prompt("x")).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::StateConflict);
        assert!(refused.hint().is_some());
        world.finish(&manager).await;
    }
}

#[tokio::test]
async fn a_working_session_tells_its_loss_by_itself_and_its_turns_fail() {
    for (lose, cause, failure) in LOSSES {
        let world = World::new();
        let manager = world.manager().await;
        let session = create(&manager).await;
        world.then(AgentTurn::new().say("I am at it.").hang());
        let running = send(&manager, &session, "Work.").await;
        let waiting = send(&manager, &session, "Then this.").await;
        world.asked(1).await;
        lose(&world.container(&session));
        for turn in [&running, &waiting] {
            let outcome = outcome(&manager, turn).await;
            assert_eq!(outcome.status, TurnStatus::Failed);
            let told = outcome.failure.unwrap();
            assert_eq!(told.cause, failure, "{}", told.error.message);
            assert_eq!(told.error.code, ErrorKind::ContainerLost);
            assert!(told.error.hint.is_some());
        }
        assert_eq!(
            reaches(&manager, &session, StateName::Interrupted).await,
            SessionState::Interrupted { cause }
        );
        assert_eq!(world.prompts(), ["Work."]);
        world.finish(&manager).await;
    }
}

#[tokio::test]
async fn a_supervised_session_tells_its_loss_within_seconds_whoever_asks() {
    for (lose, cause, _) in LOSSES {
        let world = World::new();
        let manager = world.supervisor().await;
        let session = create(&manager).await;
        lose(&world.container(&session));
        assert_eq!(
            reaches(&manager, &session, StateName::Interrupted).await,
            SessionState::Interrupted { cause }
        );
        world.finish(&manager).await;
    }
}

#[tokio::test]
async fn a_command_whose_container_goes_away_ends_with_a_lost_link() {
    use futures::StreamExt;
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    let mut running = manager
        .command(&session, CommandRequest::new(["sleep", "1000"]))
        .await
        .unwrap();
    world.container(&session).kill();
    let event = soon("the end of the command", running.events.next())
        .await
        .unwrap();
    assert_eq!(event.unwrap_err().kind(), ErrorKind::LinkLost);
    assert!(matches!(
        inspected(&manager, &session).await,
        SessionState::Interrupted { .. }
    ));
    world.finish(&manager).await;
}

#[tokio::test]
async fn an_engine_that_restarts_leaves_no_session_that_says_ready() {
    let world = World::new();
    let manager = world.supervisor().await;
    let (one, other) = (create(&manager).await, create(&manager).await);
    world.site.memory.restart();
    for session in [&one, &other] {
        reaches(&manager, session, StateName::Interrupted).await;
    }
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_pause_from_outside_is_told_and_so_is_its_end() {
    let world = World::new();
    let manager = world.supervisor().await;
    let session = create(&manager).await;
    world.container(&session).pause();
    reaches(&manager, &session, StateName::Paused).await;
    let refused = manager.prompt(&session, prompt("x")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StateConflict);
    world.container(&session).resume();
    reaches(&manager, &session, StateName::Ready).await;
    assert_eq!(ask(&manager, &session, "Hello").await.text, "Hello");
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_turn_that_is_frozen_from_outside_goes_on_afterwards() {
    let world = World::new();
    let manager = world.supervisor().await;
    let session = create(&manager).await;
    let gate = world.hold("Done.");
    let turn = send(&manager, &session, "Work.").await;
    world.asked(1).await;
    world.container(&session).pause();
    gate.open();
    assert_eq!(recorded(&manager, &session).await.name(), StateName::Busy);
    soon("the resume", manager.resume(&session)).await.unwrap();
    assert_eq!(outcome(&manager, &turn).await.text, "Done.");
    assert_eq!(world.prompts(), ["Work."]);
    world.finish(&manager).await;
}

#[tokio::test]
async fn an_engine_that_is_down_fails_calls_and_not_sessions() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    world.site.memory.set_down(true);
    let refused = soon("a refusal", manager.inspect(&session)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::EngineUnavailable);
    assert!(refused.is_retryable() && refused.hint().is_some());
    assert_eq!(recorded(&manager, &session).await, SessionState::Ready);
    // The link is up, and does not need the engine.
    assert_eq!(ask(&manager, &session, "Still there?").await.text, "Still there?");
    let refused = soon("a refusal", manager.create(Default::default()))
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::EngineUnavailable);
    let refused = soon("a refusal", manager.destroy(&session)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::EngineUnavailable);
    assert_eq!(recorded(&manager, &session).await, SessionState::Destroying);
    world.site.memory.set_down(false);
    world.finish(&manager).await;
}

#[tokio::test]
async fn an_engine_that_goes_away_in_the_middle_of_a_turn_does_not_end_it() {
    let world = World::new();
    let manager = world.supervisor().await;
    let session = create(&manager).await;
    let gate = world.hold("Done.");
    let turn = send(&manager, &session, "Work.").await;
    world.asked(1).await;
    world.site.memory.set_down(true);
    world.container(&session).cut_links();
    gate.open();
    world.site.memory.set_down(false);
    let outcome = outcome(&manager, &turn).await;
    assert_eq!(
        (outcome.status, outcome.text.as_str()),
        (TurnStatus::Succeeded, "Done."),
        "{:?}",
        outcome.failure
    );
    assert_eq!(world.prompts(), ["Work."]);
    world.finish(&manager).await;
}
