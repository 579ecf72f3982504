//! A container is started anew, by somebody else or with nobody looking: what ran in it has ended, and nothing runs twice.

use std::collections::BTreeMap;

use session_core::api::SessionApi;
use session_core::id::SessionId;
use session_core::lifetime::OnInterrupt;
use session_core::session::CreateSession;
use session_core::state::{InterruptCause, SessionState, StateName};
use session_core::state_dir::StateDir;
use session_core::store::{AgentRecord, Batch, Store};
use session_core::turn::{TurnFailureCause, TurnStatus};
use testkit::harness::ManagerProcess;
use testkit::memory::{AgentTurn, Exit};
use tokio::sync::mpsc;

use super::world::{World, ask, create, inspected, outcome, reaches, recorded, send, soon};

/// Where the image has its agent.
const AGENT: &str = "/opt/cofferdam/bin/claude";

async fn create_with(manager: &ManagerProcess, on_interrupt: OnInterrupt) -> SessionId {
    let request = CreateSession {
        on_interrupt,
        ..CreateSession::default()
    };
    soon("a session", manager.create(request)).await.unwrap().id
}

async fn store_of(world: &World) -> Store {
    let dir = StateDir::open(&world.site.state_dir()).unwrap();
    Store::open(&dir).await.unwrap()
}

#[tokio::test]
async fn a_turn_ends_with_the_container_that_was_started_anew_while_nobody_looked() {
    let world = World::new();
    let manager = world.supervisor().await;
    let session = create_with(&manager, OnInterrupt::Stop).await;
    world.then(AgentTurn::new().say("I am at it.").hang());
    let turn = send(&manager, &session, "Work.").await;
    world.asked(1).await;
    manager.kill().await;
    world.container(&session).restart();
    let manager = world.supervisor().await;
    let failure = outcome(&manager, &turn).await.failure.unwrap();
    assert_eq!(
        failure.cause,
        TurnFailureCause::SessionLost,
        "{}",
        failure.error.message
    );
    let cause = InterruptCause::ContainerExited;
    assert_eq!(
        reaches(&manager, &session, StateName::Interrupted).await,
        SessionState::Interrupted { cause }
    );
    soon("the resume", manager.resume(&session)).await.unwrap();
    assert_eq!(ask(&manager, &session, "Hello").await.text, "Hello");
    assert_eq!(world.prompts(), ["Work.", "Hello"]);
    world.finish(&manager).await;
}

#[tokio::test]
async fn by_its_policy_a_session_whose_container_was_started_anew_comes_back_and_what_waited_goes_on() {
    let world = World::new();
    let manager = world.supervisor().await;
    let session = create_with(&manager, OnInterrupt::Resume).await;
    world.then(AgentTurn::new().say("I am at it.").hang());
    let running = send(&manager, &session, "Work.").await;
    let waiting = send(&manager, &session, "Then this.").await;
    world.asked(1).await;
    manager.kill().await;
    world.container(&session).restart();
    let manager = world.supervisor().await;
    let failure = outcome(&manager, &running).await.failure.unwrap();
    assert_eq!(
        failure.cause,
        TurnFailureCause::SessionLost,
        "{}",
        failure.error.message
    );
    assert_eq!(outcome(&manager, &waiting).await.text, "Then this.");
    assert_eq!(world.prompts(), ["Work.", "Then this."]);
    // It is taken up as it is from now on.
    manager.kill().await;
    let manager = world.supervisor().await;
    assert_eq!(ask(&manager, &session, "Hello").await.text, "Hello");
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_turn_whose_agent_is_gone_has_ended_before_another_agent_starts() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    world.then(AgentTurn::new().say("I am at it.").hang());
    let turn = send(&manager, &session, "Work.").await;
    world.asked(1).await;
    manager.kill().await;
    let store = store_of(&world).await;
    let agent = AgentRecord {
        process: Some("agent-nobody".to_owned()),
        offset: 0,
        ..store.take_agent(&session).await.unwrap().agent
    };
    let batch = Batch {
        agent: Some(agent),
        ..Batch::default()
    };
    store.commit(&session, batch).await.unwrap();
    let (tell, mut told) = mpsc::channel(1);
    world.site.memory.program(AGENT, move |_| {
        let (store, tell) = (store.clone(), tell.clone());
        async move {
            let running = store.running_turn(&session).await.unwrap();
            let _ = tell.try_send(running.is_some());
            Exit::Code(1)
        }
    });
    let manager = world.supervisor().await;
    let running = soon("another agent", told.recv()).await.unwrap();
    assert!(!running, "whoever takes that agent gives it the prompt again");
    let ended = outcome(&manager, &turn).await;
    assert_eq!(ended.status, TurnStatus::Failed);
    assert_eq!(ended.failure.unwrap().cause, TurnFailureCause::OwnerLost);
    assert_eq!(world.prompts(), ["Work."]);
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_container_that_took_the_place_of_a_session_s_own_is_not_it_whatever_its_labels() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    let labels: BTreeMap<_, _> = world.container(&session).labels();
    world.container(&session).remove();
    world.site.memory.plant(&session, labels);
    let cause = InterruptCause::ContainerRemoved;
    assert_eq!(
        inspected(&manager, &session).await,
        SessionState::Interrupted { cause }
    );
    assert_eq!(recorded(&manager, &session).await.name(), StateName::Interrupted);
    world.finish(&manager).await;
}
