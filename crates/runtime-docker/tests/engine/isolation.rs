//! What is true inside of a session's container.

use std::collections::HashMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::Arc;

use bollard::models::HostConfigCgroupnsModeEnum;
use session_core::runtime::{ContainerRuntime, ContainerSpec, NetworkMode, UserIds, WorkspaceVolume};

use crate::world::World;

fn expect(told: &HashMap<String, String>, facts: &[(&str, &str)]) {
    for (key, value) in facts {
        assert_eq!(told.get(*key).map(String::as_str), Some(*value), "{key}");
    }
}

const WRITABLE: [(&str, &str); 7] = [
    ("write /", "no"),
    ("write /etc", "no"),
    ("write /opt/cofferdam", "no"),
    ("write /run/cofferdam/link", "no"),
    ("write /tmp", "yes"),
    ("write /workspace", "yes"),
    ("write /home/agent", "yes"),
];

pub(crate) async fn a_sealed_session_sees_only_what_it_should(world: Arc<World>) {
    let link = tempfile::tempdir().unwrap();
    let user = UserIds { uid: 1234, gid: 4321 };
    let spec = ContainerSpec {
        link_dir: Some(link.path().to_owned()),
        user,
        ..world.spec()
    };
    let image = world
        .runtime
        .prepare(&world.toolbox, user, &session_core::runtime::NoProgress)
        .await
        .unwrap();
    world.runtime.launch(&spec, &image).await.unwrap();
    let told = world.told(&spec.name).await;
    expect(&told, &WRITABLE);
    expect(
        &told,
        &[
            ("Uid", "1234 1234 1234 1234"),
            ("Gid", "4321 4321 4321 4321"),
            ("Groups", "4321"),
            ("NSpid", "1"),
            ("CapInh", "0000000000000000"),
            ("CapPrm", "0000000000000000"),
            ("CapEff", "0000000000000000"),
            ("CapBnd", "0000000000000000"),
            ("CapAmb", "0000000000000000"),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
            ("devices", "lo"),
            ("loopback", "works"),
            ("directory", "/"),
            ("workspace", "written"),
        ],
    );
    assert!(
        told["hosts"].starts_with("127.0.0.1 localhost"),
        "{}",
        told["hosts"]
    );
    let arguments = format!(
        "/opt/cofferdam/bin/session-init --link-dir /run/cofferdam/link --session {}",
        spec.session
    );
    assert_eq!(told["arguments"], arguments);
    expect_own_environment(&told);
    world.runtime.remove(&spec.name).await.unwrap();
}

/// The engine adds the host's name, which is the session's.
fn expect_own_environment(told: &HashMap<String, String>) {
    let names: Vec<&str> = told["environment"]
        .split(' ')
        .filter_map(|pair| Some(pair.split_once('=')?.0))
        .collect();
    assert_eq!(names, ["HOME", "HOSTNAME", "PATH"], "{}", told["environment"]);
    assert!(told["environment"].contains("HOME=/home/agent"));
    assert!(!told["environment"].contains("nowhere"));
}

pub(crate) async fn limits_are_in_force(world: Arc<World>) {
    let spec = world.spec();
    world.launch(&spec).await.unwrap();
    let found = world
        .engine
        .inspect_container(spec.name.as_str(), None)
        .await
        .unwrap();
    let host = found.host_config.unwrap();
    assert_eq!((host.memory, host.memory_swap), (Some(64 << 20), Some(64 << 20)));
    assert_eq!(host.pids_limit, Some(64));
    assert_eq!((host.cpu_period, host.cpu_quota), (Some(100_000), Some(100_000)));
    assert_eq!(host.readonly_rootfs, Some(true));
    assert_eq!(host.cgroupns_mode, Some(HostConfigCgroupnsModeEnum::PRIVATE));
    assert_eq!(host.ipc_mode.as_deref(), Some("private"));
    assert_eq!(host.network_mode.as_deref(), Some("none"));
    let log = host.log_config.unwrap();
    assert_eq!(log.typ.as_deref(), Some("json-file"));
    assert!(log.config.unwrap().contains_key("max-size"));
    world.runtime.remove(&spec.name).await.unwrap();
}

pub(crate) async fn nothing_of_an_image_takes_part_in_the_launch(world: Arc<World>) {
    let spec = world.spec();
    let image = world.prepare(&world.hostile).await;
    world.runtime.launch(&spec, &image).await.unwrap();
    let told = world.told(&spec.name).await;
    expect(&told, &WRITABLE);
    expect(
        &told,
        &[
            ("Uid", "1000 1000 1000 1000"),
            ("directory", "/"),
            ("workspace", "written"),
        ],
    );
    assert!(told["arguments"].starts_with("/opt/cofferdam/bin/session-init --session "));
    assert!(!told["hosts"].contains("203.0.113.1"), "{}", told["hosts"]);
    expect_own_environment(&told);

    let found = world
        .engine
        .inspect_container(spec.name.as_str(), None)
        .await
        .unwrap();
    assert!(
        found
            .state
            .unwrap()
            .health
            .is_none_or(|health| health.log.is_none_or(|log| log.is_empty()))
    );
    let anonymous = found
        .mounts
        .unwrap()
        .into_iter()
        .filter_map(|mount| mount.name)
        .filter(|name| name.len() == 64);
    assert_eq!(anonymous.count(), 0, "no anonymous volume");
    let config = found.config.unwrap();
    assert_eq!(config.stop_signal.as_deref(), Some("SIGTERM"));
    for (key, value) in &spec.labels {
        assert_eq!(config.labels.as_ref().unwrap().get(key), Some(value));
    }
    world.runtime.remove(&spec.name).await.unwrap();
}

pub(crate) async fn an_open_session_has_a_network(world: Arc<World>) {
    let spec = ContainerSpec {
        network: NetworkMode::Open,
        ..world.spec()
    };
    world.launch(&spec).await.unwrap();
    let told = world.told(&spec.name).await;
    assert!(
        told["devices"].split(' ').any(|device| device.starts_with("eth")),
        "{}",
        told["devices"]
    );
    expect(&told, &[("loopback", "works"), ("CapEff", "0000000000000000")]);
    world.runtime.remove(&spec.name).await.unwrap();
}

pub(crate) async fn a_workspace_of_the_host_is_shared(world: Arc<World>) {
    for read_only in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        std::fs::write(dir.path().join("here"), "x").unwrap();
        let workspace = WorkspaceVolume::Host {
            path: dir.path().to_owned(),
            read_only,
        };
        let spec = ContainerSpec {
            workspace,
            ..world.spec()
        };
        world.launch(&spec).await.unwrap();
        let told = world.told(&spec.name).await;
        expect(
            &told,
            &[("write /workspace", if read_only { "no" } else { "yes" })],
        );
        assert!(told["workspace"].contains("here"));
        if !read_only {
            assert_eq!(std::fs::metadata(dir.path().join("written")).unwrap().uid(), 1000);
        }
        world.runtime.remove(&spec.name).await.unwrap();
        assert!(
            dir.path().join("here").exists(),
            "a directory of the host outlives the session"
        );
    }
}
