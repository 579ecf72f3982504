//! Where `servers.toml` really is: people keep such files in a repository and link to them. A link is kept.

use std::io;
use std::path::{Path, PathBuf};

use session_core::error::{Error, ErrorKind, Result};

const MAX_LINKS: usize = 16;

/// The path with links in its last part followed; the file need not exist.
pub(super) fn real_path(path: &Path) -> io::Result<PathBuf> {
    let mut path = std::path::absolute(path)?;
    for _ in 0..MAX_LINKS {
        match std::fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("/")).join(target),
            // No link, or nothing there.
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

/// The directory, and the name in it.
pub(super) fn split(path: &Path) -> Result<(PathBuf, &str)> {
    let name = path.file_name().and_then(|name| name.to_str());
    match (path.parent(), name) {
        (Some(dir), Some(name)) => Ok((dir.to_owned(), name)),
        _ => Err(Error::new(
            ErrorKind::InvalidArgument,
            super::OPERATION,
            "this is no path of a file",
        )
        .with_context("path", path.display())
        .with_hint("set COFFERDAM_SERVERS to the path of a file, or unset it")),
    }
}
