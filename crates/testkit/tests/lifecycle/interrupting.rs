//! Single turns are interrupted or taken back, and the others of their session do not notice.

use session_core::api::SessionApi;
use session_core::error::ErrorKind;
use session_core::id::TurnId;
use session_core::state::StateName;
use session_core::turn::TurnStatus;
use testkit::memory::AgentTurn;

use super::world::{World, ask, create, outcome, reaches, send, soon};

#[tokio::test]
async fn a_turn_that_waits_is_taken_back_and_the_others_run_in_order() {
    let world = World::new();
    let (owner, other) = (world.manager().await, world.manager().await);
    for asked in [&owner, &other] {
        let session = create(&owner).await;
        let before = world.prompts().len();
        let gate = world.hold("Done.");
        let running = send(&owner, &session, "Work.").await;
        world.asked(before + 1).await;
        let mut turns = Vec::new();
        for text in ["One.", "Two.", "Three."] {
            turns.push(send(&owner, &session, text).await);
        }
        assert!(
            soon("an interrupt", asked.interrupt_turn(&session, &turns[1].id))
                .await
                .unwrap()
        );
        // At once, although another one runs.
        let taken = owner.turn(&session, &turns[1].id).await.unwrap();
        assert_eq!(taken.status, TurnStatus::Interrupted);
        assert!(!asked.interrupt_turn(&session, &turns[1].id).await.unwrap());
        gate.open();
        assert_eq!(outcome(&owner, &running).await.text, "Done.");
        assert_eq!(outcome(&owner, &turns[0]).await.text, "One.");
        assert_eq!(outcome(&owner, &turns[2]).await.text, "Three.");
        assert_eq!(world.prompts()[before..], ["Work.", "One.", "Three."]);
    }
    assert_eq!(world.site.memory.agents().interrupts(), 0);
    world.finish(&owner).await;
}

#[tokio::test]
async fn a_turn_that_runs_is_interrupted_and_the_next_one_begins() {
    let world = World::new();
    let (owner, other) = (world.manager().await, world.manager().await);
    for asked in [&owner, &other] {
        let session = create(&owner).await;
        let before = world.prompts().len();
        world.then(AgentTurn::new().say("I am at it.").hang());
        let running = send(&owner, &session, "Work.").await;
        world.asked(before + 1).await;
        let next = send(&owner, &session, "Next.").await;
        assert!(
            soon("an interrupt", asked.interrupt_turn(&session, &running.id))
                .await
                .unwrap()
        );
        assert_eq!(outcome(&owner, &running).await.status, TurnStatus::Interrupted);
        assert_eq!(outcome(&owner, &next).await.text, "Next.");
    }
    assert_eq!(world.site.memory.agents().interrupts(), 2);
    world.finish(&owner).await;
}

#[tokio::test]
async fn a_turn_that_ended_or_never_was_is_not_interrupted() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    let turn = send(&manager, &session, "Hello.").await;
    outcome(&manager, &turn).await;
    let gate = world.hold("Done.");
    let running = send(&manager, &session, "Work.").await;
    world.asked(2).await;
    assert!(!manager.interrupt_turn(&session, &turn.id).await.unwrap());
    let unknown = manager.interrupt_turn(&session, &TurnId::new()).await;
    assert_eq!(unknown.unwrap_err().kind(), ErrorKind::NotFound);
    let elsewhere = create(&manager).await;
    let stranger = manager.interrupt_turn(&elsewhere, &running.id).await;
    assert_eq!(stranger.unwrap_err().kind(), ErrorKind::NotFound);
    gate.open();
    assert_eq!(outcome(&manager, &running).await.text, "Done.");
    manager.destroy(&session).await.unwrap();
    assert!(!manager.interrupt_turn(&session, &running.id).await.unwrap());
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_turn_whose_owner_died_is_interrupted_by_whoever_is_asked() {
    let world = World::new();
    let first = world.manager().await;
    let session = create(&first).await;
    world.then(AgentTurn::new().say("I am at it.").hang());
    let turn = send(&first, &session, "Work.").await;
    world.asked(1).await;
    let next = send(&first, &session, "Next.").await;
    first.kill().await;
    let second = world.manager().await;
    assert!(
        soon("an interrupt", second.interrupt_turn(&session, &turn.id))
            .await
            .unwrap()
    );
    assert_eq!(outcome(&second, &turn).await.status, TurnStatus::Interrupted);
    assert_eq!(outcome(&second, &next).await.text, "Next.");
    reaches(&second, &session, StateName::Ready).await;
    world.finish(&second).await;
}

/// Whichever comes first, the turn ends once and the session works on.
#[tokio::test]
async fn a_turn_that_is_taken_back_while_it_begins_ends_once() {
    let world = World::new();
    let (owner, other) = (world.manager().await, world.manager().await);
    let session = create(&owner).await;
    for round in 0..20 {
        let turn = send(&owner, &session, "Work.").await;
        let asked = if round % 2 == 0 { &owner } else { &other };
        let interrupted = soon("an interrupt", asked.interrupt_turn(&session, &turn.id))
            .await
            .unwrap();
        let ended = outcome(&owner, &turn).await;
        assert!(
            interrupted || ended.status == TurnStatus::Succeeded,
            "round {round}: {ended:?}"
        );
        reaches(&owner, &session, StateName::Ready).await;
    }
    assert_eq!(ask(&owner, &session, "Next.").await.text, "Next.");
    world.finish(&owner).await;
}
