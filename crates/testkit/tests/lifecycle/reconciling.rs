//! The reconciler removes what is ours and wanted by nobody, and touches nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use session_core::api::SessionApi;
use session_core::audit::AuditQuery;
use session_core::garbage::{Garbage, GarbageKind, GarbageReport};
use session_core::id::{ContainerName, SessionId};
use session_core::label::{self, Signer};
use session_core::state::{SessionState, StateName};
use session_core::state_dir::StateDir;
use session_core::store::{Inserted, Store};
use testkit::faults::{Fault, FaultPlan, Operation};
use testkit::harness::ManagerProcess;

use super::world::{World, ask, create, reaches, recorded, soon};

async fn reconcile(manager: &ManagerProcess) -> GarbageReport {
    let run = manager.run(|manager| async move { manager.reconcile().await });
    soon("the reconciler", run).await.unwrap()
}

fn names(garbage: &[Garbage]) -> Vec<String> {
    garbage.iter().map(|thing| thing.name.clone()).collect()
}

fn signer(world: &World) -> Signer {
    Signer::new(
        StateDir::open(&world.site.state_dir())
            .unwrap()
            .signing_key()
            .unwrap(),
    )
}

#[tokio::test]
async fn an_orphan_with_our_signature_goes_and_a_living_session_stays() {
    let world = World::new();
    let manager = world.manager().await;
    let living = create(&manager).await;
    let orphan = SessionId::new();
    let name = world.site.memory.plant(&orphan, signer(&world).labels(&orphan));
    let done = reconcile(&manager).await;
    assert_eq!(names(&done.removed), [name.to_string()]);
    assert_eq!(done.removed[0].kind, GarbageKind::Container);
    assert_eq!(done.left, []);
    assert_eq!(world.site.memory.names(), [ContainerName::of(&living)]);
    assert_eq!(
        reconcile(&manager).await,
        GarbageReport::default(),
        "a second run finds nothing"
    );
    assert_eq!(ask(&manager, &living, "Still there?").await.text, "Still there?");
    world.finish(&manager).await;
}

async fn removals(manager: &ManagerProcess) -> Vec<(String, Option<SessionId>, Option<String>)> {
    let lines = manager.audit(AuditQuery::default()).await.unwrap();
    lines
        .into_iter()
        .filter(|line| line.actor == "reconciler")
        .map(|line| (line.action, line.session, line.detail))
        .collect()
}

#[tokio::test]
async fn each_removal_has_one_line_and_a_run_without_any_has_none() {
    let world = World::new();
    let manager = world.manager().await;
    let living = create(&manager).await;
    reconcile(&manager).await;
    assert_eq!(removals(&manager).await, [], "nothing was removed");
    let orphan = SessionId::new();
    let name = world.site.memory.plant(&orphan, signer(&world).labels(&orphan));
    let told = manager.collect_garbage(true).await.unwrap();
    assert_eq!(names(&told.removed), [name.to_string()]);
    assert_eq!(removals(&manager).await, [], "a dry run removes nothing");
    reconcile(&manager).await;
    let expected = [(
        "remove_container".to_owned(),
        Some(orphan),
        Some(format!("{name}: its session has no record")),
    )];
    assert_eq!(removals(&manager).await, expected);
    reconcile(&manager).await;
    assert_eq!(removals(&manager).await, expected, "nothing more was removed");
    assert_eq!(manager.verify_audit().await.unwrap().broken_at, None);
    assert_eq!(ask(&manager, &living, "Still there?").await.text, "Still there?");
    world.finish(&manager).await;
}

#[tokio::test]
async fn what_we_did_not_sign_is_never_touched() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    let ours = signer(&world);
    let stranger = Signer::new([9; 32]);
    let planted: Vec<SessionId> = (0..6).map(|_| SessionId::new()).collect();
    let edited = |session: &SessionId, key: &str, value: &str| {
        let mut labels = ours.labels(session);
        labels.insert(key.to_owned(), value.to_owned());
        labels
    };
    let unsigned = |session: &SessionId| {
        let mut labels = ours.labels(session);
        labels.remove(label::SIGNATURE);
        labels
    };
    let mut adopted = stranger.labels(&planted[3]);
    adopted.insert(label::OWNER.to_owned(), ours.owner().to_string());
    let labels: [BTreeMap<String, String>; 6] = [
        // No label at all, somebody else's, no signature, somebody else's under our name, a wrong signature.
        BTreeMap::new(),
        stranger.labels(&planted[1]),
        unsigned(&planted[2]),
        adopted,
        edited(&planted[4], label::SIGNATURE, &"0".repeat(64)),
        // Labels of a session of ours, copied to another container.
        ours.labels(&session),
    ];
    for (session, labels) in planted.iter().zip(labels) {
        world.site.memory.plant(session, labels);
    }
    let done = reconcile(&manager).await;
    assert_eq!(
        (done.removed.len(), done.finished.len(), done.left.len()),
        (0, 0, 0),
        "{done:?}"
    );
    manager.destroy(&session).await.unwrap();
    reconcile(&manager).await;
    for session in &planted {
        let container = world
            .site
            .memory
            .container(session)
            .expect("a stranger's container was removed");
        container.remove();
    }
    world.finish(&manager).await;
}

#[tokio::test]
async fn storage_that_outlived_its_container_goes_with_its_session() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    world.container(&session).remove_without_storage();
    let done = reconcile(&manager).await;
    assert_eq!(
        names(&done.removed),
        Vec::<String>::new(),
        "its session was not ended yet"
    );
    assert_eq!(recorded(&manager, &session).await.name(), StateName::Interrupted);
    manager.destroy(&session).await.unwrap();
    assert_eq!(world.site.memory.names(), []);
    let orphan = SessionId::new();
    world.site.memory.plant(&orphan, signer(&world).labels(&orphan));
    world.container(&orphan).remove_without_storage();
    assert_eq!(reconcile(&manager).await.removed.len(), 1);
    world.finish(&manager).await;
}

#[tokio::test]
async fn directories_of_no_session_go() {
    let world = World::new();
    let manager = world.manager().await;
    let living = create(&manager).await;
    let state = StateDir::open(&world.site.state_dir()).unwrap();
    let stray = SessionId::new();
    state.create_link_dir(&stray).unwrap();
    reconcile(&manager).await;
    assert!(!state.session_dir(&stray).exists());
    assert!(state.session_dir(&living).exists());
    world.finish(&manager).await;
}

/// A session whose maker died before it was ready, long enough ago.
async fn abandoned(world: &World, manager: &ManagerProcess) -> SessionId {
    let session = create(manager).await;
    let state = StateDir::open(&world.site.state_dir()).unwrap();
    let store = Store::open(&state).await.unwrap();
    let mut record = store.session(&session).await.unwrap().unwrap();
    manager.destroy(&session).await.unwrap();
    let id = SessionId::new();
    record.info.id = id;
    record.container = ContainerName::of(&id);
    record.info.state = SessionState::Creating;
    record.info.created_at = "2026-01-01T00:00:00Z".parse().unwrap();
    assert!(matches!(
        store.insert_session(record).await.unwrap(),
        Inserted::New
    ));
    store.close().await;
    world.site.memory.plant(&id, signer(world).labels(&id));
    id
}

#[tokio::test]
async fn a_session_whose_maker_died_is_failed_and_cleared_away() {
    let world = World::new();
    let manager = world.manager().await;
    let id = abandoned(&world, &manager).await;
    let done = reconcile(&manager).await;
    assert_eq!(done.finished, [id]);
    assert_eq!(recorded(&manager, &id).await.name(), StateName::Failed);
    assert_eq!(world.site.memory.names(), []);
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_session_that_somebody_makes_is_left_alone() {
    let world = World::new();
    let manager = world.manager().await;
    let id = abandoned(&world, &manager).await;
    let state = StateDir::open(&world.site.state_dir()).unwrap();
    let maker = state.try_lock_agent(&id).unwrap().expect("nobody has the lock");
    assert_eq!(reconcile(&manager).await.finished, []);
    assert_eq!(recorded(&manager, &id).await, SessionState::Creating);
    drop(maker);
    assert_eq!(reconcile(&manager).await.finished, [id]);
    world.finish(&manager).await;
}

#[tokio::test]
async fn two_supervisors_do_not_get_in_each_others_way() {
    let world = World::new();
    let (one, other) = (world.supervisor().await, world.supervisor().await);
    let mut sessions = Vec::new();
    for manager in [&one, &other, &one, &other] {
        sessions.push(create(manager).await);
    }
    let (first, second) = tokio::join!(reconcile(&one), reconcile(&other));
    assert_eq!(
        (first, second),
        (GarbageReport::default(), GarbageReport::default())
    );
    for session in &sessions {
        assert_eq!(ask(&other, session, "There?").await.text, "There?");
    }
    let lost = sessions[0];
    world.container(&lost).kill();
    reaches(&other, &lost, StateName::Interrupted).await;
    world.finish(&one).await;
}

/// A file as a process leaves it that died long ago.
fn old(path: &std::path::Path) {
    let file = std::fs::File::create(path).unwrap();
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(600))
        .unwrap();
}

#[tokio::test]
async fn what_a_dry_run_tells_is_what_a_run_does() {
    let world = World::new();
    let manager = world.manager().await;
    let living = create(&manager).await;
    let abandoned = abandoned(&world, &manager).await;
    let state = StateDir::open(&world.site.state_dir()).unwrap();
    // Of every kind one, and beside each what looks like it and is not garbage.
    let ours = signer(&world);
    let (orphan, storage, stray) = (SessionId::new(), SessionId::new(), SessionId::new());
    world.site.memory.plant(&orphan, ours.labels(&orphan));
    world.site.memory.plant(&storage, ours.labels(&storage));
    world.container(&storage).remove_without_storage();
    let forged = SessionId::new();
    world.site.memory.plant(&forged, ours.labels(&living));
    state.create_link_dir(&stray).unwrap();
    let link = state.create_link_dir(&living).unwrap();
    drop(std::os::unix::net::UnixListener::bind(link.join("dead.sock")).unwrap());
    let alive = std::os::unix::net::UnixListener::bind(link.join("alive.sock")).unwrap();
    let root = world.site.state_dir();
    old(&root.join("store.db.0123456789abcdef.draft"));
    let written = root.join("written.0123456789abcdef.draft");
    old(&written);
    let writer = std::fs::File::open(&written).unwrap();
    writer.lock().unwrap();
    old(&root.join("somebodys-own-notes"));

    let told = soon("a dry run", manager.collect_garbage(true)).await.unwrap();
    assert!(told.dry_run);
    let kinds: Vec<_> = told
        .removed
        .iter()
        .map(|thing| (thing.kind, thing.name.clone()))
        .collect();
    let mut expected = vec![
        (GarbageKind::Container, ContainerName::of(&orphan).to_string()),
        (GarbageKind::Storage, ContainerName::of(&storage).to_string()),
        (GarbageKind::Directory, format!("sessions/{stray}")),
        (GarbageKind::Socket, format!("sessions/{living}/link/dead.sock")),
        (GarbageKind::File, "store.db.0123456789abcdef.draft".to_owned()),
    ];
    let (mut sorted, key) = (kinds.clone(), |thing: &(GarbageKind, String)| thing.1.clone());
    sorted.sort_by_key(key);
    expected.sort_by_key(key);
    assert_eq!(sorted, expected);
    assert_eq!(
        (told.finished.clone(), told.left.clone()),
        (vec![abandoned], vec![])
    );
    assert_eq!(
        soon("a second dry run", manager.collect_garbage(true))
            .await
            .unwrap(),
        told,
        "nothing was done"
    );

    let done = soon("a run", manager.collect_garbage(false)).await.unwrap();
    assert_eq!(
        done,
        GarbageReport {
            dry_run: false,
            ..told
        }
    );
    assert_eq!(
        soon("another run", manager.collect_garbage(false)).await.unwrap(),
        GarbageReport::default()
    );
    assert!(link.join("alive.sock").exists() && !link.join("dead.sock").exists());
    assert!(root.join("somebodys-own-notes").exists() && written.exists());
    drop((alive, writer));
    assert!(world.site.memory.container(&forged).is_some());
    world.container(&forged).remove();
    assert_eq!(ask(&manager, &living, "Still there?").await.text, "Still there?");
    world.finish(&manager).await;
}

#[tokio::test]
async fn orphans_of_every_kind_go_within_ten_seconds_of_their_appearing() {
    let world = World::new();
    let manager = world.supervisor().await;
    let living = create(&manager).await;
    let state = StateDir::open(&world.site.state_dir()).unwrap();
    let ours = signer(&world);
    let orphans: Vec<SessionId> = (0..40).map(|_| SessionId::new()).collect();
    for (number, orphan) in orphans.iter().enumerate() {
        world.site.memory.plant(orphan, ours.labels(orphan));
        if number % 2 == 0 {
            world.container(orphan).remove_without_storage();
        }
        state.create_link_dir(orphan).unwrap();
    }
    let started = std::time::Instant::now();
    let gone = async {
        while world.site.memory.names() != [ContainerName::of(&living)]
            || state.session_dirs().unwrap() != [living]
        {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    soon("the end of the orphans", gone).await;
    assert!(
        started.elapsed() < std::time::Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    world.finish(&manager).await;
}

#[tokio::test]
async fn what_is_younger_than_the_backup_is_left_to_people() {
    let world = World::new();
    let manager = world.manager().await;
    let (older, younger) = (SessionId::new(), SessionId::new());
    let ours = signer(&world);
    world.site.memory.plant(&older, ours.labels(&older));
    let state = StateDir::open(&world.site.state_dir()).unwrap();
    let store = Store::open(&state).await.unwrap();
    store
        .set_meta("restored_from", Some(jiff::Timestamp::now().to_string()))
        .await
        .unwrap();
    store.close().await;
    world.site.memory.plant(&younger, ours.labels(&younger));
    state.create_link_dir(&younger).unwrap();
    for _ in 0..2 {
        let done = reconcile(&manager).await;
        assert_eq!(names(&done.left), [ContainerName::of(&younger).to_string()]);
    }
    assert_eq!(world.site.memory.names(), [ContainerName::of(&younger)]);
    assert!(state.session_dir(&younger).exists(), "its container may use it");
    world.container(&younger).remove();
    reconcile(&manager).await;
    assert!(!state.session_dir(&younger).exists());
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_session_that_nobody_can_look_at_keeps_none_of_the_others_waiting() {
    let world = World::new();
    let manager = world.manager().await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(create(&manager).await);
    }
    for session in &sessions {
        world.container(session).remove();
    }
    // The first one that is looked at, whichever it is.
    let plan = FaultPlan::none().fail(Operation::Inspect, 1, Fault::Hang);
    world.site.faulty.set_plan(plan);
    let told = async {
        loop {
            let mut lost = 0;
            for session in &sessions {
                let state = recorded(&manager, session).await;
                lost += usize::from(state.name() == StateName::Interrupted);
            }
            if lost == 2 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(8), told);
    let (_done, told) = tokio::join!(reconcile(&manager), told);
    told.expect("the others are told");
    world.site.faulty.set_plan(FaultPlan::none());
    world.finish(&manager).await;
}
