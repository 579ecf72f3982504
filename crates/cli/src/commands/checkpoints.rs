//! `checkpoint`, `checkpoints`, `restore`: uncommitted work, kept and brought back.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use futures::StreamExt as _;
use jiff::Timestamp;
use serde::Serialize;
use session_core::api::{ByteStream, SessionApi};
use session_core::checkpoint::{Checkpoint, CheckpointCause, RestoreRequest};
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::{CheckpointId, SessionId};

use crate::args::RestoreArgs;
use crate::console::Console;
use crate::durable::sync_entry;
use crate::exit::ExitStatus;
use crate::parse::format_bytes;
use crate::printer::Printer;
use crate::render::{self, Table};
use crate::target;

const WRITE: &str = "write the patch";

/// What came of keeping a session's work, as a JSON line.
#[derive(Debug, Serialize)]
struct Taken<'a> {
    event: &'static str,
    session: SessionId,
    /// `None` when nothing differs from how the workspace began.
    checkpoint: Option<&'a Checkpoint>,
}

/// Keeps a session's work now; the checkpoint's id goes to standard output.
///
/// # Errors
/// Those of [`SessionApi::checkpoint`].
pub async fn checkpoint(session: &str, api: &dyn SessionApi, console: &Console) -> Result<ExitStatus> {
    let session = target::find(api, session).await?;
    let taken = api.checkpoint(&session).await?;
    let printer = &console.printer;
    if printer.json() {
        printer.object(&Taken {
            event: "checkpoint",
            session,
            checkpoint: taken.as_ref(),
        })?;
    } else if let Some(checkpoint) = &taken {
        printer.note(format_args!(
            "kept the changes of {}, {}",
            render::count(checkpoint.files, "file"),
            format_bytes(checkpoint.bytes)
        ));
        printer.line(checkpoint.id)?;
    } else {
        printer.note("nothing differs from how the workspace began");
    }
    Ok(ExitStatus::SUCCESS)
}

/// Lists the checkpoints of a session: a table, with `-q` ids, with `--json` one object a line.
///
/// # Errors
/// Those of [`SessionApi::checkpoints`].
pub async fn checkpoints(session: &str, api: &dyn SessionApi, console: &Console) -> Result<ExitStatus> {
    let session = target::find(api, session).await?;
    let checkpoints = api.checkpoints(&session).await?;
    let printer = &console.printer;
    if printer.json() {
        checkpoints
            .iter()
            .try_for_each(|checkpoint| printer.object(checkpoint))?;
    } else if printer.quiet() {
        checkpoints
            .iter()
            .try_for_each(|checkpoint| printer.line(checkpoint.id))?;
    } else if checkpoints.is_empty() {
        printer.note("no checkpoints: nothing has differed from how the workspace began");
    } else {
        printer.line(table(&checkpoints, Timestamp::now()).render(printer.paint()))?;
    }
    Ok(ExitStatus::SUCCESS)
}

fn table(checkpoints: &[Checkpoint], now: Timestamp) -> Table {
    let mut table = Table::new(&["ID", "AGE", "TAKEN", "FILES", "SIZE"]);
    for checkpoint in checkpoints {
        table.row(vec![
            checkpoint.id.to_string(),
            render::age(checkpoint.at, now),
            match checkpoint.cause {
                CheckpointCause::Turn => "after a turn",
                CheckpointCause::Timer => "while a turn ran",
                CheckpointCause::Asked => "when asked",
                CheckpointCause::Destroy => "at the session's end",
            }
            .to_owned(),
            render::thousands(checkpoint.files),
            format_bytes(checkpoint.bytes),
        ]);
    }
    table
}

/// Brings a session's work back, or writes it as a patch.
///
/// # Errors
/// Those of [`SessionApi::restore`] and [`SessionApi::checkpoint_patch`]; `NotFound` without a checkpoint; `HostIo` when the
/// patch cannot be written.
pub async fn restore(args: &RestoreArgs, api: &dyn SessionApi, console: &Console) -> Result<ExitStatus> {
    let session = target::find(api, args.session.as_deref().unwrap_or_default()).await?;
    if let Some(file) = &args.patch {
        let checkpoint = match args.checkpoint {
            Some(checkpoint) => checkpoint,
            None => newest(&session, api).await?,
        };
        let patch = api.checkpoint_patch(&session, &checkpoint).await?;
        return write(patch, file, &console.printer).await;
    }
    let request = RestoreRequest {
        session,
        checkpoint: args.checkpoint,
        owner: None,
        idempotency_key: args.idempotency_key.clone(),
    };
    let info = api.restore(request).await?;
    let printer = &console.printer;
    if printer.json() {
        printer.object(&info)?;
    } else {
        printer.note(if info.id == session {
            "its work is back in its workspace"
        } else {
            "its work is in a new session, which is made as that one was"
        });
        printer.line(info.id)?;
    }
    Ok(ExitStatus::SUCCESS)
}

async fn newest(session: &SessionId, api: &dyn SessionApi) -> Result<CheckpointId> {
    let checkpoints = api.checkpoints(session).await?;
    checkpoints
        .first()
        .map(|checkpoint| checkpoint.id)
        .ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "find a checkpoint", "the session has none")
                .with_context("session", session)
                .with_hint(
                    "nothing has differed from how its workspace began; `cofferdam checkpoint` takes one",
                )
        })
}

/// A patch to where it was asked for: a new file of the user's own, or standard output.
async fn write(patch: ByteStream, file: &Path, printer: &Printer) -> Result<ExitStatus> {
    if file == Path::new("-") {
        show(patch, printer).await?;
        return Ok(ExitStatus::SUCCESS);
    }
    let failed = |source: std::io::Error| {
        let hint = if source.kind() == std::io::ErrorKind::AlreadyExists {
            "choose a name that is free: nothing is replaced"
        } else {
            "choose another place"
        };
        Error::new(ErrorKind::HostIo, WRITE, "the file cannot be written")
            .with_context("path", file.display())
            .with_context("cause", &source)
            .with_hint(hint)
            .with_source(source)
    };
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut out = options.open(file).map_err(failed)?;
    let mut patch = patch;
    let copied: Result<u64> = async {
        let mut bytes = 0;
        while let Some(piece) = patch.next().await {
            let piece = piece?;
            out.write_all(&piece).map_err(failed)?;
            bytes += piece.len() as u64;
        }
        out.sync_all().and_then(|()| sync_entry(file)).map_err(failed)?;
        Ok(bytes)
    }
    .await;
    match copied {
        Ok(bytes) => {
            printer.note(format_args!(
                "wrote {}; `git apply` takes it, after you have read it: a session made it",
                format_bytes(bytes)
            ));
            Ok(ExitStatus::SUCCESS)
        }
        Err(error) => {
            // Half a patch is none.
            let _ = std::fs::remove_file(file);
            Err(error)
        }
    }
}

/// As it is for a program, safe and coloured for a person.
async fn show(mut patch: ByteStream, printer: &Printer) -> Result<()> {
    if !printer.stdout_is_terminal() {
        while let Some(piece) = patch.next().await {
            printer.bytes(&piece?)?;
        }
        return Ok(());
    }
    let mut whole = Vec::new();
    while let Some(piece) = patch.next().await {
        whole.extend_from_slice(&piece?);
    }
    let text = String::from_utf8_lossy(&whole);
    printer.bytes(render::patch(&text, printer.paint()).as_bytes())
}
