//! A stall outlives the owner who told of it, and is seen from other processes.

use session_core::activity::{Activity, StallAction, StallCause, WatchdogPolicy};
use session_core::api::SessionApi;
use session_core::event::EventKind;
use session_core::state::StateName;
use session_core::state_dir::StateDir;
use session_core::store::{Batch, Store};
use session_core::turn::TurnFailureCause;
use testkit::memory::AgentTurn;

use super::{
    ALL, DONE, HANGING, SPEAKING, TOLD, WORD, every, failed_by, look, recovery, resumed_once, stall, stalls,
    wait_for, watched_by,
};
use crate::world::{World, ask, create, outcome, reaches, send};

#[tokio::test]
async fn whoever_takes_a_turn_over_watches_on() {
    let world = World::new();
    let first = watched_by(&world, every(WORD)).await;
    let session = create(&first).await;
    let gate = ALL[1].script(&world);
    let turn = send(&first, &session, "Work.").await;
    let told = (StallCause::ToolRunning, StallAction::Tell);
    assert_eq!(wait_for(&first, &session, "a word", stall).await, told);
    first.kill().await;
    // It knows what was told, and for how long the tool has been running.
    let second = watched_by(&world, every(WORD.then(StallAction::Interrupt, DONE))).await;
    assert_eq!(
        failed_by(&outcome(&second, &turn).await),
        TurnFailureCause::ToolRunning
    );
    gate.open();
    assert_eq!(
        stalls(&second, &session).await,
        [told, (StallCause::ToolRunning, StallAction::Interrupt)]
    );
    assert_eq!(world.prompts(), ["Work."]);
    world.finish(&second).await;
}

#[tokio::test]
async fn a_stall_that_ended_while_nobody_looked_is_told_by_whoever_takes_over() {
    let world = World::new();
    let first = watched_by(&world, every(WORD)).await;
    let session = create(&first).await;
    let gate = world.hold("Done.");
    world.site.gateway.set_activity(HANGING);
    let turn = send(&first, &session, "Work.").await;
    wait_for(&first, &session, "a word", stall).await;
    first.kill().await;
    world.site.gateway.set_activity(SPEAKING);
    let second = watched_by(&world, every(WORD)).await;
    wait_for(&second, &session, "relief", recovery).await;
    gate.open();
    assert_eq!(outcome(&second, &turn).await.text, "Done.");
    world.finish(&second).await;
}

#[tokio::test]
async fn a_restart_that_was_begun_is_finished_by_whoever_takes_over() {
    let world = World::new();
    let first = watched_by(&world, WatchdogPolicy::OFF).await;
    let session = create(&first).await;
    assert_eq!(ask(&first, &session, "Hello.").await.text, "Hello.");
    world.then(AgentTurn::new().say("I do not listen.").deaf().hang());
    let turn = send(&first, &session, "Work.").await;
    world.asked(2).await;
    first.kill().await;
    // It was killed right behind this.
    let begun = EventKind::AgentStalled {
        cause: StallCause::AgentSilent,
        for_ms: 60_000,
        action: StallAction::Restart,
    };
    let batch = Batch {
        events: vec![(Some(turn.id), begun)],
        ..Batch::default()
    };
    let store = Store::open(&StateDir::open(&world.site.state_dir()).unwrap())
        .await
        .unwrap();
    store.commit(&session, batch).await.unwrap();
    store.close().await;
    let second = watched_by(&world, WatchdogPolicy::OFF).await;
    assert_eq!(
        failed_by(&outcome(&second, &turn).await),
        TurnFailureCause::AgentSilent
    );
    assert_eq!(ask(&second, &session, "Next.").await.text, "Next.");
    resumed_once(&world);
    world.finish(&second).await;
}

#[tokio::test]
async fn an_interrupt_of_the_watchdog_is_finished_by_whoever_takes_over_and_keeps_its_cause() {
    let world = World::new();
    let rule = WORD.then(StallAction::Interrupt, TOLD);
    let first = watched_by(&world, every(rule)).await;
    let session = create(&first).await;
    world.then(AgentTurn::new().say("I do not listen.").deaf().hang());
    let turn = send(&first, &session, "Work.").await;
    let told = wait_for(&first, &session, "a word", stall).await;
    assert_eq!(told, (StallCause::AgentSilent, StallAction::Interrupt));
    first.kill().await;
    let second = watched_by(&world, WatchdogPolicy::OFF).await;
    assert_eq!(
        failed_by(&outcome(&second, &turn).await),
        TurnFailureCause::AgentSilent
    );
    assert_eq!(world.prompts(), ["Work."]);
    world.finish(&second).await;
}

#[tokio::test]
async fn another_process_tells_what_the_events_show() {
    let world = World::new();
    let owner = watched_by(&world, every(WORD)).await;
    let session = create(&owner).await;
    let gate = ALL[1].script(&world);
    let turn = send(&owner, &session, "Work.").await;
    wait_for(&owner, &session, "a word", stall).await;
    let other = world.manager().await;
    let details = look(&other, &session).await;
    let activity = details.activity.unwrap();
    assert!((ALL[1].is)(&activity), "{activity:?}");
    assert_eq!(details.stall, Some(StallCause::ToolRunning));
    gate.open();
    outcome(&owner, &turn).await;
    reaches(&owner, &session, StateName::Ready).await;
    for manager in [&owner, &other] {
        let details = look(manager, &session).await;
        assert_eq!((details.activity, details.stall), (Some(Activity::Idle), None));
    }
    owner.destroy(&session).await.unwrap();
    assert_eq!(look(&other, &session).await.activity, None);
    world.finish(&owner).await;
}
