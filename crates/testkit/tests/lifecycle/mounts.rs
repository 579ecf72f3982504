//! What a session sees of the host is what was judged: a directory that was put in its place before the engine opened the path
//! is never worked in.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use session_core::api::SessionApi;
use session_core::error::ErrorKind;
use session_core::id::SessionId;
use session_core::lifetime::OnInterrupt;
use session_core::manager::ManagerOptions;
use session_core::runtime::{ContainerState, HostMount};
use session_core::session::{CreateSession, WorkspaceSource};
use session_core::state::StateName;
use testkit::faults::{Fault, FaultPlan, Operation};
use testkit::harness::ManagerProcess;

use super::world::{World, all, ask, inspected, reaches, recorded, soon};

/// A directory of the host, and how a session gets it.
struct Shown {
    world: World,
    path: PathBuf,
    request: CreateSession,
}

/// As its workspace, and as a further mount.
fn both_ways() -> [Shown; 2] {
    let shown = |ask: fn(PathBuf) -> CreateSession| {
        let world = World::new();
        let path = world.site.workspace("shown").unwrap();
        let request = ask(path.clone());
        Shown { world, path, request }
    };
    let workspace = |path| CreateSession {
        workspace: WorkspaceSource::Mount { path },
        ..CreateSession::default()
    };
    let further = |source| CreateSession {
        mounts: vec![HostMount {
            source,
            target: "/data".to_owned(),
            read_only: true,
        }],
        ..CreateSession::default()
    };
    [shown(workspace), shown(further)]
}

impl Shown {
    /// Whoever waits for a container that does not dial waits for as long as the test wants.
    fn options(&self) -> ManagerOptions {
        ManagerOptions {
            socket_patience: Duration::from_secs(30),
            ..self.world.site.options()
        }
    }

    fn aside(&self) -> PathBuf {
        self.path.with_file_name("aside")
    }

    fn replace(&self) {
        std::fs::rename(&self.path, self.aside()).unwrap();
        self.world.site.workspace("shown").unwrap();
    }

    fn put_back(&self) {
        std::fs::remove_dir_all(&self.path).unwrap();
        std::fs::rename(self.aside(), &self.path).unwrap();
    }

    /// Waits until the engine has started a container, and with it opened the path.
    async fn started(&self, session: &SessionId) {
        let runs = || {
            let container = self.world.site.memory.container(session);
            container.is_some_and(|container| container.status().state == ContainerState::Running)
        };
        let waiting = async {
            while !runs() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        soon("a container that runs", waiting).await;
    }

    fn calls(&self, operation: Operation) -> usize {
        let calls = self.world.site.faulty.calls();
        calls.iter().filter(|call| call.operation == operation).count()
    }
}

async fn recorded_one(manager: &ManagerProcess) -> SessionId {
    let waiting = async {
        loop {
            if let [session] = all(manager).await[..] {
                return session;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon("a record", waiting).await
}

#[tokio::test]
async fn a_directory_that_was_replaced_while_a_session_was_made_is_not_worked_in() {
    for shown in both_ways() {
        let manager = Arc::new(shown.world.manager_of(shown.options()).await);
        shown.world.site.memory.set_dials(false);
        let creating = tokio::spawn({
            let (manager, request) = (manager.clone(), shown.request.clone());
            async move { manager.create(request).await }
        });
        let session = recorded_one(&manager).await;
        shown.started(&session).await;
        shown.replace();
        shown.world.site.memory.set_dials(true);
        let refused = soon("a refusal", creating).await.unwrap().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WorkspaceRefused, "{refused}");
        // It was never ready: whoever dies before the refusal leaves a session that is cleared away.
        assert_eq!(recorded(&manager, &session).await.name(), StateName::Failed);
        assert!(shown.world.site.memory.container(&session).is_none());
        shown.world.finish(&manager).await;
    }
}

#[tokio::test]
async fn a_container_that_got_another_directory_is_not_the_one_that_comes_back() {
    for shown in both_ways() {
        let manager = Arc::new(shown.world.manager_of(shown.options()).await);
        let session = soon("a session", manager.create(shown.request.clone()))
            .await
            .unwrap()
            .id;
        shown.world.container(&session).kill();
        let state = inspected(&manager, &session).await;
        assert_eq!(state.name(), StateName::Interrupted);
        shown.world.site.memory.set_dials(false);
        let resuming = tokio::spawn({
            let manager = manager.clone();
            async move { manager.resume(&session).await }
        });
        shown.started(&session).await;
        shown.replace();
        shown.world.site.memory.set_dials(true);
        let refused = soon("a refusal", resuming).await.unwrap().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WorkspaceRefused, "{refused}");
        let kept = shown.world.site.memory.container(&session);
        assert!(kept.is_none(), "a container with another directory is kept");
        shown.put_back();
        soon("the resume", manager.resume(&session)).await.unwrap();
        assert_eq!(ask(&manager, &session, "Hello").await.text, "Hello");
        shown.world.finish(&manager).await;
    }
}

#[tokio::test]
async fn a_container_whose_starter_died_before_it_looked_is_not_taken_on_trust() {
    for shown in both_ways() {
        let options = || ManagerOptions {
            supervise: true,
            ..shown.options()
        };
        let manager = shown.world.manager_of(options()).await;
        let request = CreateSession {
            on_interrupt: OnInterrupt::Resume,
            ..shown.request.clone()
        };
        let session = soon("a session", manager.create(request)).await.unwrap().id;
        let plan = FaultPlan::none().fail(Operation::Start, 1, Fault::HangAfter);
        shown.world.site.faulty.set_plan(plan);
        shown.world.container(&session).kill();
        shown.started(&session).await;
        manager.kill().await;
        shown.world.site.faulty.set_plan(FaultPlan::none());
        let manager = shown.world.manager_of(options()).await;
        reaches(&manager, &session, StateName::Ready).await;
        let calls = [Operation::Discard, Operation::Launch, Operation::Start];
        assert_eq!(calls.map(|call| shown.calls(call)), [1, 1, 0]);
        assert_eq!(ask(&manager, &session, "Hello").await.text, "Hello");
        shown.world.finish(&manager).await;
    }
}
