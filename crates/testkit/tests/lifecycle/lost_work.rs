//! What was in a workspace when its container, or the workspace itself, was lost: who decides where it comes from again.
//!
//! git is real here, in the containers' own directories.

use std::path::PathBuf;
use std::time::Duration;

use session_core::api::SessionApi;
use session_core::checkpoint::RestoreRequest;
use session_core::error::ErrorKind;
use session_core::event::{Event, EventKind};
use session_core::id::SessionId;
use session_core::lifetime::Lifetime;
use session_core::session::{CreateSession, WorkspaceSource};
use session_core::state::{SessionState, StateName};
use testkit::faults::{Fault, FaultPlan, Operation};
use testkit::harness::ManagerProcess;
use testkit::memory::{Exit, MemoryContainer};

use super::world::{World, ask, create, inspected, reaches, recorded, soon, stored};

/// A world with git, and a project of which sessions have copies.
struct Project {
    world: World,
    path: PathBuf,
}

impl Project {
    fn new() -> Self {
        let world = World::new();
        world.site.memory.add_git();
        let path = world.site.workspace("project").unwrap();
        std::fs::write(path.join("kept.txt"), "original\n").unwrap();
        Self { world, path }
    }

    async fn copy(&self, manager: &ManagerProcess) -> SessionId {
        self.copy_for(manager, Lifetime::default()).await
    }

    async fn copy_for(&self, manager: &ManagerProcess, lifetime: Lifetime) -> SessionId {
        let request = CreateSession {
            lifetime,
            workspace: WorkspaceSource::Copy {
                path: self.path.clone(),
            },
            ..CreateSession::default()
        };
        soon("a session", manager.create(request)).await.unwrap().id
    }

    fn read(&self, session: &SessionId, name: &str) -> Option<String> {
        let workspace = self.world.container(session).path("/workspace");
        std::fs::read_to_string(workspace.join(name)).ok()
    }

    fn write(&self, session: &SessionId, name: &str, text: &str) {
        let workspace = self.world.container(session).path("/workspace");
        std::fs::write(workspace.join(name), text).unwrap();
    }
}

async fn lose(project: &Project, manager: &ManagerProcess, session: &SessionId, how: fn(&MemoryContainer)) {
    how(&project.world.container(session));
    let state = inspected(manager, session).await;
    assert_eq!(state.name(), StateName::Interrupted);
}

fn lose_the_workspace_alone(container: &MemoryContainer) {
    let storage = container.storage();
    container.remove_without_storage();
    std::fs::remove_dir_all(storage.join("workspace")).unwrap();
}

/// How often the project was read.
async fn copies(manager: &ManagerProcess, session: &SessionId) -> usize {
    let events = stored(manager, session).await;
    let copied = |event: &&Event| matches!(event.kind, EventKind::FilesCopied { inward: true, .. });
    events.iter().filter(copied).count()
}

#[tokio::test]
async fn nothing_in_a_container_has_the_host_s_files_read_again() {
    let ways = [
        MemoryContainer::kill as fn(&MemoryContainer),
        MemoryContainer::remove_without_storage,
    ];
    for how in ways {
        let project = Project::new();
        let manager = project.world.manager().await;
        let session = project.copy(&manager).await;
        project.write(&session, "mine.txt", "work\n");
        let home = project.world.container(&session).path("/home/agent/.cofferdam");
        std::fs::create_dir_all(&home).unwrap();
        std::fs::write(home.join("half"), "").unwrap();
        std::fs::write(project.path.join("kept.txt"), "changed since\n").unwrap();
        lose(&project, &manager, &session, how).await;
        soon("the resume", manager.resume(&session)).await.unwrap();
        assert_eq!(project.read(&session, "kept.txt").as_deref(), Some("original\n"));
        assert_eq!(project.read(&session, "mine.txt").as_deref(), Some("work\n"));
        assert_eq!(copies(&manager, &session).await, 1);
        project.world.finish(&manager).await;
    }
}

#[tokio::test]
async fn a_lost_workspace_is_filled_again_whatever_else_is_left() {
    let ways = [
        lose_the_workspace_alone as fn(&MemoryContainer),
        MemoryContainer::remove,
    ];
    for how in ways {
        let project = Project::new();
        let manager = project.world.manager().await;
        let session = project.copy(&manager).await;
        project.write(&session, "mine.txt", "work\n");
        ask(&manager, &session, "Work.").await;
        let kept = soon("a checkpoint", manager.checkpoint(&session)).await.unwrap();
        let newest = kept
            .or(manager.checkpoints(&session).await.unwrap().pop())
            .unwrap();
        lose(&project, &manager, &session, how).await;
        soon("the resume", manager.resume(&session)).await.unwrap();
        assert_eq!(project.read(&session, "kept.txt").as_deref(), Some("original\n"));
        assert_eq!(project.read(&session, "mine.txt").as_deref(), Some("work\n"));
        let events = stored(&manager, &session).await;
        let told = events.iter().find_map(|event| match &event.kind {
            EventKind::Recovered { checkpoint, .. } => Some(*checkpoint),
            _ => None,
        });
        assert_eq!(told, Some(Some(newest.id)));
        // From now on it is one that is worked in.
        project.write(&session, "more.txt", "more\n");
        lose(&project, &manager, &session, MemoryContainer::kill).await;
        soon("the resume", manager.resume(&session)).await.unwrap();
        assert_eq!(project.read(&session, "more.txt").as_deref(), Some("more\n"));
        assert_eq!(copies(&manager, &session).await, 2);
        project.world.finish(&manager).await;
    }
}

#[tokio::test]
async fn a_session_whose_project_has_moved_on_comes_back_without_the_work_that_does_not_fit() {
    let project = Project::new();
    let manager = project.world.manager().await;
    let session = project.copy(&manager).await;
    ask(&manager, &session, "Work.").await;
    project.write(&session, "kept.txt", "original, and mine\n");
    let kept = soon("a checkpoint", manager.checkpoint(&session)).await.unwrap();
    let newest = kept
        .or(manager.checkpoints(&session).await.unwrap().pop())
        .unwrap();
    lose(&project, &manager, &session, MemoryContainer::remove).await;
    std::fs::write(project.path.join("kept.txt"), "another\n").unwrap();
    soon("the resume", manager.resume(&session)).await.unwrap();
    assert_eq!(project.read(&session, "kept.txt").as_deref(), Some("another\n"));
    let events = stored(&manager, &session).await;
    let recovered = events.iter().find_map(|event| match &event.kind {
        EventKind::Recovered { checkpoint, .. } => Some(*checkpoint),
        _ => None,
    });
    assert_eq!(recovered, Some(None));
    let told: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Problem { error } => Some(error.message.clone()),
            _ => None,
        })
        .collect();
    assert!(
        matches!(&told[..], [one] if one.contains(&newest.id.to_string())),
        "{told:?}"
    );
    let still = manager.checkpoints(&session).await.unwrap();
    assert!(still.iter().any(|checkpoint| checkpoint.id == newest.id));
    assert_eq!(ask(&manager, &session, "Go on.").await.text, "Go on.");
    project.world.finish(&manager).await;
}

#[tokio::test]
async fn a_project_that_was_swapped_for_a_link_is_not_followed() {
    let project = Project::new();
    let manager = project.world.manager().await;
    let session = project.copy(&manager).await;
    let (aside, other) = (
        project.path.with_file_name("aside"),
        project.world.site.workspace("other").unwrap(),
    );
    std::fs::write(other.join("secret.txt"), "not yours").unwrap();
    lose(&project, &manager, &session, MemoryContainer::remove).await;
    std::fs::rename(&project.path, &aside).unwrap();
    std::os::unix::fs::symlink(&other, &project.path).unwrap();
    let refused = soon("a refusal", manager.resume(&session)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::WorkspaceRefused, "{refused}");
    assert_eq!(recorded(&manager, &session).await.name(), StateName::Interrupted);
    std::fs::remove_file(&project.path).unwrap();
    std::fs::rename(&aside, &project.path).unwrap();
    soon("the resume", manager.resume(&session)).await.unwrap();
    assert_eq!(project.read(&session, "secret.txt"), None);
    assert_eq!(project.read(&session, "kept.txt").as_deref(), Some("original\n"));
    project.world.finish(&manager).await;
}

#[tokio::test]
async fn a_workspace_that_cannot_be_filled_is_not_taken_for_one_that_was_kept() {
    let world = World::new();
    world.site.memory.program("find", async |_| Exit::Code(1));
    let manager = world.manager().await;
    let session = create(&manager).await;
    world.container(&session).remove();
    inspected(&manager, &session).await;
    // Neither the first attempt nor the next one, which finds a container and a workspace, comes by it.
    for _ in 0..2 {
        let failed = soon("a failure", manager.resume(&session)).await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::Internal, "{failed}");
        assert!(matches!(
            recorded(&manager, &session).await,
            SessionState::Interrupted { .. }
        ));
    }
    world.site.memory.remove_program("find");
    soon("the resume", manager.resume(&session)).await.unwrap();
    world.finish(&manager).await;
}

/// Ways in which a session stands still, or is gone, while its work is there.
const STILL: [fn(&MemoryContainer); 3] = [
    MemoryContainer::pause,
    MemoryContainer::kill,
    MemoryContainer::remove_without_storage,
];

/// It lives for a moment.
fn brief() -> Lifetime {
    Lifetime {
        max_ms: Some(2_500),
        ..Lifetime::default()
    }
}

/// What is brought back of a session that has ended.
async fn brought_back(project: &Project, manager: &ManagerProcess, session: &SessionId) -> Option<String> {
    let request = RestoreRequest {
        session: *session,
        checkpoint: None,
        owner: None,
        idempotency_key: None,
    };
    let again = soon("a restore", manager.restore(request)).await.unwrap().id;
    project.read(&again, "mine.txt")
}

async fn problems(manager: &ManagerProcess, session: &SessionId) -> usize {
    let events = stored(manager, session).await;
    let is_problem = |event: &&Event| matches!(event.kind, EventKind::Problem { .. });
    events.iter().filter(is_problem).count()
}

#[tokio::test]
async fn a_session_that_ends_by_itself_while_it_stands_still_leaves_its_work() {
    for how in STILL {
        let project = Project::new();
        let manager = project.world.supervisor().await;
        let session = project.copy_for(&manager, brief()).await;
        project.write(&session, "mine.txt", "work\n");
        how(&project.world.container(&session));
        reaches(&manager, &session, StateName::Destroyed).await;
        let work = brought_back(&project, &manager, &session).await;
        assert_eq!(work.as_deref(), Some("work\n"));
        assert_eq!(problems(&manager, &session).await, 0);
        project.world.finish(&manager).await;
    }
}

#[tokio::test]
async fn a_session_that_is_destroyed_while_it_stands_still_leaves_its_work() {
    for how in STILL {
        let project = Project::new();
        let manager = project.world.manager().await;
        let session = project.copy(&manager).await;
        project.write(&session, "mine.txt", "work\n");
        how(&project.world.container(&session));
        let state = inspected(&manager, &session).await.name();
        assert!(matches!(state, StateName::Paused | StateName::Interrupted));
        soon("the end", manager.destroy(&session)).await.unwrap();
        let work = brought_back(&project, &manager, &session).await;
        assert_eq!(work.as_deref(), Some("work\n"));
        project.world.finish(&manager).await;
    }
}

#[tokio::test]
async fn an_end_without_the_last_work_is_told_when_somebody_wanted_it() {
    let project = Project::new();
    let manager = project.world.manager().await;
    let session = project.copy(&manager).await;
    project.world.container(&session).pause();
    inspected(&manager, &session).await;
    let plan = FaultPlan::none().always(Operation::Resume, Fault::FailBefore);
    project.world.site.faulty.set_plan(plan);
    soon("the end", manager.destroy(&session)).await.unwrap();
    assert_eq!(problems(&manager, &session).await, 1);
    project.world.finish(&manager).await;
}

#[tokio::test]
async fn an_end_whose_work_cannot_be_kept_is_put_off_and_the_session_is_as_it_was() {
    let project = Project::new();
    let manager = project.world.supervisor().await;
    let session = project.copy_for(&manager, brief()).await;
    project.write(&session, "mine.txt", "work\n");
    project.world.container(&session).pause();
    reaches(&manager, &session, StateName::Paused).await;
    // What it is let go on for fails.
    project.world.site.memory.program("sh", async |_| Exit::Code(1));
    let told = async {
        while problems(&manager, &session).await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the reason", told).await;
    reaches(&manager, &session, StateName::Paused).await;
    project.world.site.memory.add_git();
    reaches(&manager, &session, StateName::Destroyed).await;
    assert_eq!(problems(&manager, &session).await, 1, "told once");
    let work = brought_back(&project, &manager, &session).await;
    assert_eq!(work.as_deref(), Some("work\n"));
    project.world.finish(&manager).await;
}
