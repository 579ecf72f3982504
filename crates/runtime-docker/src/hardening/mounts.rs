//! What a session's container mounts, in order: ours, the caller's, and nothing in place of what the image declares.

use std::path::Path;

use bollard::models::{
    Mount, MountBindOptions, MountBindOptionsPropagationEnum, MountTmpfsOptions, MountType,
    MountVolumeOptions,
};
use session_core::error::{Error, ErrorKind, Result};
use session_core::runtime::{ContainerSpec, WorkspaceVolume};

use super::{OPERATION, Surroundings, TMP_DIR, own_hosts, signed};
use crate::names::{home_volume, workspace_volume};

const HOSTS_FILE: &str = "/etc/hosts";
/// Directories of the kernel's, where a mount would hide or change what isolates.
const KERNEL_DIRS: [&str; 3] = ["/proc", "/sys", "/dev"];
/// Where our own mounts are, but for those that a caller may look into or put something below.
const OWN_PLACES: [&str; 3] = [ContainerSpec::TOOLBOX_DIR, "/run/cofferdam", HOSTS_FILE];
/// An image with more volumes than this is not launched: each costs a mount.
const MAX_IMAGE_VOLUMES: usize = 64;

/// All mounts of a launch.
pub(super) fn mounts(spec: &ContainerSpec, surroundings: &Surroundings<'_>) -> Result<Vec<Mount>> {
    let mut mounts = own_mounts(spec, surroundings)?;
    mounts.extend(undone_volumes(surroundings.image_volumes, &mounts, spec)?);
    Ok(mounts)
}

/// Where an image's declared volume is, as the engine sees it: absolute, without `.` and `..`.
pub(crate) fn cleaned(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// An empty file system in memory where an image declares a volume, so that the engine makes no anonymous one.
pub(crate) fn empty_in_memory(target: String, size_bytes: i64) -> Mount {
    Mount {
        target: Some(target),
        typ: Some(MountType::TMPFS),
        tmpfs_options: Some(MountTmpfsOptions {
            size_bytes: Some(size_bytes),
            mode: Some(0o1777),
            ..MountTmpfsOptions::default()
        }),
        ..Mount::default()
    }
}

fn own_mounts(spec: &ContainerSpec, surroundings: &Surroundings<'_>) -> Result<Vec<Mount>> {
    let mut mounts = vec![
        toolbox_mount(surroundings.toolbox),
        owned(volume(home_volume(&spec.name), ContainerSpec::HOME_DIR), spec),
        match &spec.workspace {
            WorkspaceVolume::Scratch => owned(
                volume(workspace_volume(&spec.name), ContainerSpec::WORKSPACE_DIR),
                spec,
            ),
            WorkspaceVolume::Host { path, read_only } => {
                bind(path, ContainerSpec::WORKSPACE_DIR, *read_only)?
            }
        },
    ];
    if let Some(dir) = &spec.link_dir {
        mounts.push(bind(dir, ContainerSpec::LINK_DIR, true)?);
    }
    if let Some(hosts) = own_hosts(spec, surroundings) {
        // The file lies in a directory of the engine's own, for which it chooses the propagation (`rslave`) itself.
        mounts.push(Mount {
            bind_options: None,
            ..bind(Path::new(hosts), HOSTS_FILE, true)?
        });
    }
    for mount in &spec.mounts {
        mounts.push(bind(
            &mount.source,
            &judged_target(&mount.target)?,
            mount.read_only,
        )?);
    }
    Ok(mounts)
}

/// Read-only, and never filled from the image that it is shown in.
fn toolbox_mount(name: &str) -> Mount {
    Mount {
        read_only: Some(true),
        volume_options: Some(MountVolumeOptions {
            no_copy: Some(true),
            ..MountVolumeOptions::default()
        }),
        ..volume(name.to_owned(), ContainerSpec::TOOLBOX_DIR)
    }
}

fn volume(name: String, target: &str) -> Mount {
    Mount {
        source: Some(name),
        target: Some(target.to_owned()),
        typ: Some(MountType::VOLUME),
        ..Mount::default()
    }
}

/// Storage of this session: it bears the session's labels and takes over owner and mode of the image's directory.
fn owned(mount: Mount, spec: &ContainerSpec) -> Mount {
    Mount {
        volume_options: Some(MountVolumeOptions {
            labels: Some(spec.labels.clone().into_iter().collect()),
            ..MountVolumeOptions::default()
        }),
        ..mount
    }
}

fn bind(source: &Path, target: &str, read_only: bool) -> Result<Mount> {
    let source = source
        .to_str()
        .filter(|path| path.starts_with('/'))
        .ok_or_else(|| {
            refused(
                "an engine takes absolute paths in UTF-8 only",
                &source.to_string_lossy(),
            )
        })?;
    Ok(Mount {
        source: Some(source.to_owned()),
        target: Some(target.to_owned()),
        typ: Some(MountType::BIND),
        read_only: Some(read_only),
        bind_options: Some(MountBindOptions {
            propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
            ..MountBindOptions::default()
        }),
        ..Mount::default()
    })
}

/// The core's policy judges what may be shown; this keeps a target from hiding what isolates or what serves the link.
fn judged_target(target: &str) -> Result<String> {
    let clean = cleaned(target);
    if !target.starts_with('/')
        || target.contains('\0')
        || clean == "/"
        || target.split('/').any(|part| part == "..")
    {
        return Err(refused("a mount's target is an absolute path below /", target));
    }
    if is_kernels(&clean)
        || OWN_PLACES
            .iter()
            .any(|dir| clean == *dir || is_below(&clean, dir))
        || OWN_PLACES.iter().any(|dir| is_below(dir, &clean))
    {
        return Err(refused("nothing may be mounted there", target));
    }
    Ok(clean)
}

fn undone_volumes(volumes: &[String], taken: &[Mount], spec: &ContainerSpec) -> Result<Vec<Mount>> {
    if volumes.len() > MAX_IMAGE_VOLUMES {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            OPERATION,
            "the image declares too many volumes",
        )
        .with_context("volumes", volumes.len()));
    }
    let mut targets: Vec<String> = volumes.iter().map(|path| cleaned(path)).collect();
    targets.sort_unstable();
    targets.dedup();
    targets.retain(|target| target != TMP_DIR && !is_taken(target, taken));
    if let Some(target) = targets.iter().find(|target| cannot_be_undone(target, taken)) {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            OPERATION,
            "the image declares a volume where the session needs something else",
        )
        .with_context("volume", target.escape_debug())
        .with_hint("remove this VOLUME from the image; inside of /workspace, give the workspace as a copy"));
    }
    let size = signed(spec.limits.memory_bytes) / 2;
    Ok(targets
        .into_iter()
        .map(|target| empty_in_memory(target, size))
        .collect())
}

fn is_taken(target: &str, taken: &[Mount]) -> bool {
    taken.iter().any(|mount| mount.target.as_deref() == Some(target))
}

/// The root and the kernel's directories isolate; inside a directory of the host, or of the toolbox, the engine would
/// have to make the place for the mount.
fn cannot_be_undone(target: &str, taken: &[Mount]) -> bool {
    let fixed = taken
        .iter()
        .filter(|mount| mount.typ == Some(MountType::BIND) || mount.read_only == Some(true))
        .filter_map(|mount| mount.target.as_deref());
    target == "/" || is_kernels(target) || fixed.into_iter().any(|dir| is_below(target, dir))
}

fn is_kernels(path: &str) -> bool {
    KERNEL_DIRS.iter().any(|dir| path == *dir || is_below(path, dir))
}

fn is_below(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
}

fn refused(message: &'static str, path: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, OPERATION, message)
        .with_context("path", path.chars().take(200).collect::<String>().escape_debug())
}
