//! Sessions end by themselves when their time has come, and never under anybody's hands.

use std::time::{Duration, Instant};

use session_core::api::SessionApi;
use session_core::command::{CommandRequest, OnDisconnect};
use session_core::error::ErrorKind;
use session_core::event::EventKind;
use session_core::id::SessionId;
use session_core::lifetime::{ExpiryCause, Lifetime};
use session_core::manager::ManagerOptions;
use session_core::session::CreateSession;
use session_core::state::{SessionState, StateName};
use session_core::state_dir::StateDir;
use session_core::store::{Batch, Store};
use session_core::terminal::{OpenTerminal, TerminalProgram, TerminalSize};
use session_core::turn::TurnStatus;
use testkit::faults::{Fault, FaultPlan, Operation};
use testkit::harness::ManagerProcess;
use testkit::memory::AgentTurn;

use super::world::{World, ask, create, outcome, prompt, reaches, recorded, send, soon, stored};

/// Short enough to be waited for, and long enough to be noticed in time on a machine with much to do.
const SHORT: u64 = 1_500;

fn idle() -> Lifetime {
    Lifetime {
        idle_ms: Some(SHORT),
        ..Lifetime::default()
    }
}

async fn make(manager: &ManagerProcess, lifetime: Lifetime) -> SessionId {
    let request = CreateSession {
        lifetime,
        ..CreateSession::default()
    };
    soon("a session", manager.create(request)).await.unwrap().id
}

/// Waits until it has ended, and looks at how that is told.
async fn expires(manager: &ManagerProcess, session: &SessionId, wanted: ExpiryCause) {
    reaches(manager, session, StateName::Destroyed).await;
    let events = stored(manager, session).await;
    let told: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Expired { cause } => Some((event.seq, *cause)),
            _ => None,
        })
        .collect();
    let destroying = events.iter().find(|event| {
        matches!(
            &event.kind,
            EventKind::StateChanged {
                to: SessionState::Destroying
            }
        )
    });
    let [(seq, cause)] = told[..] else {
        panic!("told once: {events:?}")
    };
    assert_eq!(cause, wanted);
    assert!(
        destroying.is_some_and(|event| event.seq > seq),
        "told before: {events:?}"
    );
}

async fn lives(manager: &ManagerProcess, session: &SessionId) {
    let state = recorded(manager, session).await;
    assert!(
        matches!(state, SessionState::Ready | SessionState::Busy),
        "{state:?}"
    );
}

#[tokio::test]
async fn a_session_that_works_is_never_idle() {
    let world = World::new();
    let manager = world.supervisor().await;
    let [turn, command, terminal, copy] = [
        make(&manager, idle()).await,
        make(&manager, idle()).await,
        make(&manager, idle()).await,
        make(&manager, idle()).await,
    ];
    let gate = world.hold("Done.");
    let running = send(&manager, &turn, "Work").await;
    world.asked(1).await;
    let watched = manager
        .command(&command, CommandRequest::new(["sleep", "1000"]))
        .await
        .unwrap();
    let size = TerminalSize::default();
    let program = TerminalProgram::Command {
        argv: vec!["cat".to_owned()],
    };
    let request = OpenTerminal {
        program,
        size,
        idempotency_key: None,
    };
    let opened = manager.open_terminal(&terminal, request).await.unwrap();
    let viewer = manager
        .attach_terminal(&terminal, &opened.id, size)
        .await
        .unwrap();
    let archive = manager.copy_out(&copy, ".").await.unwrap();

    // One after another has nothing to do and goes, which takes longer each time than any of the others may idle.
    for _ in 0..2 {
        let nothing = make(&manager, idle()).await;
        expires(&manager, &nothing, ExpiryCause::Idle).await;
        for working in [&turn, &command, &terminal, &copy] {
            lives(&manager, working).await;
        }
    }
    gate.open();
    assert_eq!(outcome(&manager, &running).await.text, "Done.");
    drop((watched, viewer, archive));
    for session in [&turn, &command, &terminal, &copy] {
        expires(&manager, session, ExpiryCause::Idle).await;
    }
    let late = manager.prompt(&turn, prompt("Too late?")).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::StateConflict);
    world.finish(&manager).await;
}

#[tokio::test]
async fn work_of_another_process_counts_and_what_it_leaves_running_as_well() {
    let world = World::new();
    let (daemon, other) = (world.supervisor().await, world.manager().await);
    let session = make(&daemon, idle()).await;
    let detach = CommandRequest {
        on_disconnect: OnDisconnect::Detach,
        ..CommandRequest::new(["sleep", "1000"])
    };
    let running = other.command(&session, detach).await.unwrap();
    let id = running.id;
    let bystander = make(&daemon, idle()).await;
    expires(&daemon, &bystander, ExpiryCause::Idle).await;
    lives(&daemon, &session).await;
    // It dies, and so does the daemon: nobody watches the command any more.
    drop(running);
    other.kill().await;
    daemon.kill().await;
    let daemon = world.supervisor().await;
    let bystander = make(&daemon, idle()).await;
    expires(&daemon, &bystander, ExpiryCause::Idle).await;
    lives(&daemon, &session).await;
    let again = daemon.attach_command(&session, &id, 0).await.unwrap();
    again.control.signal(9).await.unwrap();
    drop(again);
    expires(&daemon, &session, ExpiryCause::Idle).await;
    world.finish(&daemon).await;
}

#[tokio::test]
async fn the_end_of_its_life_ends_a_session_whatever_it_does() {
    let world = World::new();
    let manager = world.supervisor().await;
    let session = make(
        &manager,
        Lifetime {
            max_ms: Some(SHORT),
            ..Lifetime::default()
        },
    )
    .await;
    let _gate = world.hold("Never.");
    let turn = send(&manager, &session, "Work").await;
    expires(&manager, &session, ExpiryCause::MaximumLife).await;
    assert_eq!(outcome(&manager, &turn).await.status, TurnStatus::Interrupted);
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_daemon_that_comes_back_goes_on_counting() {
    let world = World::new();
    let daemon = world.supervisor().await;
    let life = |max_ms| Lifetime {
        max_ms: Some(max_ms),
        ..Lifetime::default()
    };
    let (short, long) = (
        make(&daemon, life(SHORT)).await,
        make(&daemon, life(3_600_000)).await,
    );
    daemon.kill().await;
    tokio::time::sleep(Duration::from_millis(SHORT)).await;
    let daemon = world.supervisor().await;
    expires(&daemon, &short, ExpiryCause::MaximumLife).await;
    lives(&daemon, &long).await;
    world.finish(&daemon).await;
}

#[tokio::test]
async fn a_lease_holds_for_as_long_as_somebody_renews_it() {
    let world = World::new();
    let (daemon, client) = (world.supervisor().await, world.manager().await);
    let lease = Lifetime {
        lease_ms: Some(SHORT),
        ..Lifetime::default()
    };
    let (kept, left) = (make(&daemon, lease).await, make(&daemon, lease).await);
    let without = create(&daemon).await;
    let before = daemon.session(&kept).await.unwrap().lease_until.unwrap();
    // Work keeps no lease.
    let running = daemon
        .command(&left, CommandRequest::new(["sleep", "1000"]))
        .await
        .unwrap();
    let renewing = async {
        loop {
            let renewed = client.renew_lease(&kept).await.unwrap();
            assert!(renewed.lease_until.unwrap() > before);
            tokio::time::sleep(Duration::from_millis(SHORT / 10)).await;
        }
    };
    tokio::select! {
        () = renewing => {}
        () = expires(&daemon, &left, ExpiryCause::LeaseLapsed) => {}
    }
    lives(&daemon, &kept).await;
    expires(&daemon, &kept, ExpiryCause::LeaseLapsed).await;
    drop(running);
    let late = client.renew_lease(&kept).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::StateConflict);
    assert_eq!(client.renew_lease(&without).await.unwrap().lease_until, None);
    let nobody = client.renew_lease(&SessionId::new()).await.unwrap_err();
    assert_eq!(nobody.kind(), ErrorKind::NotFound);
    world.finish(&daemon).await;
}

#[tokio::test]
async fn a_lease_is_renewed_although_turns_begin_and_end_meanwhile() {
    let world = World::new();
    let manager = world.manager().await;
    let lease = Lifetime {
        lease_ms: Some(3_600_000),
        ..Lifetime::default()
    };
    let session = make(&manager, lease).await;
    let dir = StateDir::open(&world.site.state_dir()).unwrap();
    let other = Store::open(&dir).await.unwrap();
    for state in [SessionState::Busy, SessionState::Ready]
        .into_iter()
        .cycle()
        .take(100)
    {
        let batch = Batch {
            state: Some(state),
            ..Batch::default()
        };
        let (renewed, changed) = tokio::join!(manager.renew_lease(&session), other.commit(&session, batch));
        changed.unwrap();
        assert!(renewed.unwrap().lease_until.is_some());
    }
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_session_of_which_nothing_can_be_read_stops_nobody_else_s_time() {
    let world = World::new();
    let daemon = world.supervisor().await;
    let unreadable = make(&daemon, idle()).await;
    let other = make(&daemon, idle()).await;
    daemon.kill().await;
    let own = world
        .site
        .state_dir()
        .join("sessions")
        .join(unreadable.to_string());
    let aside = world.site.state_dir().with_file_name("aside");
    std::fs::rename(&own, &aside).unwrap();
    std::fs::write(&own, "no directory").unwrap();
    let daemon = world.supervisor().await;
    expires(&daemon, &other, ExpiryCause::Idle).await;
    let stays = recorded(&daemon, &unreadable).await;
    assert!(!stays.is_final(), "{stays:?}");
    std::fs::remove_file(&own).unwrap();
    std::fs::rename(&aside, &own).unwrap();
    expires(&daemon, &unreadable, ExpiryCause::Idle).await;
    world.finish(&daemon).await;
}

#[tokio::test]
async fn a_session_whose_last_turn_failed_is_kept_until_one_succeeds() {
    let world = World::new();
    let manager = world.supervisor().await;
    let keep = Lifetime {
        keep_on_failure: true,
        ..idle()
    };
    let session = make(&manager, keep).await;
    world.then(AgentTurn::new().say("Oh.").exit(3));
    assert_eq!(ask(&manager, &session, "Break").await.status, TurnStatus::Failed);
    let bystander = make(&manager, idle()).await;
    expires(&manager, &bystander, ExpiryCause::Idle).await;
    lives(&manager, &session).await;
    assert_eq!(
        ask(&manager, &session, "Again").await.status,
        TurnStatus::Succeeded
    );
    expires(&manager, &session, ExpiryCause::Idle).await;
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_process_with_sessions_that_end_by_themselves_is_there_to_end_them() {
    let world = World::new();
    let manager = world.supervisor().await;
    let keeps_time = || async {
        let asked = manager.run(|manager| async move { Ok(manager.keeps_time()) });
        asked.await.unwrap()
    };
    create(&manager).await;
    assert!(!keeps_time().await, "this one ends when somebody says so");
    let session = make(&manager, idle()).await;
    let noticed = async {
        while !keeps_time().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("somebody who keeps the time", noticed).await;
    expires(&manager, &session, ExpiryCause::Idle).await;
    let rest = async {
        while keeps_time().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("rest", rest).await;
    world.finish(&manager).await;
}

#[tokio::test]
async fn the_operators_lifetime_is_for_those_who_name_none() {
    let world = World::new();
    let (idle_ms, max_ms) = (Some(3_600_000), Some(86_400_000));
    let options = ManagerOptions {
        default_lifetime: Lifetime {
            idle_ms,
            max_ms,
            ..Lifetime::default()
        },
        ..world.site.options()
    };
    let manager = world.manager_of(options).await;
    let silent = make(&manager, Lifetime::default()).await;
    let own = Lifetime {
        idle_ms: Some(SHORT * 1000),
        keep_on_failure: true,
        ..Lifetime::default()
    };
    let talking = make(&manager, own).await;
    let lifetime = |info: session_core::session::SessionInfo| info.lifetime;
    assert_eq!(
        lifetime(manager.session(&silent).await.unwrap()),
        Lifetime {
            idle_ms,
            max_ms,
            ..Lifetime::default()
        }
    );
    assert_eq!(
        lifetime(manager.session(&talking).await.unwrap()),
        Lifetime { max_ms, ..own }
    );
    world.finish(&manager).await;
    let usual = world.manager().await;
    let free = make(&usual, Lifetime::default()).await;
    assert!(
        usual.session(&free).await.unwrap().lifetime.is_unlimited(),
        "off by default"
    );
    world.finish(&usual).await;
}

#[tokio::test]
async fn a_renewal_saves_a_session_whose_end_was_begun_and_is_not_final() {
    let world = World::new();
    let daemon = world.supervisor().await;
    let lease = Lifetime {
        lease_ms: Some(SHORT),
        ..Lifetime::default()
    };
    let session = make(&daemon, lease).await;
    // Its task is at something else when the lease lapses, so that its end has to wait.
    let held = Duration::from_millis(4 * SHORT);
    let plan = FaultPlan::none().fail(Operation::Inspect, 1, Fault::Delay(held));
    world.site.faulty.set_plan(plan);
    let began = Instant::now();
    let renewing = async {
        tokio::time::sleep(Duration::from_millis(3 * SHORT)).await;
        while began.elapsed() < held + Duration::from_millis(SHORT) {
            daemon.renew_lease(&session).await.unwrap();
            tokio::time::sleep(Duration::from_millis(SHORT / 10)).await;
        }
    };
    let (inspected, ()) = tokio::join!(daemon.inspect(&session), renewing);
    inspected.unwrap();
    lives(&daemon, &session).await;
    expires(&daemon, &session, ExpiryCause::LeaseLapsed).await;
    world.finish(&daemon).await;
}

#[tokio::test]
async fn time_is_counted_from_the_admission_on_before_anybody_looks() {
    let world = World::new();
    let manager = world.manager().await;
    let timed = make(&manager, idle()).await;
    let free = make(&manager, Lifetime::default()).await;
    let store = Store::open(&StateDir::open(&world.site.state_dir()).unwrap())
        .await
        .unwrap();
    for (session, counted) in [(&timed, true), (&free, false)] {
        let record = store.session(session).await.unwrap().unwrap();
        assert_eq!(record.timers.is_some(), counted, "{:?}", record.timers);
    }
    store.close().await;
    world.finish(&manager).await;
}
