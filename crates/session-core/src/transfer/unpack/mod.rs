//! An archive from a session onto the host: the hostile direction.
//!
//! A thread reads the archive through the `tar` crate, header by header, and extracts beneath a fresh directory next to
//! the destination, through handles and never through a symlink. Only when the whole stream has come and kept every rule
//! is the result moved into place. Whatever happens before leaves nothing behind; a process that is killed leaves one
//! directory named `.cofferdam-partial-…`.
//!
//! What the crate does not guard is guarded here: names and extension headers of any length, sizes that two headers
//! state differently, an archive that ends without its end.

mod extract;
mod feed;
mod frames;
mod member;
mod pax;
mod place;
mod remove;
mod withhold;

use std::path::Path;

use futures::StreamExt;

pub use self::withhold::could_run_on_host;
use super::{UnpackOptions, Unpacked};
use crate::api::ArchiveStream;
use crate::error::{Error, ErrorKind, Result};

const OPERATION: &str = "unpack files";

/// Unpacks an archive that a session made, the way `cp -r` copies.
///
/// An archive of one file or directory goes to `dest` itself when nothing is there, and into `dest` under its own name
/// when that is a directory. An archive of a directory's contents becomes `dest`, or goes into it. Modes (without setuid,
/// setgid and sticky), modification times and links are kept; owners are not.
///
/// Symlinks that lead out of what is copied, and without `allow_executable_config` everything that could run on the host
/// by itself ([`could_run_on_host`]), are left out and listed.
///
/// # Errors
/// `ArchiveRefused` for a hostile, broken or incomplete archive, `LimitExceeded`, `InvalidArgument` when something is in
/// the way or the destination's directory does not exist, `HostIo`, and whatever the stream itself fails with. Then the
/// host is as it was.
pub async fn unpack(mut archive: ArchiveStream, dest: &Path, options: UnpackOptions) -> Result<Unpacked> {
    let (feed, reader) = feed::channel();
    let dest = dest.to_owned();
    // Detached from this future on purpose: when the caller goes away the feed ends early and the thread cleans up.
    let work = tokio::task::spawn_blocking(move || extract::run(reader, &dest, &options));
    let fed = feed_all(&mut archive, feed, options.limits.idle).await;
    let worked = work.await.unwrap_or_else(|died| {
        Err(Error::new(ErrorKind::Internal, OPERATION, "the unpacking thread died").with_source(died))
    });
    match fed {
        // The thread only saw that the stream broke off; this is why.
        Err(why) => Err(why),
        Ok(()) => worked,
    }
}

async fn feed_all(archive: &mut ArchiveStream, feed: feed::Feed, idle: std::time::Duration) -> Result<()> {
    loop {
        let chunk = match tokio::time::timeout(idle, archive.next()).await {
            Ok(Some(chunk)) => chunk?,
            Ok(None) => {
                feed.end().await;
                return Ok(());
            }
            Err(_) => {
                return Err(
                    Error::new(ErrorKind::LimitExceeded, OPERATION, "the session stopped sending")
                        .with_context("idle_ms", idle.as_millis())
                        .with_hint("see whether the session is alive, then copy again"),
                );
            }
        };
        fail::fail_point!("transfer.unpack.chunk", |_| crate::fault::host(OPERATION));
        if !feed.chunk(chunk).await {
            // The thread gave up and says why.
            return Ok(());
        }
    }
}

/// A rule of the extractor was broken by an entry.
fn refused(message: impl Into<std::borrow::Cow<'static, str>>, entry: &[u8]) -> Error {
    let error = Error::new(ErrorKind::ArchiveRefused, OPERATION, message);
    let error = if entry.is_empty() {
        error
    } else {
        error.with_context("entry", shown(entry))
    };
    error.with_hint("nothing was written; copy less, or look at what the session has made there")
}

fn over_limit(message: &'static str, limit: u64) -> Error {
    Error::new(ErrorKind::LimitExceeded, OPERATION, message)
        .with_context("limit", limit)
        .with_hint("nothing was written; copy parts of it, or raise the limit")
}

fn host_io(message: &'static str, entry: &[u8], source: impl Into<std::io::Error>) -> Error {
    let source = source.into();
    let error = Error::new(ErrorKind::HostIo, OPERATION, message);
    let error = if entry.is_empty() {
        error
    } else {
        error.with_context("entry", shown(entry))
    };
    let error = match source.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            error.with_hint("make room on the disk, then copy again")
        }
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            error.with_hint("choose a destination that this user can write")
        }
        _ => error,
    };
    error.with_source(source)
}

/// A session's text in an error or a list: one line, and not all of it.
fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(&path[..path.len().min(512)])
        .escape_debug()
        .to_string()
}
