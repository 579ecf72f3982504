//! A file or directory of the host as a tar stream.
//!
//! A thread walks, reads and fills large chunks; the stream hands them on. The queue between them is short, so a slow
//! reader stops the thread instead of filling memory, and dropping the stream ends it.

mod walk;
mod writer;

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::PackOptions;
use crate::api::ArchiveStream;
use crate::error::{Error, ErrorKind, Result};

const OPERATION: &str = "pack files";
/// Chunks between the thread and the reader.
const QUEUE: usize = 4;

/// Packs a file or directory. `source` itself may be a symlink; below it links are packed as links. Sockets, pipes and
/// devices are left out. Modes and modification times (in seconds) are kept, owners are not. A file that changes its
/// size while it is read is padded with zeros or cut.
///
/// Nothing happens before the stream is polled, which must be within a tokio runtime. Errors are items of the stream:
/// `HostIo` for what cannot be read, `InvalidArgument` for a source without a name.
pub fn pack(source: &Path, options: PackOptions) -> ArchiveStream {
    let start = State::Start(source.to_owned(), options);
    stream::try_unfold(start, |state| async move {
        let (mut chunks, work) = match state {
            State::Start(source, options) => start_thread(source, options),
            State::Running(chunks, work) => (chunks, work),
        };
        if let Some(chunk) = chunks.recv().await {
            return Ok(Some((chunk, State::Running(chunks, work))));
        }
        // Only the thread's own word makes the archive complete: a queue also ends when the thread dies.
        match work.await {
            Ok(Ok(())) => Ok(None),
            Ok(Err(error)) => Err(error),
            Err(died) => {
                Err(Error::new(ErrorKind::Internal, OPERATION, "the packing thread died").with_source(died))
            }
        }
    })
    .boxed()
}

enum State {
    Start(PathBuf, PackOptions),
    Running(mpsc::Receiver<Bytes>, JoinHandle<Result<()>>),
}

fn start_thread(source: PathBuf, options: PackOptions) -> (mpsc::Receiver<Bytes>, JoinHandle<Result<()>>) {
    let (sender, chunks) = mpsc::channel(QUEUE);
    let work = tokio::task::spawn_blocking(move || {
        let mut writer = writer::Writer::new(sender);
        match walk::pack_all(&source, options, &mut writer).and_then(|()| Ok(writer.finish()?)) {
            // Nobody reads any more, so nobody hears of it either.
            Err(Failure::Unread) => Ok(()),
            Err(Failure::Told(error)) => Err(error),
            Ok(()) => Ok(()),
        }
    });
    (chunks, work)
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
