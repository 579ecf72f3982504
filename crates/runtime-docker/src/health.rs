//! Whether the engine answers, and which promises of isolation it cannot keep.

use bollard::models::{SystemInfo, SystemInfoCgroupVersionEnum, SystemVersion};
use session_core::error::Result;
use session_core::runtime::RuntimeHealth;

use crate::client::{Handles, Host};
use crate::error::{About, failed, line};

const OPERATION: &str = "ask the engine for its health";
const PODMAN: &str = "Podman";
/// The first engine whose API we speak.
const OLDEST_API: (u32, u32) = (1, 41);

/// What the engine says of itself, held against what we promise.
pub(crate) async fn probe(engine: &Handles, host: &Host, isolation: Option<&str>) -> Result<RuntimeHealth> {
    let (version, info) = futures::try_join!(engine.quick.version(), engine.quick.info())
        .map_err(|error| failed(OPERATION, About::Engine, error))?;
    Ok(RuntimeHealth {
        version: describe(&version, &info),
        findings: findings(&version, &info, host, isolation),
    })
}

fn describe(version: &SystemVersion, info: &SystemInfo) -> String {
    let cgroup = match info.cgroup_version {
        Some(SystemInfoCgroupVersionEnum::_1) => "1",
        Some(SystemInfoCgroupVersionEnum::_2) => "2",
        _ => "unknown",
    };
    let rights = if has_option(info, "rootless") {
        "rootless"
    } else if has_option(info, "userns") {
        "user ids remapped"
    } else {
        "rootful"
    };
    line(&format!(
        "{} {} (API {}, cgroup {cgroup}, {rights})",
        product(version),
        version.version.as_deref().unwrap_or("of unknown version"),
        version.api_version.as_deref().unwrap_or("unknown"),
    ))
}

/// Whether the engine is Podman, whose answers to Docker's API differ in places.
pub(crate) async fn is_podman(engine: &Handles) -> Result<bool> {
    let version = engine.quick.version().await;
    let version = version.map_err(|error| failed(OPERATION, About::Engine, error))?;
    Ok(product(&version) == PODMAN)
}

fn product(version: &SystemVersion) -> &'static str {
    let components = version.components.as_deref().unwrap_or_default();
    if components
        .iter()
        .any(|component| component.name.starts_with("Podman"))
    {
        PODMAN
    } else {
        "Docker Engine"
    }
}

/// Whether the engine lists a security option, `name=NAME,…` or, as old engines write it, `NAME`.
fn has_option(info: &SystemInfo, name: &str) -> bool {
    options(info).any(|option| option_name(option) == name)
}

fn options(info: &SystemInfo) -> impl Iterator<Item = &str> {
    info.security_options.iter().flatten().map(String::as_str)
}

fn option_name(option: &str) -> &str {
    let first = option.split(',').next().unwrap_or(option);
    first.strip_prefix("name=").unwrap_or(first)
}

fn findings(version: &SystemVersion, info: &SystemInfo, host: &Host, isolation: Option<&str>) -> Vec<String> {
    let mut found = Vec::new();
    let mut say = |broken: bool, sentence: &str| {
        if broken {
            found.push(sentence.to_owned());
        }
    };
    say(
        info.os_type.as_deref().is_some_and(|os| os != "linux"),
        "The engine does not run Linux containers: switch it to Linux containers.",
    );
    say(
        version
            .api_version
            .as_deref()
            .and_then(api)
            .is_some_and(|api| api < OLDEST_API),
        "The engine is older than 20.10, the oldest that is supported: upgrade it.",
    );
    say(
        !has_option(info, "seccomp") || options(info).any(|option| option.contains("profile=unconfined")),
        "System calls are not filtered: run the engine with seccomp and its default profile.",
    );
    say(
        !has_option(info, "apparmor") && !has_option(info, "selinux"),
        "Neither AppArmor nor SELinux confines containers: enable one of them on the engine's machine.",
    );
    say(
        info.memory_limit == Some(false),
        "Memory cannot be limited: enable the memory controller (cgroup_enable=memory, or delegate it to a rootless engine).",
    );
    say(
        info.memory_limit != Some(false) && info.swap_limit == Some(false),
        "Swap is not counted, so a session can use more memory than its limit: boot with swapaccount=1, use cgroup v2, or turn swap off.",
    );
    say(
        info.cpu_cfs_quota == Some(false),
        "CPU time cannot be limited: enable the CPU controller, or delegate it to a rootless engine.",
    );
    say(
        info.pids_limit == Some(false),
        "The number of processes cannot be limited: enable the pids controller, or delegate it to a rootless engine.",
    );
    // The list of `PODMAN_CANNOT` in the conformance suite's tests, in words.
    say(
        product(version) == PODMAN,
        "The engine is Podman, which does not tell that a container ended for lack of memory, so such an end is not told from another one: use Docker where the cause has to be known.",
    );
    say(
        !host.is_local(),
        "The engine is reached over unencrypted TCP, which gives whoever can reach it its whole machine: forward its socket over SSH instead.",
    );
    if let Some(name) = isolation
        && info
            .runtimes
            .as_ref()
            .is_some_and(|runtimes| !runtimes.contains_key(name))
    {
        found.push(format!(
            "The engine does not know the runtime {name}, so no session can be launched: install it and name it in the engine's daemon.json."
        ));
    }
    found
}

fn api(version: &str) -> Option<(u32, u32)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::SystemVersionComponents;
    use std::collections::HashMap;

    fn local() -> Host {
        Host::Unix("/var/run/docker.sock".to_owned())
    }

    fn sound() -> (SystemVersion, SystemInfo) {
        let version = SystemVersion {
            version: Some("28.2.2".to_owned()),
            api_version: Some("1.50".to_owned()),
            ..SystemVersion::default()
        };
        let info = SystemInfo {
            os_type: Some("linux".to_owned()),
            security_options: Some(vec![
                "name=apparmor".to_owned(),
                "name=seccomp,profile=builtin".to_owned(),
            ]),
            memory_limit: Some(true),
            swap_limit: Some(true),
            pids_limit: Some(true),
            cpu_cfs_quota: Some(true),
            cgroup_version: Some(SystemInfoCgroupVersionEnum::_2),
            runtimes: Some(HashMap::new()),
            ..SystemInfo::default()
        };
        (version, info)
    }

    #[test]
    fn a_sound_engine_has_no_findings() {
        let (version, info) = sound();
        assert_eq!(findings(&version, &info, &local(), None), Vec::<String>::new());
        assert_eq!(
            describe(&version, &info),
            "Docker Engine 28.2.2 (API 1.50, cgroup 2, rootful)"
        );
    }

    #[test]
    fn each_broken_promise_is_a_sentence_with_its_remedy() {
        let (version, sound) = sound();
        let broken = [
            SystemInfo {
                security_options: Some(vec!["apparmor".to_owned()]),
                ..sound.clone()
            },
            SystemInfo {
                security_options: Some(vec![
                    "name=selinux".to_owned(),
                    "name=seccomp,profile=unconfined".to_owned(),
                ]),
                ..sound.clone()
            },
            SystemInfo {
                security_options: Some(vec!["name=seccomp".to_owned()]),
                ..sound.clone()
            },
            SystemInfo {
                memory_limit: Some(false),
                ..sound.clone()
            },
            SystemInfo {
                swap_limit: Some(false),
                ..sound.clone()
            },
            SystemInfo {
                pids_limit: Some(false),
                ..sound.clone()
            },
            SystemInfo {
                cpu_cfs_quota: Some(false),
                ..sound.clone()
            },
            SystemInfo {
                os_type: Some("windows".to_owned()),
                ..sound.clone()
            },
        ];
        for info in broken {
            let found = findings(&version, &info, &local(), None);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(": ") && found[0].ends_with('.'), "{found:?}");
        }
        let old = SystemVersion {
            api_version: Some("1.40".to_owned()),
            ..version.clone()
        };
        assert_eq!(findings(&old, &sound, &local(), None).len(), 1);
        assert_eq!(
            findings(&version, &sound, &Host::Tcp("h:1".to_owned()), None).len(),
            1
        );
        assert_eq!(findings(&version, &sound, &local(), Some("runsc")).len(), 1);
        let podman = SystemVersion {
            components: Some(vec![SystemVersionComponents {
                name: "Podman Engine".to_owned(),
                ..SystemVersionComponents::default()
            }]),
            ..version.clone()
        };
        let found = findings(&podman, &sound, &local(), None);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains("Podman") && found[0].contains(": use Docker"),
            "{found:?}"
        );
    }
}
