//! Programs of the gateway and their sidecars when their manager stops, dies, or is joined by another.

use std::collections::BTreeMap;
use std::time::Duration;

use session_core::api::SessionApi;
use session_core::error::{Error, ErrorKind};
use session_core::gateway::{
    EGRESS_DOOR, EGRESS_PORT, ProgramPlace, ProgramSpec, RunningProgram, SidecarSpec,
};
use session_core::id::SessionId;
use session_core::manager::SessionManager;
use session_core::session::{SIDECAR_LABEL, SessionFilter};
use session_core::state::StateName;
use testkit::faults::{Fault, FaultPlan, Operation};
use testkit::harness::ManagerProcess;
use testkit::memory::{Context, Exit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::world::{World, all, create, recorded, soon};

fn program(argv: &[&str]) -> ProgramSpec {
    ProgramSpec {
        argv: argv.iter().map(|argument| (*argument).to_owned()).collect(),
        env: BTreeMap::new(),
        cwd: None,
    }
}

fn sidecar(name: &str) -> ProgramPlace {
    ProgramPlace::Sidecar(SidecarSpec {
        name: name.to_owned(),
        image: None,
        allow: vec!["example.com:443".parse().unwrap()],
        mounts: Vec::new(),
        limits: None,
    })
}

async fn try_start(
    manager: &ManagerProcess,
    place: ProgramPlace,
    program: ProgramSpec,
) -> Result<RunningProgram, Error> {
    let start = |manager: SessionManager| async move { manager.programs().start(place, program).await };
    soon("a program", manager.run(start)).await
}

async fn start(manager: &ManagerProcess, place: ProgramPlace, argv: &[&str]) -> RunningProgram {
    try_start(manager, place, program(argv)).await.unwrap()
}

async fn echoes(running: &mut RunningProgram, word: &str) {
    running.stream.write_all(word.as_bytes()).await.unwrap();
    let mut back = vec![0; word.len()];
    soon("an echo", running.stream.read_exact(&mut back))
        .await
        .unwrap();
    assert_eq!(back, word.as_bytes());
}

/// What is left of its output, and how it ended.
async fn end(mut running: RunningProgram) -> (Vec<u8>, String) {
    let mut rest = Vec::new();
    soon("the end of the output", running.stream.read_to_end(&mut rest))
        .await
        .unwrap();
    (rest, soon("the end of a program", running.ended).await)
}

async fn sidecars(manager: &ManagerProcess) -> Vec<SessionId> {
    let filter = SessionFilter {
        all: true,
        ..SessionFilter::default()
    };
    let listed = manager.list(filter).await.unwrap().into_iter();
    listed
        .filter(|info| info.labels.contains_key(SIDECAR_LABEL))
        .map(|info| info.id)
        .collect()
}

async fn nothing_is_left(world: &World) {
    let gone = async {
        while !world.site.leftovers().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("nothing that is left", gone).await;
}

#[tokio::test]
async fn i12_a_manager_that_is_killed_takes_its_programs_along_and_the_next_its_sidecars() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    let mut inside = start(&manager, ProgramPlace::Session(session), &["cat"]).await;
    let mut beside = start(&manager, sidecar("beside"), &["cat"]).await;
    echoes(&mut inside, "inside").await;
    echoes(&mut beside, "beside").await;
    let [sidecar] = sidecars(&manager).await[..] else {
        panic!("there is one sidecar")
    };
    manager.kill().await;
    let ended = async {
        while !world.container(&session).running().is_empty()
            || !world.container(&sidecar).running().is_empty()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the end of the programs", ended).await;
    assert_eq!(end(inside).await.0, b"");
    assert_eq!(end(beside).await.0, b"");
    assert_eq!(
        world.site.memory.names().len(),
        2,
        "a killed manager removes nothing"
    );

    // Opened for something else, without a supervisor.
    let next = world.manager().await;
    super::world::reaches(&next, &sidecar, StateName::Destroyed).await;
    assert_eq!(world.site.memory.names().len(), 1);
    assert_eq!(recorded(&next, &session).await.name(), StateName::Ready);
    world.finish(&next).await;
}

#[tokio::test]
async fn another_manager_leaves_a_sidecar_alone_that_somebody_wants() {
    let world = World::new();
    let manager = world.manager().await;
    let mut running = start(&manager, sidecar("wanted"), &["cat"]).await;
    let [sidecar] = sidecars(&manager).await[..] else {
        panic!("there is one sidecar")
    };
    let other = world.supervisor().await;
    for _ in 0..3 {
        let done = other.run(|manager| async move { manager.reconcile().await });
        let done = soon("the reconciler", done).await.unwrap();
        assert!(
            !done.finished.contains(&sidecar) && done.left.is_empty(),
            "{done:?}"
        );
    }
    echoes(&mut running, "still here").await;

    // It dies, and the other one, which was there all the time, sees to it.
    manager.kill().await;
    let done = async {
        loop {
            let run = other.run(|manager| async move { manager.reconcile().await });
            run.await.unwrap();
            if recorded(&other, &sidecar).await.is_final() {
                break;
            }
        }
    };
    soon("the end of the sidecar", done).await;
    nothing_is_left(&world).await;
    world.finish(&other).await;
}

#[tokio::test]
async fn a_manager_that_stops_ends_the_gateway_s_servers_and_leaves_no_sidecar() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    let inside = start(&manager, ProgramPlace::Session(session), &["cat"]).await;
    let beside = start(&manager, sidecar("beside"), &["cat"]).await;
    assert!(!world.site.gateway.is_shut_down());
    let stopping = manager.run(|manager| async move {
        manager.shutdown().await;
        Ok(manager.programs())
    });
    let programs = soon("the shutdown", stopping).await.unwrap();
    assert!(world.site.gateway.is_shut_down());
    assert!(end(inside).await.1.starts_with("it was ended"));
    assert!(end(beside).await.1.starts_with("it was ended"));
    assert_eq!(world.container(&session).running(), Vec::<Vec<String>>::new());
    assert_eq!(
        world.site.memory.names().len(),
        1,
        "the session stays, the sidecar goes"
    );
    let late = programs
        .start(ProgramPlace::Session(session), program(&["cat"]))
        .await;
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Cancelled);
    manager.kill().await;
    let next = world.manager().await;
    world.finish(&next).await;
}

#[tokio::test]
async fn a_sidecar_has_the_way_out_and_no_other_door() {
    let world = World::new();
    let knock = async |context: Context| {
        let Ok(mut door) = context.machine.dial(EGRESS_PORT).await else {
            return Exit::Code(7);
        };
        let mut answer = [0; 5];
        let spoke = door.write_all(b"hello").await.is_ok();
        let heard = door.read_exact(&mut answer).await.is_ok();
        context.stdout.write(answer.to_vec()).await;
        Exit::Code(i32::from(!spoke || !heard))
    };
    world.site.memory.program("knock", knock);
    let manager = world.manager().await;
    let running = start(&manager, sidecar("out"), &["sh", "-c", "knock; cat"]).await;
    let [sidecar] = sidecars(&manager).await[..] else {
        panic!("there is one sidecar")
    };
    let mut running = running;
    let mut answer = [0; 5];
    soon("an answer", running.stream.read_exact(&mut answer))
        .await
        .unwrap();
    assert_eq!(&answer, b"hello");
    assert_eq!(world.site.gateway.connections(EGRESS_DOOR), 1);
    assert_eq!(world.container(&sidecar).ports(), [EGRESS_PORT]);
    let grant = world.site.gateway.grant(&sidecar).unwrap();
    assert!(grant.sealed && grant.mcp.plan.is_empty());
    assert_eq!(grant.allow, ["example.com:443".parse().unwrap()]);
    drop(running);
    nothing_is_left(&world).await;
    world.finish(&manager).await;
}

#[tokio::test]
async fn whichever_call_fails_no_sidecar_is_left_in_the_end() {
    for (operation, fault) in [
        (Operation::Prepare, Fault::FailBefore),
        (Operation::Launch, Fault::FailBefore),
        (Operation::Launch, Fault::FailAfter),
    ] {
        let world = World::new();
        let manager = world.manager().await;
        world
            .site
            .faulty
            .set_plan(FaultPlan::none().always(operation, fault));
        let error = try_start(&manager, sidecar("poor"), program(&["cat"]))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EngineFailed, "{operation:?}");
        world.site.faulty.set_plan(FaultPlan::none());
        nothing_is_left(&world).await;
        world.finish(&manager).await;
    }
    // One that cannot be removed now is removed by the next.
    let world = World::new();
    let manager = world.manager().await;
    let running = start(&manager, sidecar("stuck"), &["cat"]).await;
    world
        .site
        .faulty
        .set_plan(FaultPlan::none().always(Operation::Remove, Fault::FailBefore));
    assert!(end_by_dropping(running).await.starts_with("it was ended"));
    manager.shutdown().await;
    assert_eq!(world.site.memory.names().len(), 1);
    world.site.faulty.set_plan(FaultPlan::none());
    let next = world.supervisor().await;
    nothing_is_left(&world).await;
    assert_eq!(sidecars(&next).await.len(), all(&next).await.len());
    world.finish(&next).await;
}

async fn end_by_dropping(running: RunningProgram) -> String {
    let RunningProgram { stream, ended, .. } = running;
    drop(stream);
    soon("the end of a program", ended).await
}

#[tokio::test]
async fn nobody_waits_and_nothing_is_left() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    for place in [ProgramPlace::Session(session), sidecar("hasty")] {
        world.site.memory.set_latency(Duration::from_millis(50));
        let start = |manager: SessionManager| async move {
            let programs = manager.programs();
            let started = programs.start(place, program(&["cat"]));
            // Whoever asked has given up before there was an answer.
            let _ = tokio::time::timeout(Duration::from_millis(1), started).await;
            Ok(())
        };
        manager.run(start).await.unwrap();
        world.site.memory.set_latency(Duration::ZERO);
    }
    let quiet = async {
        // What was begun may not have come as far as a container yet.
        while at_work(&manager).await
            || !world.container(&session).running().is_empty()
            || world.site.memory.names().len() > 1
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("nothing that runs", quiet).await;
    let ended = async {
        for sidecar in sidecars(&manager).await {
            super::world::reaches(&manager, &sidecar, StateName::Destroyed).await;
        }
    };
    soon("the end of the sidecars", ended).await;
    world.finish(&manager).await;
}

async fn at_work(manager: &ManagerProcess) -> bool {
    let asked = |manager: SessionManager| async move { Ok(manager.at_work()) };
    manager.run(asked).await.unwrap()
}

#[tokio::test]
async fn a_link_that_is_lost_ends_the_program_and_says_so() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    let mut running = start(&manager, ProgramPlace::Session(session), &["cat"]).await;
    echoes(&mut running, "here").await;
    world.container(&session).cut_links();
    let (rest, how) = end(running).await;
    assert_eq!(rest, b"");
    assert!(how.starts_with("its container cannot be reached"), "{how}");
    // And another one can be started at once.
    let mut again = start(&manager, ProgramPlace::Session(session), &["cat"]).await;
    echoes(&mut again, "again").await;
    drop(again);
    world.finish(&manager).await;
}
