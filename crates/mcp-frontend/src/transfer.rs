//! Files between this host and a session, on behalf of a client that is an agent itself.
//!
//! Such a client may have been talked into something by what it read. So a path on the host is judged like a mount
//! before it is touched: where it really leads, and that it is neither the system's, nor ours, nor where people keep
//! their keys. It is opened for that once, and the work happens beneath the handle.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use futures::{StreamExt, stream};
use session_core::api::{ArchiveStream, SessionApi};
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::SessionId;
use session_core::policy::mounts::{HostPaths, JudgedDir, judge, judge_mount_source};
use session_core::session::CopyReport;
use session_core::transfer::{
    PackOptions, Shape, UnpackOptions, Unpacked, could_run_on_host, is_directory, look, pack, pack_file,
    unpack,
};
use tokio_util::sync::CancellationToken;

/// Copies a file or directory of the host into a session, as `cp -r` does it: into a directory that exists, else under
/// the destination's name.
pub(crate) async fn into_session(
    api: &dyn SessionApi,
    session: &SessionId,
    host: &HostPaths,
    source: &Path,
    dest: &str,
    cancelled: &CancellationToken,
) -> Result<CopyReport> {
    let judged = judged(source, host, judge_mount_source).await?;
    let name = judged
        .path()
        .file_name()
        .and_then(|name| name.to_str())
        .map(str::to_owned);
    let beneath = handle_path(&judged);
    let contents = || {
        pack(
            &beneath,
            PackOptions {
                respect_gitignore: false,
                as_contents: true,
            },
        )
    };
    let into_dir = dest.ends_with('/') || is_directory(dest, api.copy_out(session, dest)).await?;
    if is_dir(&judged) {
        let dest = match name {
            Some(name) if into_dir => join(dest, &name),
            _ => dest.to_owned(),
        };
        return api.copy_in(session, &dest, until(contents(), cancelled)).await;
    }
    let (parent, name) = match (dest.rsplit_once('/'), name) {
        (_, Some(name)) if into_dir => (dest, name),
        (Some((parent, name)), _) => (if parent.is_empty() { "/" } else { parent }, name.to_owned()),
        (None, _) => (".", dest.to_owned()),
    };
    let archive = pack_file(name, move || File::open(handle_path(&judged)));
    api.copy_in(session, parent, until(archive, cancelled)).await
}

/// Copies a file or directory out of a session. Everything or nothing; what could run on the host by itself is left out.
pub(crate) async fn out_of_session(
    api: &dyn SessionApi,
    session: &SessionId,
    host: &HostPaths,
    source: &str,
    dest: &Path,
    cancelled: &CancellationToken,
) -> Result<Unpacked> {
    refuse_running(dest)?;
    let place = Place::find(dest, host).await?;
    let (shape, archive) = look(api.copy_out(session, source).await?, source).await?;
    let beneath = handle_path(place.dir());
    let dest = match (&place, shape, Path::new(source).file_name()) {
        (Place::As(_, name), ..) => beneath.join(name),
        (Place::Into(_), Shape::Contents, Some(name)) => beneath.join(name),
        (Place::Into(_), ..) => beneath,
    };
    let options = UnpackOptions {
        overwrite: true,
        ..UnpackOptions::default()
    };
    let unpacked = unpack(until(archive, cancelled), &dest, options).await?;
    place.dir().verify_unmoved()?;
    Ok(unpacked)
}

/// The archive, which breaks off when nobody wants it any more. Whoever reads it then ends in good order.
fn until(archive: ArchiveStream, cancelled: &CancellationToken) -> ArchiveStream {
    let cancelled = cancelled.clone().cancelled_owned();
    // The mark tells the archive's own end from a cut.
    let marked = archive.map(Some).chain(stream::once(async { None }));
    let cut = marked.take_until(cancelled).boxed();
    stream::unfold(Some(cut), |cut| async move {
        let mut cut = cut?;
        match cut.next().await {
            Some(Some(chunk)) => Some((chunk, Some(cut))),
            Some(None) => None,
            None => {
                let broken = Error::new(ErrorKind::Cancelled, "copy files", "the call was cancelled");
                Some((Err(broken.with_hint("nothing needs to be done")), None))
            }
        }
    })
    .boxed()
}

/// Where something goes on the host: beneath a directory that was judged and is held open.
enum Place {
    /// Into this directory.
    Into(JudgedDir),
    /// Into this directory, under this name.
    As(JudgedDir, OsString),
}

impl Place {
    async fn find(dest: &Path, host: &HostPaths) -> Result<Self> {
        match judged(dest, host, judge_mount_source).await {
            Ok(there) if is_dir(&there) => return Ok(Self::Into(there)),
            // A file that is there is judged for what it is, and replaced beneath its directory.
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WorkspaceMissing => {}
            Err(error) => return Err(error),
        }
        let (Some(parent), Some(name)) = (dest.parent(), dest.file_name()) else {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "copy out of the session",
                "the destination has no name",
            )
            .with_context("path", dest.display().to_string().escape_debug())
            .with_hint("name the file or directory that it shall become"));
        };
        Ok(Self::As(judged(parent, host, judge).await?, name.to_owned()))
    }

    fn dir(&self) -> &JudgedDir {
        match self {
            Self::Into(dir) | Self::As(dir, _) => dir,
        }
    }
}

/// Judging asks the file system, which may be slow.
async fn judged(
    path: &Path,
    host: &HostPaths,
    judge: fn(&Path, &HostPaths) -> Result<JudgedDir>,
) -> Result<JudgedDir> {
    let (path, host) = (path.to_owned(), host.clone());
    tokio::task::spawn_blocking(move || judge(&path, &host))
        .await
        .unwrap_or_else(|died| {
            Err(Error::new(
                ErrorKind::Internal,
                "judge a path of this host",
                "the judging thread died",
            )
            .with_source(died))
        })
}

/// A path that leads to the opened file itself, wherever its names lead by now. Good while the handle is open.
fn handle_path(judged: &JudgedDir) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", judged.handle().as_fd().as_raw_fd()))
}

fn is_dir(judged: &JudgedDir) -> bool {
    judged.mode() & 0o170_000 == 0o040_000
}

fn join(dest: &str, name: &str) -> String {
    format!("{}/{name}", dest.trim_end_matches('/'))
}

/// A destination that tools of the host obey is refused like an entry of an archive that goes there.
fn refuse_running(dest: &Path) -> Result<()> {
    // What is above the project is where the operator keeps projects.
    const LOOKED_AT: usize = 3;
    let parts: Vec<_> = dest.components().rev().take(LOOKED_AT).collect();
    let end: PathBuf = parts
        .into_iter()
        .rev()
        .filter(|part| matches!(part, std::path::Component::Normal(_)))
        .collect();
    if !could_run_on_host(end.as_os_str().as_encoded_bytes()) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::WorkspaceRefused,
        "copy out of the session",
        "tools on this host run or obey what is at this path",
    )
    .with_context("path", dest.display().to_string().escape_debug())
    .with_hint("copy it somewhere else, and let a person put it in its place"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_that_run_are_refused_and_projects_below_such_names_are_not() {
        for bad in [
            "/p/.git/hooks/post-commit",
            "/p/.envrc",
            "/p/.vscode/tasks.json",
            "/p/.claude/settings.json",
        ] {
            assert!(refuse_running(Path::new(bad)).is_err(), "{bad}");
        }
        for good in ["/p/src/main.rs", "/home/u/.cursor/worktrees/p/src/a.rs"] {
            assert!(refuse_running(Path::new(good)).is_ok(), "{good}");
        }
    }
}
