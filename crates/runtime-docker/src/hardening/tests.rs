//! The launch as the engine gets it: one snapshot of the whole, and the promises as properties of any specification.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bollard::models::{MountBindOptionsPropagationEnum, MountType};
use proptest::prelude::*;
use session_core::id::{ContainerName, SessionId};
use session_core::runtime::{HostMount, Storage, WorkspaceVolume};

use super::*;

const IMAGE: &str = "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn surroundings(image_volumes: &[String]) -> Surroundings<'_> {
    Surroundings {
        image: IMAGE,
        image_volumes,
        toolbox: "cofferdam-toolbox-x",
        hosts: Some("/volumes/toolbox/etc/hosts"),
        isolation: None,
        podman: false,
    }
}

fn spec() -> ContainerSpec {
    let session: SessionId = "0f0e0d0c-0b0a-4908-8706-050403020100".parse().unwrap();
    ContainerSpec {
        name: ContainerName::of(&session),
        session,
        labels: BTreeMap::from([("dev.cofferdam.session".to_owned(), session.to_string())]),
        user: UserIds::DEFAULT,
        network: NetworkMode::Sealed,
        limits: ResourceLimits::default(),
        workspace: WorkspaceVolume::Scratch,
        storage: Storage::Fresh,
        mounts: Vec::new(),
        link_dir: Some("/state/link".into()),
    }
}

fn mount(target: &str) -> HostMount {
    HostMount {
        source: "/srv/data".into(),
        target: target.to_owned(),
        read_only: true,
    }
}

#[test]
fn the_default_launch() {
    let body = create_body(&spec(), &surroundings(&["/data".to_owned()])).unwrap();
    // Sorted by way of a value: maps of the library have no order.
    insta::assert_json_snapshot!(serde_json::to_value(body).unwrap());
}

#[test]
fn a_workspace_of_the_host_is_mounted_as_asked() {
    for read_only in [true, false] {
        let workspace = WorkspaceVolume::Host {
            path: "/home/me/project".into(),
            read_only,
        };
        let body = create_body(&ContainerSpec { workspace, ..spec() }, &surroundings(&[])).unwrap();
        let mounts = body.host_config.unwrap().mounts.unwrap();
        let found = mounts
            .iter()
            .find(|mount| mount.target.as_deref() == Some("/workspace"))
            .unwrap();
        assert_eq!(found.typ, Some(MountType::BIND));
        assert_eq!(found.source.as_deref(), Some("/home/me/project"));
        assert_eq!(found.read_only, Some(read_only));
    }
}

#[test]
fn root_is_refused() {
    for (uid, gid) in [(0, 1000), (1000, 0), (0, 0)] {
        let spec = ContainerSpec {
            user: UserIds { uid, gid },
            ..spec()
        };
        assert_eq!(
            create_body(&spec, &surroundings(&[])).unwrap_err().kind(),
            ErrorKind::InvalidArgument
        );
    }
}

#[test]
fn no_limit_is_refused() {
    let usual = ResourceLimits::default();
    for limits in [
        ResourceLimits {
            memory_bytes: 0,
            ..usual
        },
        ResourceLimits {
            milli_cpus: 0,
            ..usual
        },
        ResourceLimits { pids: 0, ..usual },
    ] {
        let spec = ContainerSpec { limits, ..spec() };
        assert_eq!(
            create_body(&spec, &surroundings(&[])).unwrap_err().kind(),
            ErrorKind::InvalidArgument
        );
    }
}

#[test]
fn mounts_that_hide_what_isolates_are_refused() {
    for bad in [
        "/",
        "//",
        "/.",
        "relative",
        "",
        "/a/../proc",
        "/proc",
        "/proc/self",
        "/sys/fs",
        "/dev/shm",
        "/opt",
        "/run",
        "/opt/cofferdam",
        "/opt/cofferdam/bin",
        "/run/cofferdam/link",
        "/run/cofferdam",
        "/run/cofferdam/x",
        "/etc",
        "/etc/hosts",
        "/a\0b",
    ] {
        let spec = ContainerSpec {
            mounts: vec![mount(bad)],
            ..spec()
        };
        assert!(create_body(&spec, &surroundings(&[])).is_err(), "{bad:?}");
    }
    for good in ["/data", "/srv/cache/", "/workspace/vendor", "/procession"] {
        let spec = ContainerSpec {
            mounts: vec![mount(good)],
            ..spec()
        };
        assert!(create_body(&spec, &surroundings(&[])).is_ok(), "{good:?}");
    }
}

#[test]
fn volumes_of_an_image_are_undone_once_each_and_never_over_ours() {
    let volumes = [
        "/data",
        "data/",
        "/tmp",
        "/workspace",
        "/home/agent/.cache",
        "/a/../data",
    ]
    .map(str::to_owned);
    let body = create_body(&spec(), &surroundings(&volumes)).unwrap();
    let in_memory: Vec<_> = body
        .host_config
        .unwrap()
        .mounts
        .unwrap()
        .into_iter()
        .filter(|mount| mount.typ == Some(MountType::TMPFS))
        .filter_map(|mount| mount.target)
        .collect();
    assert_eq!(in_memory, ["/data", "/home/agent/.cache"]);
}

#[test]
fn volumes_that_cannot_be_undone_are_refused() {
    let host = WorkspaceVolume::Host {
        path: "/home/me/project".into(),
        read_only: false,
    };
    for (workspace, volume, allowed) in [
        (host.clone(), "/workspace/node_modules", false),
        (WorkspaceVolume::Scratch, "/workspace/node_modules", true),
        (host, "/opt/cofferdam/bin", false),
        (WorkspaceVolume::Scratch, "/run/cofferdam/link/x", false),
        (WorkspaceVolume::Scratch, "", false),
        (WorkspaceVolume::Scratch, "/proc/sys", false),
    ] {
        let spec = ContainerSpec { workspace, ..spec() };
        let outcome = create_body(&spec, &surroundings(&[volume.to_owned()]));
        assert_eq!(outcome.is_ok(), allowed, "{volume}");
    }
}

#[test]
fn without_a_hosts_file_the_engine_manages_the_network() {
    let surroundings = Surroundings {
        hosts: None,
        ..surroundings(&[])
    };
    let body = create_body(&spec(), &surroundings).unwrap();
    assert_eq!(body.network_disabled, Some(false));
    let host = body.host_config.unwrap();
    assert_eq!(host.network_mode.as_deref(), Some("none"));
    assert!(
        host.mounts
            .unwrap()
            .iter()
            .all(|mount| mount.target.as_deref() != Some("/etc/hosts"))
    );
}

#[test]
fn podman_is_told_the_limits_that_it_would_raise() {
    let named = |podman| {
        let surroundings = Surroundings {
            podman,
            ..surroundings(&[])
        };
        let body = create_body(&spec(), &surroundings).unwrap();
        let limits = body.host_config.unwrap().ulimits.unwrap();
        limits
            .into_iter()
            .filter_map(|limit| limit.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(named(false), ["core"]);
    assert_eq!(named(true), ["core", "nofile", "nproc"]);
}

#[test]
fn an_isolation_is_passed_on_by_name() {
    let surroundings = Surroundings {
        isolation: Some("runsc"),
        ..surroundings(&[])
    };
    let body = create_body(&spec(), &surroundings).unwrap();
    assert_eq!(body.host_config.unwrap().runtime.as_deref(), Some("runsc"));
}

fn any_spec() -> impl Strategy<Value = ContainerSpec> {
    let limits = (any::<u64>(), any::<u32>(), any::<u32>()).prop_map(|(memory_bytes, milli_cpus, pids)| {
        ResourceLimits {
            memory_bytes,
            milli_cpus,
            pids,
        }
    });
    let workspace = prop_oneof![
        Just(WorkspaceVolume::Scratch),
        ("(/[a-z]{1,8}){1,4}", any::<bool>()).prop_map(|(path, read_only)| WorkspaceVolume::Host {
            path: PathBuf::from(path),
            read_only
        }),
    ];
    let mounts = proptest::collection::vec(
        ("(/[a-z]{1,8}){1,4}", "(/[a-z]{1,8}){1,4}", any::<bool>()).prop_map(
            |(source, target, read_only)| HostMount {
                source: source.into(),
                target,
                read_only,
            },
        ),
        0..3,
    );
    (any::<(u32, u32, bool, bool)>(), limits, workspace, mounts).prop_map(
        |((uid, gid, open, link), limits, workspace, mounts)| ContainerSpec {
            user: UserIds { uid, gid },
            network: if open {
                NetworkMode::Open
            } else {
                NetworkMode::Sealed
            },
            limits,
            workspace,
            mounts,
            link_dir: link.then(|| "/state/link".into()),
            ..spec()
        },
    )
}

proptest! {
    #[test]
    fn every_launch_keeps_the_promises(spec in any_spec(), volumes in proptest::collection::vec(".{0,40}", 0..8)) {
        let Ok(body) = create_body(&spec, &surroundings(&volumes)) else { return Ok(()) };
        let host = body.host_config.unwrap();
        prop_assert!(!body.user.unwrap().split(':').any(|id| id == "0"));
        prop_assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
        prop_assert_eq!(host.cap_add, None);
        prop_assert_eq!(host.privileged, Some(false));
        prop_assert_eq!(host.readonly_rootfs, Some(true));
        prop_assert_eq!(host.security_opt, Some(vec!["no-new-privileges".to_owned()]));
        prop_assert_eq!(host.memory, host.memory_swap);
        prop_assert!(host.memory > Some(0) && host.cpu_quota >= Some(1000) && host.pids_limit > Some(0));
        prop_assert!(host.binds.is_none() && host.devices.is_none() && host.volumes_from.is_none());
        prop_assert!(host.pid_mode.is_none() && host.uts_mode.is_none() && host.userns_mode.is_none());
        prop_assert_eq!(host.ipc_mode.as_deref(), Some("private"));
        prop_assert!(host.port_bindings.is_none() && host.publish_all_ports == Some(false));
        let sealed = spec.network == NetworkMode::Sealed;
        prop_assert_eq!(host.network_mode.as_deref(), Some(if sealed { "none" } else { "bridge" }));
        prop_assert_eq!(body.network_disabled, Some(sealed));
        let hosts = host.mounts.iter().flatten().any(|mount| mount.target.as_deref() == Some("/etc/hosts"));
        prop_assert!(hosts || !sealed);
        prop_assert_eq!(body.working_dir.as_deref(), Some("/"));
        for mount in host.mounts.unwrap() {
            let target = mount.target.unwrap();
            prop_assert_eq!(&cleaned(&target), &target);
            prop_assert!(target != "/");
            if mount.typ == Some(MountType::BIND) && target != "/etc/hosts" {
                prop_assert_eq!(
                    mount.bind_options.unwrap().propagation,
                    Some(MountBindOptionsPropagationEnum::RPRIVATE)
                );
            }
        }
    }

    #[test]
    fn the_environment_is_ours_alone(spec in any_spec()) {
        if let Ok(body) = create_body(&spec, &surroundings(&[])) {
            let env = body.env.unwrap();
            let names: Vec<_> = env.iter().filter_map(|pair| Some(pair.split_once('=')?.0)).collect();
            prop_assert_eq!(names, ["PATH", "HOME"]);
            prop_assert_eq!(body.labels.unwrap().len(), spec.labels.len());
        }
    }
}
