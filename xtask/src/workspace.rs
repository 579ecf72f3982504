//! Where things are, and the one place where a task reads the environment.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The root of the checkout that this program was built from.
pub fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// Cargo's target directory, where the tasks keep what can be made again.
pub fn target() -> PathBuf {
    // A relative CARGO_TARGET_DIR is relative to where cargo was called; only an absolute one means the same to us.
    match env("CARGO_TARGET_DIR").map(PathBuf::from) {
        Some(dir) if dir.is_absolute() => dir,
        _ => root().join("target"),
    }
}

/// A directory of the tasks' own under [`target`], created when missing.
///
/// # Errors
/// When it cannot be created.
pub fn state(name: &str) -> Result<PathBuf> {
    let dir = target().join("xtask").join(name);
    std::fs::create_dir_all(&dir).map_err(|error| {
        Error::new(format!("cannot create {}", dir.display()))
            .source(error)
            .hint("check who owns the target directory; a task may have run as another user")
    })?;
    Ok(dir)
}

/// A variable of the environment; unset, empty and not UTF-8 are all `None`.
#[expect(
    clippy::disallowed_methods,
    reason = "xtask is a root of its own; all of it reads the environment here"
)]
pub fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
