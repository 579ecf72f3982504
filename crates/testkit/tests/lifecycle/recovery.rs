//! What was lost comes back: by hand or by the session's policy, with its workspace and its conversation, once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use session_core::api::SessionApi;
use session_core::error::ErrorKind;
use session_core::event::{Event, EventKind};
use session_core::id::SessionId;
use session_core::lifetime::{OnInterrupt, RecoveryPolicy};
use session_core::manager::ManagerOptions;
use session_core::session::CreateSession;
use session_core::state::{InterruptCause, SessionState, StateName};
use session_core::turn::{TurnFailureCause, TurnStatus};
use testkit::faults::{Fault, FaultPlan, Operation};
use testkit::harness::ManagerProcess;
use testkit::memory::{AgentTurn, MemoryContainer};

use super::world::{
    World, ask, create, history, inspected, outcome, prompt, reaches, recorded, said, send, soon, stored,
};

/// Whatever happens behind our back is known within this time.
const CONVERGES_WITHIN: Duration = Duration::from_secs(5);

async fn create_that_comes_back(manager: &ManagerProcess) -> SessionId {
    let request = CreateSession {
        on_interrupt: OnInterrupt::Resume,
        ..CreateSession::default()
    };
    soon("a session", manager.create(request)).await.unwrap().id
}

/// Policies with little patience.
fn hasty(world: &World, supervise: bool) -> ManagerOptions {
    ManagerOptions {
        supervise,
        recovery: RecoveryPolicy {
            attempts: 3,
            first_pause: Duration::from_millis(10),
            last_pause: Duration::from_millis(20),
            ..RecoveryPolicy::default()
        },
        ..world.site.options()
    }
}

fn recoveries(events: &[Event]) -> Vec<InterruptCause> {
    let told = |event: &Event| match &event.kind {
        EventKind::Recovered { cause, .. } => Some(*cause),
        _ => None,
    };
    events.iter().filter_map(told).collect()
}

/// Waits until it was told so often that the session came back.
async fn comes_back(manager: &ManagerProcess, session: &SessionId, times: usize) -> Vec<InterruptCause> {
    let waiting = async {
        loop {
            let told = recoveries(&stored(manager, session).await);
            if told.len() >= times {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the session to come back", waiting).await
}

/// How a container is lost, what is said of it, and whether its storage stays.
type Loss = (fn(&MemoryContainer), InterruptCause, bool);

const LOSSES: [Loss; 4] = [
    (MemoryContainer::kill, InterruptCause::ContainerExited, true),
    (MemoryContainer::out_of_memory, InterruptCause::OutOfMemory, true),
    (
        MemoryContainer::remove_without_storage,
        InterruptCause::ContainerRemoved,
        true,
    ),
    (MemoryContainer::remove, InterruptCause::ContainerRemoved, false),
];

#[tokio::test]
async fn a_lost_session_that_is_resumed_has_its_workspace_and_its_conversation() {
    for (lose, cause, keeps_storage) in LOSSES {
        let world = World::new();
        let manager = world.manager().await;
        let session = create(&manager).await;
        assert_eq!(ask(&manager, &session, "Hello").await.text, "Hello");
        std::fs::write(world.container(&session).path("work"), "unsaved").unwrap();
        lose(&world.container(&session));
        assert_eq!(
            inspected(&manager, &session).await,
            SessionState::Interrupted { cause }
        );
        soon("the resume", manager.resume(&session)).await.unwrap();
        assert_eq!(recorded(&manager, &session).await, SessionState::Ready);
        assert_eq!(ask(&manager, &session, "Again").await.text, "Again");
        let there = std::fs::read_to_string(world.container(&session).path("work"));
        assert_eq!(there.is_ok(), keeps_storage, "{cause:?}");
        let starts = world.site.memory.agents().starts();
        assert!(
            starts.last().unwrap().resumed.is_some(),
            "another conversation was begun"
        );
        assert_eq!(recoveries(&history(&manager, &session).await), [cause]);
        world.finish(&manager).await;
    }
}

#[tokio::test]
async fn by_its_policy_it_comes_back_alone_and_what_waited_goes_on() {
    for (lose, cause, _) in LOSSES {
        let world = World::new();
        let manager = world.supervisor().await;
        let session = create_that_comes_back(&manager).await;
        world.then(AgentTurn::new().say("I am at it.").hang());
        let running = send(&manager, &session, "Work.").await;
        let waiting = send(&manager, &session, "Then this.").await;
        world.asked(1).await;
        lose(&world.container(&session));
        let lost = outcome(&manager, &running).await;
        let expected = match cause {
            InterruptCause::OutOfMemory => TurnFailureCause::OutOfMemory,
            _ => TurnFailureCause::SessionLost,
        };
        assert_eq!(lost.failure.unwrap().cause, expected);
        assert_eq!(outcome(&manager, &waiting).await.text, "Then this.");
        assert_eq!(world.prompts(), ["Work.", "Then this."], "nothing runs twice");
        assert_eq!(comes_back(&manager, &session, 1).await, [cause]);
        world.finish(&manager).await;
    }
}

#[tokio::test]
async fn an_engine_that_restarts_is_the_cause_and_all_come_back() {
    let world = World::new();
    let manager = world.supervisor().await;
    let stays = create(&manager).await;
    let sessions = [
        create_that_comes_back(&manager).await,
        create_that_comes_back(&manager).await,
    ];
    world.site.memory.restart();
    let cause = InterruptCause::EngineRestart;
    assert_eq!(
        reaches(&manager, &stays, StateName::Interrupted).await,
        SessionState::Interrupted { cause }
    );
    for session in &sessions {
        assert_eq!(comes_back(&manager, session, 1).await, [cause]);
        reaches(&manager, session, StateName::Ready).await;
        assert_eq!(ask(&manager, session, "Hello").await.text, "Hello");
    }
    world.finish(&manager).await;
}

#[tokio::test]
async fn an_engine_that_restarted_while_nobody_looked_is_the_cause_too() {
    let world = World::new();
    let manager = world.supervisor().await;
    let session = create_that_comes_back(&manager).await;
    manager.kill().await;
    world.site.memory.restart();
    let manager = world.supervisor().await;
    assert_eq!(
        comes_back(&manager, &session, 1).await,
        [InterruptCause::EngineRestart]
    );
    world.finish(&manager).await;
}

#[tokio::test]
async fn what_no_event_told_is_known_within_five_seconds() {
    let world = World::new();
    world
        .site
        .faulty
        .set_plan(FaultPlan::none().always(Operation::Watch, Fault::FailBefore));
    let manager = world.supervisor().await;
    let (lost, frozen, renamed) = (
        create(&manager).await,
        create(&manager).await,
        create(&manager).await,
    );
    let began = Instant::now();
    world.container(&lost).remove();
    world.container(&frozen).pause();
    world.container(&renamed).rename("somebody-else");
    reaches(&manager, &lost, StateName::Interrupted).await;
    reaches(&manager, &frozen, StateName::Paused).await;
    named_again(&world, &renamed).await;
    assert!(began.elapsed() < CONVERGES_WITHIN, "{:?}", began.elapsed());
    assert_eq!(recorded(&manager, &renamed).await, SessionState::Ready);
    world.container(&frozen).resume();
    reaches(&manager, &frozen, StateName::Ready).await;
    world.finish(&manager).await;
}

async fn named_again(world: &World, session: &SessionId) {
    let named = async {
        while world.container(session).alias().is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the name to be given back", named).await;
}

#[tokio::test]
async fn a_renamed_container_gets_its_name_back_and_its_turn_goes_on() {
    let world = World::new();
    let manager = world.supervisor().await;
    let session = create(&manager).await;
    let gate = world.hold("Done.");
    let turn = send(&manager, &session, "Work.").await;
    world.asked(1).await;
    world.container(&session).rename("somebody-else");
    named_again(&world, &session).await;
    gate.open();
    assert_eq!(outcome(&manager, &turn).await.text, "Done.");
    assert_eq!(world.prompts(), ["Work."]);
    assert_eq!(recoveries(&stored(&manager, &session).await), []);
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_container_with_copied_labels_is_not_taken_for_the_session_s_own() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    let labels = world.container(&session).labels();
    world.container(&session).remove();
    let planted = world.site.memory.plant(&session, BTreeMap::new());
    let cause = InterruptCause::ContainerRemoved;
    assert_eq!(
        inspected(&manager, &session).await,
        SessionState::Interrupted { cause }
    );
    let refused = soon("a refusal", manager.resume(&session)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StateConflict, "{refused}");
    assert_eq!(recorded(&manager, &session).await.name(), StateName::Interrupted);
    world.container(&session).remove();
    assert_eq!(world.site.memory.plant(&session, labels), planted);
    world.container(&session).rename("a-copy");
    soon("the resume", manager.resume(&session)).await.unwrap_err();
    world.container(&session).remove();
    soon("the resume", manager.resume(&session)).await.unwrap();
    assert_eq!(ask(&manager, &session, "Hello").await.text, "Hello");
    world.finish(&manager).await;
}

#[tokio::test]
async fn whoever_dies_in_the_middle_is_followed_by_one_that_brings_it_back() {
    for (operation, fault) in [
        (Operation::Start, Fault::Hang),
        (Operation::Start, Fault::HangAfter),
        (Operation::Launch, Fault::Hang),
        (Operation::Launch, Fault::HangAfter),
        (Operation::Prepare, Fault::HangAfter),
    ] {
        let world = World::new();
        let manager = world.manager_of(hasty(&world, true)).await;
        let session = create_that_comes_back(&manager).await;
        assert_eq!(ask(&manager, &session, "Hello").await.text, "Hello");
        world
            .site
            .faulty
            .set_plan(FaultPlan::none().fail(operation, 1, fault));
        match operation {
            Operation::Start => world.container(&session).kill(),
            _ => world.container(&session).remove_without_storage(),
        }
        let begun = async {
            while !world
                .site
                .faulty
                .calls()
                .iter()
                .any(|call| call.operation == operation)
            {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        soon("the attempt", begun).await;
        assert_eq!(recorded(&manager, &session).await.name(), StateName::Interrupted);
        manager.kill().await;
        world.site.faulty.set_plan(FaultPlan::none());
        let manager = world.manager_of(hasty(&world, true)).await;
        assert_eq!(comes_back(&manager, &session, 1).await.len(), 1);
        assert_eq!(ask(&manager, &session, "Again").await.text, "Again");
        world.finish(&manager).await;
    }
}

#[tokio::test]
async fn a_session_that_never_comes_up_is_given_up_and_says_why() {
    let world = World::new();
    let manager = world.manager_of(hasty(&world, true)).await;
    let session = create_that_comes_back(&manager).await;
    world.then(AgentTurn::new().say("I am at it.").hang());
    let running = send(&manager, &session, "Work.").await;
    let waiting = send(&manager, &session, "Then this.").await;
    world.asked(1).await;
    let plan = FaultPlan::none()
        .always(Operation::Start, Fault::FailBefore)
        .always(Operation::Launch, Fault::FailBefore);
    world.site.faulty.set_plan(plan);
    world.container(&session).kill();
    for turn in [&running, &waiting] {
        let ended = outcome(&manager, turn).await;
        assert_eq!(ended.status, TurnStatus::Failed);
        assert_eq!(ended.failure.unwrap().cause, TurnFailureCause::SessionLost);
    }
    let problems = |events: &[Event]| {
        let is_problem = |event: &&Event| matches!(event.kind, EventKind::Problem { .. });
        events.iter().filter(is_problem).count()
    };
    let told = async {
        while problems(&stored(&manager, &session).await) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the reason", told).await;
    let attempts = |world: &World| {
        let calls = world.site.faulty.calls();
        calls
            .iter()
            .filter(|call| call.operation == Operation::Launch)
            .count()
    };
    assert_eq!(attempts(&world), 3, "attempts");
    manager.kill().await;
    // Whoever comes next does not begin again, and does not say it again.
    let manager = world.manager_of(hasty(&world, true)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(attempts(&world), 3, "attempts");
    assert_eq!(problems(&stored(&manager, &session).await), 1);
    let refused = manager.prompt(&session, prompt("x")).await.unwrap_err();
    assert!(refused.hint().unwrap().contains("resume"));
    world.site.faulty.set_plan(FaultPlan::none());
    soon("the resume", manager.resume(&session)).await.unwrap();
    assert_eq!(ask(&manager, &session, "Hello").await.text, "Hello");
    world.finish(&manager).await;
}

#[tokio::test]
async fn an_engine_that_is_away_costs_no_attempt() {
    let world = World::new();
    let options = ManagerOptions {
        recovery: RecoveryPolicy {
            attempts: 1,
            ..RecoveryPolicy::default()
        },
        ..hasty(&world, true)
    };
    let manager = world.manager_of(options).await;
    let session = create_that_comes_back(&manager).await;
    world.site.memory.restart();
    world.site.memory.set_down(true);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    world.site.memory.set_down(false);
    assert_eq!(
        comes_back(&manager, &session, 1).await,
        [InterruptCause::EngineRestart]
    );
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_manager_that_starts_takes_up_every_session_and_running_prompts_go_on() {
    let world = World::new();
    let manager = world.manager().await;
    let mut sessions = Vec::new();
    for _ in 0..24 {
        sessions.push(create(&manager).await);
    }
    let gate = world.hold("Done.");
    let turn = send(&manager, &sessions[0], "Work.").await;
    world.asked(1).await;
    manager.kill().await;
    let manager = world.manager().await;
    let adopted = soon(
        "the adoption",
        manager.run(|manager| async move { manager.adopt().await }),
    )
    .await;
    let adopted = adopted.unwrap();
    assert_eq!((adopted.sessions, adopted.failed), (24, 0));
    assert!(adopted.took < Duration::from_secs(2), "{:?}", adopted.took);
    gate.open();
    assert_eq!(outcome(&manager, &turn).await.text, "Done.");
    assert_eq!(said(&history(&manager, &sessions[0]).await, "Done."), 1);
    assert_eq!(world.prompts(), ["Work."]);
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_session_is_taken_up_without_the_engine_as_soon_as_it_dials() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    let gate = world.hold("Done.");
    let turn = send(&manager, &session, "Work.").await;
    world.asked(1).await;
    manager.kill().await;
    world.site.memory.set_dials(false);
    world.site.memory.set_down(true);
    let options = ManagerOptions {
        socket_patience: Duration::from_secs(30),
        ..world.site.options()
    };
    let manager = world.manager_of(options).await;
    let dials = async {
        // It is looked at several times meanwhile.
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.site.memory.set_dials(true);
    };
    let adopting = manager.run(|manager| async move { manager.adopt().await });
    let (adopted, ()) = soon("the adoption", async { tokio::join!(adopting, dials) }).await;
    let adopted = adopted.unwrap();
    assert_eq!((adopted.sessions, adopted.failed), (1, 0));
    gate.open();
    assert_eq!(outcome(&manager, &turn).await.text, "Done.");
    world.site.memory.set_down(false);
    assert_eq!(world.prompts(), ["Work."]);
    world.finish(&manager).await;
}

/// How many are taken up at once.
const MANY: usize = 200;

/// The number that is published comes from the benchmark; this one keeps it from being off by far.
#[tokio::test]
async fn hundreds_of_sessions_are_taken_up_in_a_moment() {
    let world = World::new();
    let manager = world.manager().await;
    let creating = async {
        let creations = (0..MANY).map(|_| manager.create(CreateSession::default()));
        let made: Vec<_> = futures::StreamExt::collect(futures::StreamExt::buffer_unordered(
            futures::stream::iter(creations),
            32,
        ))
        .await;
        made.into_iter().filter(Result::is_ok).count()
    };
    let made = tokio::time::timeout(Duration::from_secs(120), creating)
        .await
        .unwrap();
    assert_eq!(made, MANY);
    manager.kill().await;
    let manager = world.manager().await;
    let adopted = manager
        .run(|manager| async move { manager.adopt().await })
        .await
        .unwrap();
    assert_eq!((adopted.sessions, adopted.failed), (MANY, 0));
    println!("{MANY} sessions were taken up in {:?}", adopted.took);
    assert!(adopted.took < Duration::from_secs(10), "{:?}", adopted.took);
    manager.kill().await;
}
