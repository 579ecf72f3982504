//! From a specification to the body of the engine's create call: a pure function, and the place where promise 1 of the
//! security page is kept. Nothing of an image takes part in it but the list of volumes to be undone.
//!
//! `Binds` are never used: the engine makes missing sources of binds, follows relative names and reads options out of
//! one string. `Mounts` does none of that.

mod mounts;

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount,
    ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};
use session_core::error::{Error, ErrorKind, Result};
use session_core::runtime::{ContainerSpec, NetworkMode, ResourceLimits, UserIds};

pub(crate) use self::mounts::{cleaned, empty_in_memory};

const OPERATION: &str = "launch the container";

/// Programs of the image first, ours last: an image finds its own tools under their own names.
const SEARCH_PATH: &str =
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/cofferdam/bin";
const TMP_DIR: &str = "/tmp";
/// The kernel's usual period.
const CPU_PERIOD_US: i64 = 100_000;
/// As many as Podman may give where it runs with the usual limits of a service.
const OPEN_FILES: i64 = 16_384;
/// Of all sessions of a user id together; each has its own limit besides.
const PROCESSES: i64 = 16_384;
const SHM_BYTES: i64 = 64 << 20;
/// PID 1 writes a few lines when something is wrong; the rest goes through the link.
const LOG_FILE_SIZE: &str = "256k";
const LOG_FILES: &str = "2";

/// What a launch takes besides its specification.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    /// The id of the image to launch.
    pub(crate) image: &'a str,
    /// The volumes that the image declares.
    pub(crate) image_volumes: &'a [String],
    /// The name of the filled toolbox volume.
    pub(crate) toolbox: &'a str,
    /// A `hosts` file on the engine's machine, for a container whose network the engine is not to manage.
    pub(crate) hosts: Option<&'a str>,
    /// The OCI runtime, when it is not the engine's default.
    pub(crate) isolation: Option<&'a str>,
    /// The engine is Podman.
    pub(crate) podman: bool,
}

/// Who may run inside: never root, in no group of root's.
pub(crate) fn refuse_root(operation: &'static str, user: UserIds) -> Result<()> {
    if user.uid == 0 || user.gid == 0 {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            operation,
            "nothing runs as root in a session",
        )
        .with_context("user", format_args!("{}:{}", user.uid, user.gid))
        .with_hint("use a user id and a group id above 0"));
    }
    Ok(())
}

/// An engine reads 0 as "no limit", and takes no less than a hundredth of a core.
fn refuse_no_limit(limits: ResourceLimits) -> Result<()> {
    if limits.memory_bytes == 0 || limits.pids == 0 || limits.milli_cpus < 10 {
        return Err(
            Error::new(ErrorKind::InvalidArgument, OPERATION, "a limit is too low")
                .with_context("memory_bytes", limits.memory_bytes)
                .with_context("milli_cpus", limits.milli_cpus)
                .with_context("pids", limits.pids)
                .with_hint("give at least 10 thousandths of a core, one process and some memory"),
        );
    }
    Ok(())
}

/// The body of the create call.
///
/// # Errors
/// `InvalidArgument` for a root user, a mount that hides what isolates, or an image whose volumes cannot be undone.
pub(crate) fn create_body(
    spec: &ContainerSpec,
    surroundings: &Surroundings<'_>,
) -> Result<ContainerCreateBody> {
    refuse_root(OPERATION, spec.user)?;
    refuse_no_limit(spec.limits)?;
    let mounts = mounts::mounts(spec, surroundings)?;
    Ok(ContainerCreateBody {
        image: Some(surroundings.image.to_owned()),
        user: Some(format!("{}:{}", spec.user.uid, spec.user.gid)),
        hostname: Some(hostname(spec)),
        working_dir: Some("/".to_owned()),
        entrypoint: Some(entrypoint(spec)),
        cmd: Some(Vec::new()),
        env: Some(vec![
            SEARCH_PATH.to_owned(),
            format!("HOME={}", ContainerSpec::HOME_DIR),
        ]),
        labels: Some(spec.labels.clone().into_iter().collect()),
        network_disabled: Some(own_hosts(spec, surroundings).is_some()),
        healthcheck: Some(no_health_check()),
        stop_signal: Some("SIGTERM".to_owned()),
        stop_timeout: Some(1),
        attach_stdin: Some(false),
        attach_stdout: Some(false),
        attach_stderr: Some(false),
        open_stdin: Some(false),
        tty: Some(false),
        host_config: Some(host_config(spec, surroundings, mounts)),
        ..ContainerCreateBody::default()
    })
}

/// The `hosts` file that a sealed session gets from us instead of from the engine.
///
/// An engine that manages a network, `none` included, starts a program of its own for each container, which takes more
/// than half of a launch. Without it the network namespace is the same: made by the OCI runtime, with loopback up and
/// nothing else. Only the files that the engine would write are missing, and of these a sealed session needs one.
fn own_hosts<'a>(spec: &ContainerSpec, surroundings: &Surroundings<'a>) -> Option<&'a str> {
    surroundings.hosts.filter(|_| spec.network == NetworkMode::Sealed)
}

/// Keeps an image's own health check from running.
pub(crate) fn no_health_check() -> HealthConfig {
    HealthConfig {
        test: Some(vec!["NONE".to_owned()]),
        ..HealthConfig::default()
    }
}

/// Limits of each process.
fn ulimits(surroundings: &Surroundings<'_>) -> Vec<ResourcesUlimits> {
    let limit = |name: &str, value| ResourcesUlimits {
        name: Some(name.to_owned()),
        soft: Some(value),
        hard: Some(value),
    };
    // A core file would hold what the agent held in memory.
    let mut limits = vec![limit("core", 0)];
    if surroundings.podman {
        // Where any limit is named, Podman raises those that are not to the most that a kernel takes, which fails where it may
        // not raise its own. Docker's containers have what their engine has.
        limits.extend([limit("nofile", OPEN_FILES), limit("nproc", PROCESSES)]);
    }
    limits
}

fn host_config(spec: &ContainerSpec, surroundings: &Surroundings<'_>, mounts: Vec<Mount>) -> HostConfig {
    let memory = signed(spec.limits.memory_bytes);
    let milli_cpus = i64::from(spec.limits.milli_cpus);
    HostConfig {
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        readonly_rootfs: Some(true),
        privileged: Some(false),
        network_mode: Some(
            match spec.network {
                NetworkMode::Sealed => "none",
                NetworkMode::Open => "bridge",
            }
            .to_owned(),
        ),
        ipc_mode: Some("private".to_owned()),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        memory: Some(memory),
        // Equal to the memory: no swap.
        memory_swap: Some(memory),
        // Not `NanoCpus`: engines refuse more of it than they have cores, so a default would fail on small machines.
        cpu_period: Some(CPU_PERIOD_US),
        cpu_quota: Some(milli_cpus * CPU_PERIOD_US / 1000),
        // A fair share when the cores are all taken: 1024 for each core.
        cpu_shares: Some((milli_cpus * 1024 / 1000).max(2)),
        pids_limit: Some(i64::from(spec.limits.pids)),
        ulimits: Some(ulimits(surroundings)),
        shm_size: Some(SHM_BYTES),
        tmpfs: Some(HashMap::from([(TMP_DIR.to_owned(), tmp_options(memory))])),
        mounts: Some(mounts),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), LOG_FILE_SIZE.to_owned()),
                ("max-file".to_owned(), LOG_FILES.to_owned()),
            ])),
        }),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        auto_remove: Some(false),
        init: Some(false),
        publish_all_ports: Some(false),
        runtime: surroundings.isolation.map(str::to_owned),
        ..HostConfig::default()
    }
}

/// Half of the memory at most, which it is counted as; programs may be run there, because builds do.
fn tmp_options(memory: i64) -> String {
    format!("rw,nosuid,nodev,exec,size={},mode=1777", memory / 2)
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The first digits of the session's id; random, so hosts on one network rarely share it.
fn hostname(spec: &ContainerSpec) -> String {
    spec.session.to_string().chars().take(8).collect()
}

fn entrypoint(spec: &ContainerSpec) -> Vec<String> {
    let mut argv = vec![format!("{}/bin/session-init", ContainerSpec::TOOLBOX_DIR)];
    if spec.link_dir.is_some() {
        argv.extend(["--link-dir".to_owned(), ContainerSpec::LINK_DIR.to_owned()]);
    }
    argv.extend(["--session".to_owned(), spec.session.to_string()]);
    argv
}

#[cfg(test)]
mod tests;
