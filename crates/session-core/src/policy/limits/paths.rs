//! Paths inside a session.
//!
//! They are judged by their spelling alone: what they lead to is the session's business and inside its container. The
//! host never opens one.

use super::{at_most, bad, shown};
use crate::error::{Error, Result};
use crate::runtime::ContainerSpec;

const MAX_PATH_BYTES: usize = 4095;

/// The kernel's file systems: a working directory there has led out of containers (CVE-2024-21626), and there is
/// nothing to copy.
const KERNEL_TREES: &[&str] = &["/proc", "/sys", "/dev"];
/// Ours: the supervisor, the agent and the link.
const OWN_TREES: &[&str] = &[ContainerSpec::TOOLBOX_DIR, "/run/cofferdam"];
/// Set up by the runtime; a mount below is welcome, one in their place is not.
const OWN_PLACES: &[&str] = &[ContainerSpec::WORKSPACE_DIR, ContainerSpec::HOME_DIR, "/tmp"];

/// Judges where a further mount is seen inside.
///
/// # Errors
/// `InvalidArgument`.
pub fn validate_mount_target(target: &str) -> Result<()> {
    validate_text(target)?;
    let normal = target.len() > 1 && target.starts_with('/') && resolve(target) == target;
    if !normal {
        return Err(refused(
            "a mount's target is an absolute path without . or .. and not / itself",
            target,
        )
        .with_hint("for example /data"));
    }
    let trees = || KERNEL_TREES.iter().chain(OWN_TREES);
    if trees().any(|tree| is_within(target, tree)) {
        return Err(
            refused("this part of a session belongs to the kernel or to us", target)
                .with_hint("mount it somewhere else, for example at /data"),
        );
    }
    if trees().chain(OWN_PLACES).any(|place| is_within(place, target)) {
        return Err(refused("a mount there would hide what a session needs", target)
            .with_hint("mount it below, or somewhere else, for example at /data"));
    }
    Ok(())
}

/// Judges a working directory: absolute, or relative to the workspace.
///
/// # Errors
/// `InvalidArgument`.
pub fn validate_cwd(cwd: &str) -> Result<()> {
    validate_text(cwd)?;
    let resolved = resolve(cwd);
    if KERNEL_TREES.iter().any(|tree| is_within(&resolved, tree)) {
        return Err(refused("nothing is run in the kernel's own directories", cwd)
            .with_hint("leave the working directory away for /workspace"));
    }
    Ok(())
}

/// Judges a path for copies in or out: absolute, or relative to the workspace.
///
/// # Errors
/// `InvalidArgument`.
pub fn validate_copy_path(path: &str) -> Result<()> {
    validate_text(path)?;
    if path.split('/').any(|part| part == "..") {
        return Err(
            refused("a path to copy has no .. in it", path).with_hint("write the whole path, from / on")
        );
    }
    let resolved = resolve(path);
    if KERNEL_TREES.iter().any(|tree| is_within(&resolved, tree)) {
        return Err(
            refused("there is nothing to copy in the kernel's own directories", path)
                .with_hint("name a path in /workspace"),
        );
    }
    Ok(())
}

fn validate_text(path: &str) -> Result<()> {
    if path.is_empty() || path.contains('\0') {
        return Err(refused("a path is not empty and contains no NUL", path)
            .with_hint("for example src, or /workspace/src"));
    }
    at_most("a path", path.len(), MAX_PATH_BYTES)
}

/// The absolute path without `.`, `..` and doubled slashes, symlinks left out of account.
fn resolve(path: &str) -> String {
    let base = if path.starts_with('/') {
        ""
    } else {
        ContainerSpec::WORKSPACE_DIR
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(path.split('/')) {
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

fn is_within(path: &str, tree: &str) -> bool {
    path.strip_prefix(tree)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn refused(message: &'static str, path: &str) -> Error {
    bad(message).with_context("path", shown(path))
}
