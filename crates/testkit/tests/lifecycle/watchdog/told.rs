//! Who holds a turn up is told by name, once, and nobody is told of what is no stall.

use std::time::Duration;

use session_core::activity::{Activity, StallAction, StallCause, StallRule, WatchdogPolicy};
use session_core::api::SessionApi;
use session_core::session::CreateSession;
use testkit::memory::AgentTurn;
use testkit::model::Gate;

use super::{
    ALL, DONE, HANGING, NOTHING, SPEAKING, WORD, every, look, recovery, stall, stalls, wait_for, watched_by,
};
use crate::world::{World, create, history, outcome, send, soon};

#[tokio::test]
async fn each_cause_is_told_once_by_name_and_ends_nothing() {
    for hanging in ALL {
        let world = World::new();
        let manager = watched_by(&world, every(WORD)).await;
        let session = create(&manager).await;
        let gate = hanging.script(&world);
        let turn = send(&manager, &session, "Work.").await;
        let told = wait_for(&manager, &session, "a word", |event| {
            assert!(stall(event).is_none() || event.turn == Some(turn.id));
            stall(event)
        });
        assert_eq!(told.await, (hanging.cause, StallAction::Tell));
        let details = look(&manager, &session).await;
        let activity = details.activity.unwrap();
        assert!((hanging.is)(&activity), "{activity:?}");
        assert_eq!(details.stall, Some(hanging.cause));
        // Looked at many times more, and told no more.
        let looks = world.site.gateway.activities();
        let later = async {
            while world.site.gateway.activities() < looks + 5 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        soon("further looks", later).await;
        assert_eq!(
            stalls(&manager, &session).await,
            [(hanging.cause, StallAction::Tell)]
        );
        gate.open();
        assert_eq!(outcome(&manager, &turn).await.text, "Done.");
        assert_eq!(world.site.memory.agents().interrupts(), 0);
        assert_eq!(world.site.memory.agents().starts().len(), 1);
        world.finish(&manager).await;
    }
}

#[tokio::test]
async fn a_stall_that_ends_is_told_and_the_next_one_again() {
    let world = World::new();
    let manager = watched_by(&world, every(WORD)).await;
    let session = create(&manager).await;
    let gate = world.hold("Done.");
    world.site.gateway.set_activity(HANGING);
    let turn = send(&manager, &session, "Work.").await;
    let cause = StallCause::ModelUnreachable;
    assert_eq!(
        wait_for(&manager, &session, "a word", stall).await,
        (cause, StallAction::Tell)
    );
    world.site.gateway.set_activity(SPEAKING);
    assert_eq!(wait_for(&manager, &session, "relief", recovery).await, cause);
    assert_eq!(look(&manager, &session).await.stall, None);
    world.site.gateway.set_activity(HANGING);
    let again = async {
        while stalls(&manager, &session).await.len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("another word", again).await;
    gate.open();
    assert_eq!(outcome(&manager, &turn).await.text, "Done.");
    // The end of a turn needs no word of its own.
    let recovered = history(&manager, &session).await;
    assert_eq!(recovered.iter().filter_map(recovery).count(), 1);
    world.finish(&manager).await;
}

#[tokio::test]
async fn an_idle_session_is_never_looked_at() {
    let world = World::new();
    let rule = StallRule::tell(Duration::ZERO).then(StallAction::Restart, Duration::ZERO);
    let manager = watched_by(&world, every(rule)).await;
    world.site.gateway.set_activity(HANGING);
    let warm = CreateSession {
        warm_agent: true,
        ..CreateSession::default()
    };
    let session = manager.create(warm).await.unwrap().id;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(world.site.gateway.activities(), 0);
    assert_eq!(look(&manager, &session).await.activity, Some(Activity::Idle));
    assert_eq!(stalls(&manager, &session).await, []);
    assert_eq!(world.site.memory.agents().starts().len(), 1);
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_policy_without_rules_looks_at_nothing() {
    let world = World::new();
    let manager = watched_by(&world, WatchdogPolicy::OFF).await;
    let session = create(&manager).await;
    world.site.gateway.set_activity(HANGING);
    let gate = world.hold("Done.");
    let turn = send(&manager, &session, "Work.").await;
    world.asked(1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.site.gateway.activities(), 0);
    gate.open();
    assert_eq!(outcome(&manager, &turn).await.text, "Done.");
    world.finish(&manager).await;
}

#[tokio::test]
async fn an_agent_that_says_anything_is_not_silent() {
    let world = World::new();
    let policy = WatchdogPolicy {
        agent_silent: Some(
            StallRule::tell(Duration::from_millis(400))
                .then(StallAction::Restart, Duration::from_millis(400)),
        ),
        ..WatchdogPolicy::OFF
    };
    let manager = watched_by(&world, policy).await;
    let session = create(&manager).await;
    let gates: Vec<Gate> = (0..8).map(|_| Gate::new()).collect();
    // A line that means nothing and is no event.
    let alive = "{\"type\":\"keep_alive\"}";
    let script = gates
        .iter()
        .fold(AgentTurn::new(), |turn, gate| turn.hold(gate).line(alive));
    world.then(script.say("Done."));
    let turn = send(&manager, &session, "Work.").await;
    world.asked(1).await;
    for gate in &gates {
        tokio::time::sleep(Duration::from_millis(100)).await;
        gate.open();
    }
    assert_eq!(outcome(&manager, &turn).await.text, "Done.");
    assert_eq!(stalls(&manager, &session).await, []);
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_container_that_somebody_froze_is_not_taken_for_a_silent_agent() {
    let world = World::new();
    let manager = watched_by(&world, every(WORD.then(StallAction::Restart, DONE))).await;
    let session = create(&manager).await;
    let gate = world.hold("Done.");
    world.site.gateway.set_activity(SPEAKING);
    let turn = send(&manager, &session, "Work.").await;
    world.asked(1).await;
    world.container(&session).pause();
    world.site.gateway.set_activity(NOTHING);
    tokio::time::sleep(DONE * 4).await;
    gate.open();
    world.site.gateway.set_activity(SPEAKING);
    world.container(&session).resume();
    assert_eq!(outcome(&manager, &turn).await.text, "Done.");
    assert_eq!(stalls(&manager, &session).await, []);
    world.finish(&manager).await;
}
