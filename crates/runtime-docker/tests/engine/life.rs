//! One container from launch to removal, and what others see of it.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::{ContainerCreateBody, HostConfig, VolumeCreateRequest};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder, RemoveVolumeOptions,
    RenameContainerOptionsBuilder,
};
use futures::StreamExt;
use runtime_docker::{DockerOptions, DockerRuntime};
use session_core::error::ErrorKind;
use session_core::id::{ContainerName, SessionId};
use session_core::label::Signer;
use session_core::runtime::{
    ContainerEventKind, ContainerRuntime, ContainerSpec, ContainerState, HostMount, WorkspaceVolume,
};

use crate::world::World;

pub(crate) async fn an_engine_that_is_up_tells_its_version(world: Arc<World>) {
    let health = world.runtime.probe().await.unwrap();
    assert!(health.version.contains("API 1."), "{}", health.version);
    assert!(
        health.findings.iter().all(|finding| finding.ends_with('.')),
        "{:?}",
        health.findings
    );
    let nowhere = DockerOptions {
        host: Some("tcp://127.0.0.1:1".to_owned()),
        ..DockerOptions::default()
    };
    let error = DockerRuntime::connect(nowhere)
        .unwrap()
        .probe()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EngineUnavailable, "{error}");
    assert!(error.hint().is_some());
}

pub(crate) async fn a_second_launch_leaves_the_first_alone(world: Arc<World>) {
    let spec = world.spec();
    world.launch(&spec).await.unwrap();
    let error = world.launch(&spec).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StateConflict, "{error}");
    assert_eq!(
        world.runtime.inspect(&spec.name).await.unwrap().state,
        ContainerState::Running
    );
    assert_eq!(world.storage(&spec.name).await.len(), 2);
    world.runtime.remove(&spec.name).await.unwrap();
}

pub(crate) async fn a_failed_launch_leaves_nothing(world: Arc<World>) {
    let missing = WorkspaceVolume::Host {
        path: "/nonexistent/workspace".into(),
        read_only: false,
    };
    // The source is a file and the target is a directory: the engine creates the container and cannot start it.
    let file = HostMount {
        source: "/etc/hostname".into(),
        target: "/tmp/x/../y".into(),
        read_only: true,
    };
    let unstartable = HostMount {
        target: "/home/agent".into(),
        ..file.clone()
    };
    for (spec, kind) in [
        (
            ContainerSpec {
                workspace: missing,
                ..world.spec()
            },
            ErrorKind::WorkspaceMissing,
        ),
        (
            ContainerSpec {
                mounts: vec![file],
                ..world.spec()
            },
            ErrorKind::InvalidArgument,
        ),
        (
            ContainerSpec {
                mounts: vec![unstartable],
                ..world.spec()
            },
            ErrorKind::EngineFailed,
        ),
    ] {
        let error = world.launch(&spec).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        expect_nothing(&world, &spec.name).await;
    }
    let options = DockerOptions {
        toolbox_image: world.toolbox.clone(),
        isolation: Some("no-such-runtime".to_owned()),
        ..DockerOptions::default()
    };
    let runtime = DockerRuntime::connect(options).unwrap();
    let (spec, image) = (world.spec(), world.prepare(&world.toolbox).await);
    let error = runtime.launch(&spec, &image).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EngineFailed, "{error}");
    assert!(error.hint().unwrap().contains("no fallback"), "{error}");
    expect_nothing(&world, &spec.name).await;
    let findings = runtime.probe().await.unwrap().findings;
    assert!(
        findings.iter().any(|finding| finding.contains("no-such-runtime")),
        "{findings:?}"
    );
}

async fn expect_nothing(world: &World, name: &ContainerName) {
    assert_eq!(
        world.runtime.inspect(name).await.unwrap().state,
        ContainerState::Absent
    );
    assert_eq!(world.storage(name).await, Vec::<String>::new());
}

/// A workspace in which the stand-in finds its orders.
fn ordered(world: &World) -> (tempfile::TempDir, ContainerSpec) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let workspace = WorkspaceVolume::Host {
        path: dir.path().to_owned(),
        read_only: false,
    };
    (
        dir,
        ContainerSpec {
            workspace,
            ..world.spec()
        },
    )
}

pub(crate) async fn states_are_told_apart(world: Arc<World>) {
    let (dir, spec) = ordered(&world);
    let name = &spec.name;
    for refused in [world.runtime.pause(name).await, world.runtime.resume(name).await] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::ContainerLost);
    }
    assert_eq!(
        world.runtime.inspect(name).await.unwrap().state,
        ContainerState::Absent
    );
    world.launch(&spec).await.unwrap();
    world.runtime.resume(name).await.unwrap();
    assert_eq!(world.runtime.inspect(name).await.unwrap().exit_code, None);
    for _ in 0..2 {
        world.runtime.pause(name).await.unwrap();
        assert_eq!(
            world.runtime.inspect(name).await.unwrap().state,
            ContainerState::Paused
        );
    }
    for _ in 0..2 {
        world.runtime.resume(name).await.unwrap();
        assert_eq!(
            world.runtime.inspect(name).await.unwrap().state,
            ContainerState::Running
        );
    }
    std::fs::write(dir.path().join("order"), "exit 7").unwrap();
    world.until(name, ContainerState::Exited).await;
    let status = world.runtime.inspect(name).await.unwrap();
    assert_eq!((status.exit_code, status.out_of_memory), (Some(7), false));
    for refused in [world.runtime.pause(name).await, world.runtime.resume(name).await] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::ContainerLost);
    }
    world.runtime.remove(name).await.unwrap();
}

pub(crate) async fn lack_of_memory_is_told(world: Arc<World>) {
    let (dir, spec) = ordered(&world);
    world.launch(&spec).await.unwrap();
    let mut events = world.runtime.watch(world.signer.owner()).await.unwrap();
    std::fs::write(dir.path().join("order"), "take memory").unwrap();
    world.until(&spec.name, ContainerState::Exited).await;
    let status = world.runtime.inspect(&spec.name).await.unwrap();
    assert_eq!((status.exit_code, status.out_of_memory), (Some(137), true));
    let told = async {
        loop {
            let event = events.next().await.unwrap().unwrap();
            if event.name == spec.name && event.kind == ContainerEventKind::OutOfMemory {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), told).await.unwrap();
    world.runtime.remove(&spec.name).await.unwrap();
}

pub(crate) async fn owned_things_are_listed_once(world: Arc<World>) {
    // An owner of its own: other tests run beside this one.
    let (ours, theirs) = (Signer::new(rand::random()), Signer::new(rand::random()));
    let mut names = Vec::new();
    for signer in [&ours, &ours, &theirs] {
        let spec = world.spec();
        let spec = ContainerSpec {
            labels: signer.labels(&spec.session),
            ..spec
        };
        world.launch(&spec).await.unwrap();
        names.push(spec.name);
    }
    world.runtime.pause(&names[0]).await.unwrap();
    let force = RemoveContainerOptionsBuilder::default().force(true).build();
    world
        .engine
        .remove_container(names[1].as_str(), Some(force))
        .await
        .unwrap();

    let listed = world.runtime.list(ours.owner()).await.unwrap();
    let found: HashMap<_, _> = listed.iter().map(|owned| (&owned.name, owned.state)).collect();
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert_eq!(found[&names[0]], ContainerState::Paused);
    assert_eq!(
        found[&names[1]],
        ContainerState::Absent,
        "its storage outlived it"
    );
    assert!(listed.iter().all(|owned| ours.verify(&owned.labels).is_some()));
    for name in &names {
        world.runtime.remove(name).await.unwrap();
    }
    assert!(world.runtime.list(ours.owner()).await.unwrap().is_empty());
}

pub(crate) async fn removing_is_idempotent_and_complete(world: Arc<World>) {
    let spec = world.spec();
    world.runtime.remove(&spec.name).await.unwrap();
    world.launch(&spec).await.unwrap();
    world.runtime.pause(&spec.name).await.unwrap();
    for _ in 0..2 {
        world.runtime.remove(&spec.name).await.unwrap();
        expect_nothing(&world, &spec.name).await;
    }
}

pub(crate) async fn a_renamed_container_is_removed_with_its_storage(world: Arc<World>) {
    let spec = world.spec();
    world.launch(&spec).await.unwrap();
    let other = format!("renamed-{}", spec.name);
    let options = RenameContainerOptionsBuilder::default().name(&other).build();
    world
        .engine
        .rename_container(spec.name.as_str(), options)
        .await
        .unwrap();
    let listed = world.runtime.list(world.signer.owner()).await.unwrap();
    assert!(
        listed
            .iter()
            .any(|owned| owned.name == spec.name && owned.state == ContainerState::Running)
    );
    world.runtime.remove(&spec.name).await.unwrap();
    expect_nothing(&world, &spec.name).await;
    assert!(world.engine.inspect_container(&other, None).await.is_err());
}

pub(crate) async fn what_is_not_ours_is_not_removed(world: Arc<World>) {
    let name = ContainerName::of(&SessionId::new());
    let foreign = HashMap::from([("dev.cofferdam.test".to_owned(), "1".to_owned())]);
    let body = ContainerCreateBody {
        image: Some(world.toolbox.to_string()),
        entrypoint: Some(vec!["/opt/cofferdam/bin/session-init".to_owned()]),
        labels: Some(foreign.clone()),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let options = CreateContainerOptionsBuilder::default()
        .name(name.as_str())
        .build();
    world.engine.create_container(Some(options), body).await.unwrap();
    assert_eq!(
        world.runtime.remove(&name).await.unwrap_err().kind(),
        ErrorKind::StateConflict
    );
    assert!(world.engine.inspect_container(name.as_str(), None).await.is_ok());
    world.engine.remove_container(name.as_str(), None).await.unwrap();

    let volume = format!("{name}-home");
    let request = VolumeCreateRequest {
        name: Some(volume.clone()),
        labels: Some(foreign),
        ..VolumeCreateRequest::default()
    };
    world.engine.create_volume(request).await.unwrap();
    assert_eq!(
        world.runtime.remove(&name).await.unwrap_err().kind(),
        ErrorKind::StateConflict
    );
    world
        .engine
        .remove_volume(&volume, None::<RemoveVolumeOptions>)
        .await
        .unwrap();
}

pub(crate) async fn removals_at_once_agree(world: Arc<World>) {
    let spec = world.spec();
    world.launch(&spec).await.unwrap();
    let all = futures::future::join_all((0..4).map(|_| world.runtime.remove(&spec.name))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    expect_nothing(&world, &spec.name).await;
}

pub(crate) async fn events_are_told_from_the_moment_of_asking(world: Arc<World>) {
    let before = world.spec();
    world.launch(&before).await.unwrap();
    let events = world.runtime.watch(world.signer.owner()).await.unwrap();
    // All of it happens before the stream is polled for the first time.
    let (dir, spec) = ordered(&world);
    world.launch(&spec).await.unwrap();
    world.runtime.pause(&spec.name).await.unwrap();
    world.runtime.resume(&spec.name).await.unwrap();
    std::fs::write(dir.path().join("order"), "exit 3").unwrap();
    world.until(&spec.name, ContainerState::Exited).await;
    world.runtime.remove(&spec.name).await.unwrap();

    let ours = events
        .map(|event| event.unwrap())
        .inspect(|event| {
            assert_ne!(
                (&event.name, event.kind),
                (&before.name, ContainerEventKind::Started)
            )
        })
        .filter_map(|event| std::future::ready((event.name == spec.name).then_some(event.kind)));
    let mut ours = std::pin::pin!(ours);
    let mut told = Vec::new();
    let all = async {
        while told.last() != Some(&ContainerEventKind::Removed) {
            told.push(ours.next().await.unwrap());
        }
    };
    tokio::time::timeout(Duration::from_secs(5), all).await.unwrap();
    // Docker 20.10 tells a pause when it was asked for one and, when it hears of that late from containerd, once more.
    let pause = [ContainerEventKind::Paused, ContainerEventKind::Resumed];
    while told.get(1..3) == Some(&pause) && told.get(3..5) == Some(&pause) {
        told.drain(3..5);
    }
    assert_eq!(
        told,
        [
            ContainerEventKind::Started,
            ContainerEventKind::Paused,
            ContainerEventKind::Resumed,
            ContainerEventKind::Exited { code: Some(3) },
            ContainerEventKind::Removed,
        ]
    );
    world.runtime.remove(&before.name).await.unwrap();
}

pub(crate) async fn diagnostics_are_bounded(world: Arc<World>) {
    let spec = world.spec();
    assert_eq!(world.runtime.diagnostics(&spec.name, 100).await.unwrap(), "");
    world.launch(&spec).await.unwrap();
    world.told(&spec.name).await;
    let text = world.runtime.diagnostics(&spec.name, 9).await.unwrap();
    assert_eq!(text, "told\tall\n");
    assert_eq!(world.runtime.diagnostics(&spec.name, 0).await.unwrap(), "");
    world.runtime.remove(&spec.name).await.unwrap();
}
