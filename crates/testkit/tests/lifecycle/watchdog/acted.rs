//! A stall that lasts is ended by policy, and what it ended with is told.

use std::time::Duration;

use session_core::activity::StallAction;
use session_core::api::SessionApi;
use session_core::turn::{TurnFailureCause, TurnInfo, TurnStatus};
use testkit::memory::AgentTurn;

use super::{
    ALL, DONE, NOTHING, WORD, every, failed_by, resumed_once, stall, stalls, tool_call, wait_for, watched_by,
};
use crate::world::{World, ask, create, outcome, send, soon};

#[tokio::test]
async fn a_stall_that_lasts_is_interrupted_and_the_outcome_names_it() {
    for (hanging, cause) in [
        (&ALL[1], TurnFailureCause::ToolRunning),
        (&ALL[2], TurnFailureCause::WaitingForPermission),
        (&ALL[3], TurnFailureCause::ModelUnreachable),
        (&ALL[4], TurnFailureCause::ModelOverloaded),
    ] {
        let world = World::new();
        let manager = watched_by(&world, every(WORD.then(StallAction::Interrupt, DONE))).await;
        let session = create(&manager).await;
        hanging.script(&world);
        let turn = send(&manager, &session, "Work.").await;
        assert_eq!(failed_by(&outcome(&manager, &turn).await), cause);
        let told = stalls(&manager, &session).await;
        assert_eq!(told.last(), Some(&(hanging.cause, StallAction::Interrupt)));
        // On a busy machine the first look may come late.
        assert!(told.len() <= 2, "{told:?}");
        world.site.gateway.set_activity(NOTHING);
        assert_eq!(ask(&manager, &session, "Next.").await.text, "Next.");
        assert_eq!(world.site.memory.agents().interrupts(), 1);
        assert_eq!(world.site.memory.agents().starts().len(), 1);
        world.finish(&manager).await;
    }
}

#[tokio::test]
async fn an_interrupt_of_the_watchdog_that_is_ignored_ends_the_agent() {
    let world = World::new();
    let manager = watched_by(&world, every(WORD.then(StallAction::Interrupt, DONE))).await;
    let session = create(&manager).await;
    assert_eq!(ask(&manager, &session, "Hello.").await.text, "Hello.");
    world.then(AgentTurn::new().say("I do not listen.").deaf().hang());
    let outcome = ask(&manager, &session, "Work.").await;
    assert_eq!(failed_by(&outcome), TurnFailureCause::AgentSilent);
    assert_eq!(ask(&manager, &session, "Next.").await.text, "Next.");
    resumed_once(&world);
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_restart_resumes_the_conversation_and_repeats_nothing() {
    let world = World::new();
    let manager = watched_by(&world, every(WORD.then(StallAction::Restart, DONE))).await;
    let session = create(&manager).await;
    assert_eq!(ask(&manager, &session, "Hello.").await.text, "Hello.");
    world.then(
        AgentTurn::new()
            .say("I do not listen.")
            .line(tool_call())
            .deaf()
            .hang(),
    );
    let turn = send(&manager, &session, "Work.").await;
    let outcome = outcome(&manager, &turn).await;
    assert_eq!(failed_by(&outcome), TurnFailureCause::ToolRunning);
    assert!(outcome.failure.unwrap().error.message.contains("started again"));
    // Nobody has to ask for it.
    let again = async {
        while world.site.memory.agents().starts().len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("another agent", again).await;
    assert_eq!(world.prompts(), ["Hello.", "Work."]);
    assert_eq!(ask(&manager, &session, "Next.").await.text, "Next.");
    resumed_once(&world);
    world.finish(&manager).await;
}

#[tokio::test]
async fn after_a_restart_the_next_turn_in_the_queue_goes_on() {
    let world = World::new();
    let manager = watched_by(&world, every(WORD.then(StallAction::Restart, DONE))).await;
    let session = create(&manager).await;
    world.then(AgentTurn::new().say("I am at it.").hang());
    let turn = send(&manager, &session, "Work.").await;
    world.asked(1).await;
    let next = send(&manager, &session, "Next.").await;
    assert_eq!(
        failed_by(&outcome(&manager, &turn).await),
        TurnFailureCause::AgentSilent
    );
    assert_eq!(outcome(&manager, &next).await.text, "Next.");
    assert_eq!(world.prompts(), ["Work.", "Next."]);
    assert_eq!(world.site.memory.agents().starts().len(), 2);
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_caller_s_interrupt_of_a_stalled_turn_is_an_interrupt() {
    let world = World::new();
    let manager = watched_by(
        &world,
        every(WORD.then(StallAction::Restart, Duration::from_secs(600))),
    )
    .await;
    let session = create(&manager).await;
    world.then(AgentTurn::new().say("I am at it.").hang());
    let turn: TurnInfo = send(&manager, &session, "Work.").await;
    wait_for(&manager, &session, "a word", stall).await;
    assert!(soon("an interrupt", manager.interrupt(&session)).await.unwrap());
    let outcome = outcome(&manager, &turn).await;
    assert_eq!((outcome.status, outcome.failure), (TurnStatus::Interrupted, None));
    world.finish(&manager).await;
}
