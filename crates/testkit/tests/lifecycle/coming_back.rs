//! While a session comes back, everybody else is served: those who want something else of it, and the host.

use std::sync::Arc;
use std::time::{Duration, Instant};

use session_core::api::SessionApi;
use session_core::error::ErrorKind;
use session_core::id::SessionId;
use session_core::lifetime::OnInterrupt;
use session_core::manager::{AdmissionPolicy, ManagerOptions};
use session_core::session::CreateSession;
use session_core::state::StateName;
use testkit::faults::{Fault, FaultPlan, Operation};
use testkit::harness::ManagerProcess;

use super::world::{World, create, reaches, recorded, soon};

/// Long enough for whatever is begun at once to be seen.
const A_WHILE: Duration = Duration::from_millis(1500);

fn options(world: &World) -> ManagerOptions {
    let mut options = world.site.options();
    options.supervise = true;
    // What is kept at the end is of no interest here.
    options.checkpoints.automatic = false;
    options
}

fn admitting(world: &World, change: impl FnOnce(&mut AdmissionPolicy)) -> ManagerOptions {
    let mut options = options(world);
    change(&mut options.admission);
    options
}

async fn create_that_comes_back(manager: &ManagerProcess) -> SessionId {
    let request = CreateSession {
        on_interrupt: OnInterrupt::Resume,
        ..CreateSession::default()
    };
    soon("a session", manager.create(request)).await.unwrap().id
}

fn calls(world: &World, operation: Operation) -> usize {
    let calls = world.site.faulty.calls();
    calls.iter().filter(|call| call.operation == operation).count()
}

async fn called(world: &World, operation: Operation, times: usize) {
    let waiting = async {
        while calls(world, operation) < times {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon("an attempt", waiting).await;
}

fn starts_hang(world: &World) {
    let plan = FaultPlan::none().always(Operation::Start, Fault::Hang);
    world.site.faulty.set_plan(plan);
}

#[tokio::test]
async fn an_attempt_that_hangs_keeps_nobody_waiting() {
    let world = World::new();
    starts_hang(&world);
    let manager = world.manager_of(options(&world)).await;
    let (hangs, other) = (create_that_comes_back(&manager).await, create(&manager).await);
    world.container(&hangs).kill();
    called(&world, Operation::Start, 1).await;
    let began = Instant::now();
    let refused = soon("an answer", manager.interrupt(&hangs)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StateConflict);
    let refused = soon("an answer", manager.pause(&hangs)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StateConflict);
    // Whatever happens to others is told all the same.
    world.container(&other).kill();
    reaches(&manager, &other, StateName::Interrupted).await;
    soon("the end", manager.destroy(&hangs)).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_pause_that_is_refused_breaks_off_no_attempt() {
    let world = World::new();
    starts_hang(&world);
    let manager = world.manager_of(options(&world)).await;
    let session = create_that_comes_back(&manager).await;
    world.container(&session).kill();
    called(&world, Operation::Start, 1).await;
    let refused = soon("an answer", manager.pause(&session)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StateConflict);
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(calls(&world, Operation::Start), 1, "begun again");
    soon("the end", manager.destroy(&session)).await.unwrap();
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_resume_that_hangs_keeps_nobody_from_destroying() {
    let world = World::new();
    starts_hang(&world);
    let manager = Arc::new(world.manager_of(options(&world)).await);
    let session = create(&manager).await;
    world.container(&session).kill();
    reaches(&manager, &session, StateName::Interrupted).await;
    let resuming = tokio::spawn({
        let manager = manager.clone();
        async move { manager.resume(&session).await }
    });
    called(&world, Operation::Start, 1).await;
    let began = Instant::now();
    soon("the end", manager.destroy(&session)).await.unwrap();
    soon("an answer", resuming).await.unwrap().unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    world.finish(&manager).await;
}

#[tokio::test]
async fn no_more_come_back_at_once_than_are_made_at_once() {
    let world = World::new();
    let one = |policy: &mut AdmissionPolicy| policy.concurrent_creations = 1;
    let manager = world.manager_of(admitting(&world, one)).await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(create_that_comes_back(&manager).await);
    }
    let plan = FaultPlan::none().fail(Operation::Start, 1, Fault::Hang);
    world.site.faulty.set_plan(plan);
    world.site.memory.restart();
    called(&world, Operation::Start, 1).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(calls(&world, Operation::Start), 1, "at once");
    manager.kill().await;
    let manager = world.manager_of(admitting(&world, one)).await;
    for session in &sessions {
        reaches(&manager, session, StateName::Ready).await;
    }
    world.finish(&manager).await;
}

#[tokio::test]
async fn what_the_host_has_no_memory_for_waits_and_costs_no_attempt() {
    let world = World::new();
    let manager = world.manager_of(options(&world)).await;
    let session = create_that_comes_back(&manager).await;
    manager.kill().await;
    world.site.memory.restart();
    let mut full = admitting(&world, |policy| policy.memory_reserve = u64::MAX);
    full.recovery.attempts = 1;
    let manager = world.manager_of(full).await;
    reaches(&manager, &session, StateName::Interrupted).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(calls(&world, Operation::Start), 0, "begun");
    let refused = soon("a refusal", manager.resume(&session)).await.unwrap_err();
    assert_eq!(
        (refused.kind(), refused.is_retryable()),
        (ErrorKind::LimitExceeded, true)
    );
    assert_eq!(recorded(&manager, &session).await.name(), StateName::Interrupted);
    manager.kill().await;
    let mut room = options(&world);
    room.recovery.attempts = 1;
    let manager = world.manager_of(room).await;
    reaches(&manager, &session, StateName::Ready).await;
    world.finish(&manager).await;
}
