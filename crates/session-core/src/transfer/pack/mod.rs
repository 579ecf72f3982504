//! A file or directory of the host as a tar stream.
//!
//! A thread walks, reads and fills large chunks; the stream hands them on. The queue between them is short, so a slow
//! reader stops the thread instead of filling memory, and dropping the stream ends it.

mod file;
mod thread;
mod walk;
mod writer;

use std::io;
use std::path::Path;

pub use self::file::pack_file;
use super::PackOptions;
use crate::api::ArchiveStream;
use crate::error::{Error, ErrorKind};
use crate::policy::mounts::JudgedDir;

const OPERATION: &str = "pack files";

/// Packs a file or directory. `source` itself may be a symlink; below it links are packed as links. Sockets, pipes and
/// devices are left out. Modes and modification times (in seconds) are kept, owners are not. A file that changes its
/// size while it is read is padded with zeros or cut.
///
/// Nothing happens before the stream is polled, which must be within a tokio runtime. Errors are items of the stream:
/// `HostIo` for what cannot be read, `InvalidArgument` for a source without a name.
pub fn pack(source: &Path, options: PackOptions) -> ArchiveStream {
    let source = source.to_owned();
    thread::stream_of(move |writer| walk::pack_all(&source, None, options, writer))
}

/// [`pack()`] for a directory that was judged: `WorkspaceRefused` when its path leads to another one by now.
pub(crate) fn pack_judged(source: &JudgedDir, options: PackOptions) -> ArchiveStream {
    let (source, identity) = (source.path().to_owned(), source.identity());
    thread::stream_of(move |writer| walk::pack_all(&source, Some(identity), options, writer))
}

/// Why packing stopped.
enum Failure {
    /// The reader went away.
    Unread,
    /// Something failed.
    Told(Error),
}

impl From<writer::Unread> for Failure {
    fn from(_: writer::Unread) -> Self {
        Self::Unread
    }
}

fn unreadable(path: &Path, source: impl Into<io::Error>) -> Failure {
    let source = source.into();
    let mut error = Error::new(ErrorKind::HostIo, OPERATION, "it could not be read")
        .with_context("path", path.display().to_string().escape_debug());
    error = match source.kind() {
        io::ErrorKind::PermissionDenied => {
            error.with_hint("make it readable, or exclude it in a .gitignore of the workspace")
        }
        io::ErrorKind::NotFound => error.with_hint("check the spelling"),
        _ => error,
    };
    Failure::Told(error.with_source(source))
}
