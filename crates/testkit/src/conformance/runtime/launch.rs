//! [`ContainerRuntime::launch`](session_core::runtime::ContainerRuntime::launch).

use std::sync::Arc;

use libtest_mimic::Failed;
use session_core::error::ErrorKind;
use session_core::runtime::{ContainerSpec, ContainerState, NetworkMode, WorkspaceVolume};
use session_link::Link;

use super::stage::{LIMITS, Stage, run, spawn_spec};
use crate::conformance::{Case, Outcome, cases, refused};

pub(super) fn cases() -> Vec<Case<Stage>> {
    cases!["launch":
        session_init_is_pid_1_and_runs_as_the_user,
        a_sealed_container_has_no_device_but_loopback,
        an_open_container_has_a_network_or_is_refused,
        the_root_is_read_only_and_the_users_places_are_not,
        no_capability_and_no_new_privileges,
        the_limits_are_in_force,
        a_host_directory_is_the_workspace_or_is_refused,
        a_second_launch_conflicts_and_leaves_the_first_alone,
        nothing_is_left_behind_on_failure,
    ]
}

/// A line of `/proc/PID/status`.
fn field<'a>(status: &'a str, name: &str) -> Result<&'a str, Failed> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.map(str::trim)
        .ok_or_else(|| format!("no {name} in {status:?}").into())
}

async fn session_init_is_pid_1_and_runs_as_the_user(stage: Arc<Stage>) -> Outcome {
    let spec = stage.launch().await?;
    let link = stage.link(&spec.name).await?;
    let status = run(&link, &["cat", "/proc/1/status"]).await?.text();
    ensure_eq!(field(&status, "Name")?, "session-init", "the name of PID 1");
    for (name, id) in [("Uid", spec.user.uid), ("Gid", spec.user.gid)] {
        let ids = field(&status, name)?;
        let expected = id.to_string();
        ensure!(
            ids.split_whitespace().all(|id| id == expected),
            "{name} of PID 1: {ids}"
        );
    }
    ensure_eq!(
        link.hello().session,
        spec.session.to_string(),
        "the session that init was started for"
    );
    Ok(())
}

async fn devices(link: &Link) -> Result<Vec<String>, Failed> {
    let text = run(link, &["cat", "/proc/net/dev"]).await?.text();
    Ok(text
        .lines()
        .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
        .collect())
}

async fn a_sealed_container_has_no_device_but_loopback(stage: Arc<Stage>) -> Outcome {
    let spec = stage.launch().await?;
    ensure_eq!(
        devices(&stage.link(&spec.name).await?).await?,
        vec!["lo".to_owned()],
        "the network devices"
    );
    Ok(())
}

async fn an_open_container_has_a_network_or_is_refused(stage: Arc<Stage>) -> Outcome {
    let spec = ContainerSpec {
        network: NetworkMode::Open,
        ..stage.spec()
    };
    let image = stage.prepare(&stage.lab.image()).await?;
    let launched = stage.runtime.launch(&spec, &image).await;
    if !stage.capability().open_network {
        refused(launched, ErrorKind::Unsupported)?;
        ensure_eq!(
            stage.state(&spec.name).await?,
            ContainerState::Absent,
            "the container"
        );
        return Ok(());
    }
    launched?;
    let devices = devices(&stage.link(&spec.name).await?).await?;
    ensure!(devices.len() > 1, "only {devices:?}");
    Ok(())
}

async fn the_root_is_read_only_and_the_users_places_are_not(stage: Arc<Stage>) -> Outcome {
    let spec = stage.launch().await?;
    let link = stage.link(&spec.name).await?;
    let mounts = run(&link, &["cat", "/proc/mounts"]).await?.text();
    let root = mounts
        .lines()
        .rev()
        .find(|line| line.split(' ').nth(1) == Some("/"));
    let options = root.and_then(|line| line.split(' ').nth(3)).unwrap_or_default();
    ensure!(
        options.split(',').any(|option| option == "ro"),
        "the root is mounted {options:?}"
    );
    for directory in [
        "/",
        "/etc",
        "/usr",
        ContainerSpec::TOOLBOX_DIR,
        ContainerSpec::LINK_DIR,
    ] {
        let path = format!("{directory}/conformance");
        let ran = run(&link, &["touch", &path]).await?;
        ensure!(!ran.exit.success(), "{directory} can be written");
        ensure!(!ran.stderr.is_empty(), "nothing was said about {directory}");
    }
    for directory in ["/tmp", ContainerSpec::WORKSPACE_DIR, ContainerSpec::HOME_DIR] {
        let path = format!("{directory}/conformance");
        let ran = run(&link, &["touch", &path]).await?;
        ensure!(
            ran.exit.success(),
            "{directory} cannot be written: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }
    Ok(())
}

async fn no_capability_and_no_new_privileges(stage: Arc<Stage>) -> Outcome {
    let spec = stage.launch().await?;
    let link = stage.link(&spec.name).await?;
    for process in ["/proc/1/status", "/proc/self/status"] {
        let status = run(&link, &["cat", process]).await?.text();
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            let bits = field(&status, set)?;
            ensure!(
                bits.bytes().all(|bit| bit == b'0'),
                "{set} of {process} is {bits}"
            );
        }
        ensure_eq!(field(&status, "NoNewPrivs")?, "1", "no new privileges");
        ensure_eq!(field(&status, "Seccomp")?, "2", "the seccomp mode");
    }
    Ok(())
}

/// The first of these files that can be read, in the words of either version of control groups.
async fn first(link: &Link, paths: &[&str]) -> Result<Option<String>, Failed> {
    for path in paths {
        let ran = run(link, &["cat", path]).await?;
        if ran.exit.success() {
            return Ok(Some(ran.text()));
        }
    }
    Ok(None)
}

async fn the_limits_are_in_force(stage: Arc<Stage>) -> Outcome {
    let spec = stage.launch().await?;
    let link = stage.link(&spec.name).await?;
    let health = link.health().await?;
    ensure_eq!(
        health.memory_limit,
        Some(LIMITS.memory_bytes),
        "the limit on memory"
    );
    ensure_eq!(
        health.pids_limit,
        Some(LIMITS.pids.into()),
        "the limit on processes"
    );
    let swap = [
        "/sys/fs/cgroup/memory.swap.max",
        "/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes",
    ];
    // Without swap accounting there is no such file; version 1 counts memory and swap together.
    if let Some(swap) = first(&link, &swap).await? {
        let bytes: u64 = swap.parse()?;
        ensure!(
            bytes == 0 || bytes == LIMITS.memory_bytes,
            "swap is limited to {bytes}"
        );
    }
    let quota = ["/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"];
    let quota = first(&link, &quota)
        .await?
        .ok_or("no file says what the limit on processor time is")?;
    let quota: u64 = quota.split_whitespace().next().unwrap_or_default().parse()?;
    ensure_eq!(
        quota,
        u64::from(LIMITS.milli_cpus) * 100,
        "the processor time per 100 ms, in µs"
    );
    Ok(())
}

async fn a_host_directory_is_the_workspace_or_is_refused(stage: Arc<Stage>) -> Outcome {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir()?;
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777))?;
    let workspace = WorkspaceVolume::Host {
        path: dir.path().to_owned(),
        read_only: false,
    };
    let spec = ContainerSpec {
        workspace,
        ..stage.spec()
    };
    let image = stage.prepare(&stage.lab.image()).await?;
    let launched = stage.runtime.launch(&spec, &image).await;
    if !stage.capability().host_mounts {
        refused(launched, ErrorKind::Unsupported)?;
        return Ok(());
    }
    launched?;
    let link = stage.link(&spec.name).await?;
    ensure!(
        run(&link, &["touch", "made-inside"]).await?.exit.success(),
        "the workspace cannot be written"
    );
    ensure!(
        dir.path().join("made-inside").exists(),
        "what was made inside is not on the host"
    );
    stage.runtime.remove(&spec.name).await?;
    ensure!(
        dir.path().join("made-inside").exists(),
        "the host's directory went with the container"
    );
    Ok(())
}

async fn a_second_launch_conflicts_and_leaves_the_first_alone(stage: Arc<Stage>) -> Outcome {
    let spec = stage.launch().await?;
    let link = stage.link(&spec.name).await?;
    link.spawn(spawn_spec(&["sleep", "1000"])).await?;
    let image = stage.prepare(&stage.lab.image()).await?;
    refused(
        stage.runtime.launch(&spec, &image).await,
        ErrorKind::StateConflict,
    )?;
    ensure_eq!(link.health().await?.processes, 1, "what runs in the first");
    ensure_eq!(
        stage.state(&spec.name).await?,
        ContainerState::Running,
        "the first"
    );
    Ok(())
}

async fn nothing_is_left_behind_on_failure(stage: Arc<Stage>) -> Outcome {
    let nowhere = WorkspaceVolume::Host {
        path: "/nonexistent/cofferdam-conformance".into(),
        read_only: false,
    };
    let spec = ContainerSpec {
        workspace: nowhere,
        ..stage.spec()
    };
    let image = stage.prepare(&stage.lab.image()).await?;
    ensure!(
        stage.runtime.launch(&spec, &image).await.is_err(),
        "a workspace that is not there was mounted"
    );
    let left = stage.runtime.list(stage.signer.owner()).await?;
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}
