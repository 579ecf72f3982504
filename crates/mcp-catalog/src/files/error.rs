//! What is said when a file is not trusted or the file system refuses.

use std::io;
use std::path::Path;

use session_core::error::{Error, ErrorKind};

/// Why something is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    NotADirectory,
    NotAFile,
    Foreign,
    DirOpenToOthers,
    FileOpenToOthers,
    DirWritable,
    FileWritable,
    Damaged,
}

impl Refusal {
    fn as_str(self) -> &'static str {
        match self {
            Self::NotADirectory => "it is a symlink or no directory",
            Self::NotAFile => "it is a symlink or no regular file",
            Self::Foreign => "it belongs to another user",
            Self::DirOpenToOthers | Self::FileOpenToOthers => "other users can enter or read it",
            Self::DirWritable | Self::FileWritable => {
                "other users can change it, and it names programs that run on this host"
            }
            Self::Damaged => "it is not as it was written",
        }
    }
}

pub(crate) fn refused(operation: &'static str, path: &Path, refusal: Refusal) -> Error {
    let shown = path.display();
    let hint = match refusal {
        Refusal::NotADirectory => "name the directory itself".to_owned(),
        Refusal::NotAFile | Refusal::Damaged => format!("move {shown} away"),
        Refusal::Foreign => "it has to belong to the user who runs Cofferdam".to_owned(),
        Refusal::DirOpenToOthers => format!("see what others may have put there, then: chmod 700 {shown}"),
        Refusal::FileOpenToOthers => format!("chmod 600 {shown}"),
        Refusal::DirWritable | Refusal::FileWritable => {
            format!("see what others may have written there, then: chmod go-w {shown}")
        }
    };
    Error::new(ErrorKind::StateDirRefused, operation, refusal.as_str())
        .with_context("path", shown)
        .with_hint(hint)
}

pub(crate) fn io_error(operation: &'static str, path: &Path, source: io::Error) -> Error {
    let full = source.kind() == io::ErrorKind::StorageFull;
    let error = Error::new(ErrorKind::HostIo, operation, "the host's file system refused")
        .with_context("path", path.display())
        .with_context("cause", &source)
        .with_retryable(full)
        .with_source(source);
    if full {
        error.with_hint("free space on that file system, then try again")
    } else {
        error.with_hint("see that the path exists and that it can be written")
    }
}

pub(crate) fn too_long(operation: &'static str, path: &Path, limit: usize) -> Error {
    Error::new(
        ErrorKind::LimitExceeded,
        operation,
        "the file is longer than it may be",
    )
    .with_context("path", path.display())
    .with_context("limit", limit)
    .with_hint(format!("see what is in {}", path.display()))
}
