//! `cp`: files between this host and a session, or a tar stream.

use std::fs::File;
use std::path::{Path, PathBuf};

use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use session_core::api::{ArchiveStream, SessionApi};
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::SessionId;
use session_core::session::CopyReport;
use session_core::transfer::{
    PackOptions, Shape, UnpackOptions, Unpacked, is_directory, look, pack, pack_file, unpack,
};
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::ReaderStream;

use crate::args::CpArgs;
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::failure::print_warning;
use crate::parse::{CopyEnd, format_bytes};
use crate::printer::Printer;
use crate::{render, target};

/// How much of standard input is read at once.
const CHUNK: usize = 256 << 10;
/// How many withheld paths a person is shown.
const SHOWN: usize = 10;

#[derive(Debug, Serialize)]
struct Copied {
    event: &'static str,
    session: SessionId,
    #[serde(flatten)]
    report: CopyReport,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    withheld: Vec<String>,
    #[serde(skip_serializing_if = "is_zero")]
    withheld_count: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Copies in or out.
///
/// # Errors
/// Those of the lifecycle API and of `transfer`; `InvalidArgument` unless exactly one end is a session.
pub async fn cp(args: &CpArgs, api: &dyn SessionApi, console: &mut Console) -> Result<ExitStatus> {
    match (&args.source, &args.dest) {
        (CopyEnd::Session { .. }, CopyEnd::Session { .. }) => Err(wrong_ends("both ends are sessions")),
        (CopyEnd::Session { session, path }, CopyEnd::Stream) => {
            let id = target::find(api, session).await?;
            stream_out(api, &id, path, console).await
        }
        (CopyEnd::Session { session, path }, CopyEnd::Host(dest)) => {
            let id = target::find(api, session).await?;
            let unpacked = copy_out(api, &id, path, dest, args).await?;
            done(&console.printer, id, unpacked)
        }
        (CopyEnd::Stream, CopyEnd::Session { session, path }) => {
            let id = target::find(api, session).await?;
            let report = api.copy_in(&id, path, stream_in(console)).await?;
            done(&console.printer, id, plain(report))
        }
        (CopyEnd::Host(source), CopyEnd::Session { session, path }) => {
            let id = target::find(api, session).await?;
            let report = copy_in(api, &id, source, path, args).await?;
            done(&console.printer, id, plain(report))
        }
        _ => Err(wrong_ends("neither end is a session")),
    }
}

fn wrong_ends(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidArgument, "copy", message)
        .with_hint("write one end as SESSION:PATH, for example `cofferdam cp notes.txt 3f2a:docs/`")
}

fn plain(report: CopyReport) -> Unpacked {
    Unpacked {
        report,
        ..Unpacked::default()
    }
}

/// As `cp -r` does it: into a directory that exists, else under the destination's name.
async fn copy_in(
    api: &dyn SessionApi,
    session: &SessionId,
    source: &Path,
    dest: &str,
    args: &CpArgs,
) -> Result<CopyReport> {
    let is_dir = std::fs::metadata(source)
        .map_err(|error| {
            Error::new(
                ErrorKind::HostIo,
                "copy into the session",
                "the source cannot be read",
            )
            .with_context("path", source.display())
            .with_source(error)
        })?
        .is_dir();
    let options = |as_contents| PackOptions {
        respect_gitignore: args.respect_gitignore,
        as_contents,
    };
    // `.`, `..` and `/` have no name that they could get inside: their contents are what is meant.
    if is_dir && source.file_name().is_none() {
        return api.copy_in(session, dest, pack(source, options(true))).await;
    }
    if dest.ends_with('/') || is_directory(dest, api.copy_out(session, dest)).await? {
        return api.copy_in(session, dest, pack(source, options(false))).await;
    }
    if is_dir {
        return api.copy_in(session, dest, pack(source, options(true))).await;
    }
    let (parent, name) = dest.rsplit_once('/').unwrap_or((".", dest));
    let parent = if parent.is_empty() { "/" } else { parent };
    api.copy_in(session, parent, pack_file_as(source, name)).await
}

fn pack_file_as(source: &Path, name: &str) -> ArchiveStream {
    let (opened, shown) = (source.to_owned(), source.display().to_string());
    pack_file(name, || File::open(opened))
        .map_err(move |error| error.with_context("path", &shown))
        .boxed()
}

async fn copy_out(
    api: &dyn SessionApi,
    session: &SessionId,
    path: &str,
    dest: &Path,
    args: &CpArgs,
) -> Result<Unpacked> {
    let (shape, archive) = look(api.copy_out(session, path).await?, path).await?;
    let dest = host_destination(shape, path, dest)?;
    let options = UnpackOptions {
        allow_executable_config: args.executable_config,
        overwrite: args.force,
        ..UnpackOptions::default()
    };
    unpack(archive, &dest, options).await
}

/// Where on the host: a directory that exists takes what comes under its own name.
fn host_destination(shape: Shape, path: &str, dest: &Path) -> Result<PathBuf> {
    let exists = dest.is_dir();
    if !exists && shape == Shape::File && dest.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            "copy out of the session",
            "there is no such directory",
        )
        .with_context("path", dest.display())
        .with_hint("make it first, or leave out the / at the end"));
    }
    Ok(match (shape, Path::new(path).file_name()) {
        (Shape::Contents, Some(name)) if exists => dest.join(name),
        _ => dest.to_owned(),
    })
}

fn stream_in(console: &mut Console) -> ArchiveStream {
    let stdin = std::mem::replace(&mut console.stdin, Box::new(tokio::io::empty()));
    ReaderStream::with_capacity(stdin, CHUNK)
        .map_err(|source| {
            Error::new(
                ErrorKind::HostIo,
                "copy into the session",
                "standard input cannot be read",
            )
            .with_source(source)
        })
        .boxed()
}

async fn stream_out(
    api: &dyn SessionApi,
    session: &SessionId,
    path: &str,
    console: &mut Console,
) -> Result<ExitStatus> {
    if console.printer.stdout_is_terminal() {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            "copy out of the session",
            "an archive is not written to a terminal",
        )
        .with_hint("send it to a file or a program: `cofferdam cp SESSION:PATH - | tar -t`"));
    }
    let mut archive = api.copy_out(session, path).await?;
    let failed = |source| console.printer.stdout_failed(source);
    while let Some(chunk) = archive.next().await {
        console.raw_stdout.write_all(&chunk?).await.map_err(failed)?;
    }
    console.raw_stdout.flush().await.map_err(failed)?;
    Ok(ExitStatus::SUCCESS)
}

fn done(printer: &Printer, session: SessionId, unpacked: Unpacked) -> Result<ExitStatus> {
    if printer.json() {
        printer.object(&Copied {
            event: "copied",
            session,
            report: unpacked.report,
            withheld: unpacked.withheld,
            withheld_count: unpacked.withheld_count,
        })?;
        return Ok(ExitStatus::SUCCESS);
    }
    printer.note(format_args!(
        "copied {}, {}",
        render::count(unpacked.report.entries, "entry").replace("entrys", "entries"),
        format_bytes(unpacked.report.bytes)
    ));
    if unpacked.withheld_count > 0 {
        print_warning(
            printer,
            &format!(
                "{} not copied, because they could run on this host or lead out of what was copied: {}",
                render::count(unpacked.withheld_count, "entry").replace("entrys", "entries"),
                listed(&unpacked.withheld)
            ),
            Some("--executable-config copies what could run, too"),
        );
    }
    Ok(ExitStatus::SUCCESS)
}

fn listed(paths: &[String]) -> String {
    let mut shown = paths.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if paths.len() > SHOWN {
        shown += ", …";
    }
    shown
}
