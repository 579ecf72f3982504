//! Preparing images.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bollard::models::{ContainerCreateBody, HostConfig, VolumeCreateRequest};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptions, RemoveVolumeOptions,
    TagImageOptionsBuilder,
};
use runtime_docker::{DockerOptions, DockerRuntime};
use session_core::error::ErrorKind;
use session_core::garbage::{Garbage, GarbageKind};
use session_core::id::ImageRef;
use session_core::runtime::{ContainerRuntime, NoProgress, UserIds};

use crate::world::World;

fn image(name: &str) -> ImageRef {
    name.parse().unwrap()
}

pub(crate) async fn a_missing_image_is_named_quickly_with_a_hint(world: Arc<World>) {
    for name in ["cofferdam-nothing:1", "sha256:0000", "127.0.0.1:1/nothing:1"] {
        let started = Instant::now();
        let error = world
            .runtime
            .prepare(&image(name), UserIds::DEFAULT, &NoProgress)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ImageNotFound, "{error}");
        assert!(
            error.hint().is_some() && error.to_string().contains(name),
            "{error}"
        );
        assert!(started.elapsed() < Duration::from_secs(10), "{name}");
    }
    let root = UserIds { uid: 0, gid: 0 };
    let error = world
        .runtime
        .prepare(&world.toolbox, root, &NoProgress)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

pub(crate) async fn a_second_preparation_is_the_same_and_quick(world: Arc<World>) {
    let first = world.prepare(&world.toolbox).await;
    let started = Instant::now();
    assert_eq!(world.prepare(&world.toolbox).await, first);
    assert!(started.elapsed() < Duration::from_millis(500));
    let other = UserIds { uid: 1001, gid: 1002 };
    let other = world
        .runtime
        .prepare(&world.toolbox, other, &NoProgress)
        .await
        .unwrap();
    assert_ne!(other.id, first.id);
}

pub(crate) async fn preparations_at_once_derive_one_image(world: Arc<World>) {
    let user = UserIds {
        uid: 31_337,
        gid: 31_337,
    };
    let all = (0..8).map(|_| world.runtime.prepare(&world.hostile, user, &NoProgress));
    let mut ids: Vec<_> = futures::future::join_all(all)
        .await
        .into_iter()
        .map(|image| image.unwrap().id)
        .collect();
    ids.dedup();
    assert_eq!(ids.len(), 1);
    let source = world
        .engine
        .inspect_image(world.hostile.as_str())
        .await
        .unwrap()
        .id
        .unwrap();
    let label = format!("dev.cofferdam.prepared={source}");
    let filters = HashMap::from([("label", vec![label.as_str()]), ("dangling", vec!["true"])]);
    let options = ListImagesOptionsBuilder::default().filters(&filters).build();
    assert_eq!(
        world.engine.list_images(Some(options)).await.unwrap().len(),
        0,
        "none was derived twice"
    );
}

pub(crate) async fn a_missing_or_empty_toolbox_is_a_clear_error(world: Arc<World>) {
    // The second image exists and holds no session-init.
    for toolbox_image in [image("cofferdam-nothing:1"), world.hostile.clone()] {
        let options = DockerOptions {
            toolbox_image,
            ..DockerOptions::default()
        };
        let runtime = DockerRuntime::connect(options).unwrap();
        let error = runtime
            .prepare(&world.toolbox, UserIds::DEFAULT, &NoProgress)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ImageNotFound, "{error}");
        assert!(error.hint().unwrap().contains("cargo xtask image"), "{error}");
    }
}

/// Works on a toolbox of its own: the shared one must stay for the other tests.
pub(crate) async fn a_replaced_toolbox_is_filled_anew_and_the_old_one_is_stale(_: Arc<World>) {
    let world = Arc::new(World::new().await);
    let outcome = tokio::spawn(replace_the_toolbox(world.clone())).await;
    world.destroy().await;
    outcome.unwrap();
}

async fn replace_the_toolbox(world: Arc<World>) {
    world.fill().await;
    let first = toolbox_of_a_session(&world).await;
    assert_eq!(toolbox_of_a_session(&world).await, first, "filled once");
    world.import_toolbox("second").await;
    let second = toolbox_of_a_session(&world).await;
    assert_ne!(second, first);

    let removed = world.runtime.remove_stale_toolboxes().await.unwrap();
    assert!(
        removed.containers >= 1 && removed.volumes >= 1 && removed.images >= 1,
        "{removed:?}"
    );
    assert!(world.engine.inspect_volume(&first).await.is_err());
    assert!(world.engine.inspect_volume(&second).await.is_ok());
    assert_eq!(toolbox_of_a_session(&world).await, second);
}

async fn toolbox_of_a_session(world: &World) -> String {
    let spec = world.spec();
    world.launch(&spec).await.unwrap();
    let mounts = world.mounts_of(&spec.name).await;
    let mount = mounts
        .into_iter()
        .find(|mount| mount.target.as_deref() == Some("/opt/cofferdam"))
        .unwrap();
    world.runtime.remove(&spec.name).await.unwrap();
    mount.source.unwrap()
}

pub(crate) async fn a_removed_derived_image_is_said_to_be_missing(world: Arc<World>) {
    let user = UserIds { uid: 2001, gid: 2001 };
    let prepared = world
        .runtime
        .prepare(&world.toolbox, user, &NoProgress)
        .await
        .unwrap();
    world
        .engine
        .remove_image(&prepared.id, None::<RemoveImageOptions>, None)
        .await
        .unwrap();
    let spec = world.spec();
    let error = world.runtime.launch(&spec, &prepared).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ImageNotFound, "{error}");
    assert!(world.storage(&spec.name).await.is_empty());
    let again = world
        .runtime
        .prepare(&world.toolbox, user, &NoProgress)
        .await
        .unwrap();
    world.runtime.launch(&spec, &again).await.unwrap();
    world.runtime.remove(&spec.name).await.unwrap();
}

/// Everything is old enough here: what keeps an image is that somebody wants or uses it, or that it is not ours.
pub(crate) async fn only_derived_images_that_nobody_wants_are_stale(_: Arc<World>) {
    let world = Arc::new(World::new().await);
    let outcome = tokio::spawn(judge_derived_images(world.clone())).await;
    world.destroy().await;
    outcome.unwrap();
}

async fn judge_derived_images(world: Arc<World>) {
    world.fill().await;
    let users = [2101, 2102, 2103].map(|id| UserIds { uid: id, gid: id });
    let mut ids = Vec::new();
    for user in users {
        let prepared = world.runtime.prepare(&world.toolbox, user, &NoProgress);
        ids.push(prepared.await.unwrap());
    }
    let mut spec = world.spec();
    spec.user = users[1];
    world.runtime.launch(&spec, &ids[1]).await.unwrap();
    // Somebody's own image, with all that an image derived from ours inherits.
    let options = TagImageOptionsBuilder::default()
        .repo("cofferdam-test-own")
        .tag("1")
        .build();
    world.engine.tag_image(&ids[2].id, Some(options)).await.unwrap();

    tokio::time::sleep(Duration::from_millis(2100)).await;
    let wanted = [(world.toolbox.clone(), users[0])];
    let stale = world
        .runtime
        .stale(&wanted, Duration::from_secs(1))
        .await
        .unwrap();
    let mut gone = Vec::new();
    for thing in &stale {
        if thing.kind != GarbageKind::Image {
            continue;
        }
        // Others use this engine as well: theirs are theirs to look at.
        let Ok(image) = world.engine.inspect_image(&thing.name).await else {
            continue;
        };
        if let Some(id) = image
            .id
            .filter(|id| ids.iter().any(|prepared| prepared.id == *id))
        {
            gone.push(id);
            assert!(world.runtime.remove_stale(thing).await.unwrap(), "{thing:?}");
            assert!(
                world.runtime.remove_stale(thing).await.unwrap(),
                "gone is gone: {thing:?}"
            );
        }
    }
    assert_eq!(gone, [ids[2].id.clone()], "wanted, used, and neither: {stale:?}");
    let own = world.engine.inspect_image("cofferdam-test-own:1").await.unwrap();
    assert_eq!(own.id.as_ref(), Some(&ids[2].id), "somebody's own name stays");
    let labels = own.config.unwrap().labels.unwrap();
    assert!(
        !world.signer.verify_helper(&labels, "cofferdam-test-own:1"),
        "what it inherited is signed for another name"
    );
    let foreign = Garbage {
        kind: GarbageKind::Image,
        name: "cofferdam-test-own:1".to_owned(),
        reason: String::new(),
    };
    assert!(!world.runtime.remove_stale(&foreign).await.unwrap());
    world
        .engine
        .remove_image("cofferdam-test-own:1", None::<RemoveImageOptions>, None)
        .await
        .unwrap();
    world.runtime.remove(&spec.name).await.unwrap();
}

/// Containers and volumes of other people that bear our names, with our labels copied and without.
pub(crate) async fn what_only_bears_a_helpers_name_is_never_removed(world: Arc<World>) {
    let nonce: u64 = rand::random();
    let own = format!("cofferdam-prepare-{nonce:016x}");
    let other = format!("cofferdam-prepare-{:016x}", nonce ^ 1);
    let signed: HashMap<_, _> = world.signer.helper_labels(&[&own]).into_iter().collect();
    make_container(&world, &other, HashMap::new()).await;
    assert!(
        !remove_stale(&world, GarbageKind::Container, &other).await,
        "unsigned"
    );
    world.engine.remove_container(&other, None).await.unwrap();
    make_container(&world, &other, signed.clone()).await;
    assert!(
        !remove_stale(&world, GarbageKind::Container, &other).await,
        "copied"
    );
    world.engine.remove_container(&other, None).await.unwrap();
    make_container(&world, &own, signed).await;
    assert!(remove_stale(&world, GarbageKind::Container, &own).await);
    assert!(world.engine.inspect_container(&own, None).await.is_err());

    let volume = format!("cofferdam-toolbox-{nonce:016x}");
    let request = VolumeCreateRequest {
        name: Some(volume.clone()),
        labels: Some(HashMap::from([(
            "dev.cofferdam.toolbox".to_owned(),
            "x".to_owned(),
        )])),
        ..VolumeCreateRequest::default()
    };
    world.engine.create_volume(request).await.unwrap();
    assert!(!remove_stale(&world, GarbageKind::Storage, &volume).await);
    world
        .engine
        .remove_volume(&volume, None::<RemoveVolumeOptions>)
        .await
        .unwrap();
}

async fn make_container(world: &World, name: &str, mut labels: HashMap<String, String>) {
    // For the end of the tests, should one fail.
    labels.insert("dev.cofferdam.test".to_owned(), "1".to_owned());
    let body = ContainerCreateBody {
        image: Some(world.toolbox.to_string()),
        entrypoint: Some(vec!["/opt/cofferdam/bin/session-init".to_owned()]),
        labels: Some(labels),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let options = CreateContainerOptionsBuilder::default().name(name).build();
    world.engine.create_container(Some(options), body).await.unwrap();
}

async fn remove_stale(world: &World, kind: GarbageKind, name: &str) -> bool {
    let thing = Garbage {
        kind,
        name: name.to_owned(),
        reason: String::new(),
    };
    world.runtime.remove_stale(&thing).await.unwrap()
}
