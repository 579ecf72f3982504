//! The changes on their way to the user: printed, kept, applied.

use std::path::Path;

use futures::StreamExt;
use serde::Serialize;
use session_core::api::SessionApi;
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::SessionId;
use session_core::session::{WorkspaceDiff, WorkspaceSource};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use super::ApplyMode;
use crate::changes::{Applied, apply, keep};
use crate::commands::diff::print_patch;
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::failure::{print_error, print_warning};
use crate::interrupts::Interrupts;
use crate::printer::Printer;
use crate::{render, sanitize};

/// How many lines of a patch a terminal is shown; the file has the whole.
const SHOWN_LINES: usize = 400;
/// The longest answer to a question, in bytes.
const ANSWER: u64 = 64;

/// Where the changes go.
pub(super) struct Delivery<'a> {
    pub(super) state_dir: &'a Path,
    pub(super) apply: ApplyMode,
    pub(super) workspace: &'a WorkspaceSource,
}

/// The changes did not reach everywhere they should.
pub(super) struct Undelivered {
    pub(super) error: Error,
    /// Whether something outside of the session has all of them.
    pub(super) saved: bool,
}

impl Undelivered {
    fn lost(error: Error) -> Self {
        Self { error, saved: false }
    }

    fn saved(error: Error) -> Self {
        Self { error, saved: true }
    }
}

/// Lines of `run --json` after the events.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line<'a> {
    Diff {
        session: &'a SessionId,
        #[serde(flatten)]
        diff: &'a WorkspaceDiff,
    },
    PatchKept {
        session: &'a SessionId,
        path: &'a Path,
    },
    PatchApplied {
        session: &'a SessionId,
        directory: &'a Path,
        withheld: &'a [String],
    },
}

/// Keeps the changes, shows them, and applies them when that is wanted. Answers a status when applying failed.
pub(super) async fn deliver(
    delivery: &Delivery<'_>,
    api: &dyn SessionApi,
    session: &SessionId,
    console: &mut Console,
    interrupts: &mut Interrupts,
) -> Result<Option<ExitStatus>, Undelivered> {
    let printer = console.printer.clone();
    // What works in the directory itself has its changes there already.
    let in_place = matches!(delivery.workspace, WorkspaceSource::Mount { .. });
    let wrap = |error| Undelivered {
        error,
        saved: in_place,
    };
    printer.status(Some("comparing the workspace"));
    let diff = api.diff(session).await;
    printer.status(None);
    let diff = diff.map_err(wrap)?;
    if in_place || diff.files.is_empty() {
        show(&diff, session, &printer, None).map_err(Undelivered::saved)?;
        return Ok(None);
    }
    let kept = keep(delivery.state_dir, session, &diff.patch).map_err(Undelivered::lost)?;
    show(&diff, session, &printer, Some(&kept)).map_err(|error| Undelivered {
        error,
        // A patch that was cut is not the whole of the work.
        saved: !diff.truncated,
    })?;
    let Some((dir, executable_config)) = wanted(delivery, console, interrupts).await else {
        tell_kept(&kept, session, &printer).map_err(Undelivered::saved)?;
        return if diff.truncated {
            Err(Undelivered::lost(cut()))
        } else {
            Ok(None)
        };
    };
    match apply(&diff, dir, executable_config).await {
        Ok(applied) => {
            tell_applied(&applied, dir, session, &kept, &printer).map_err(Undelivered::saved)?;
            Ok(None)
        }
        Err(error) if diff.truncated => Err(Undelivered::lost(error)),
        Err(error) => {
            print_error(&printer, &error);
            tell_kept(&kept, session, &printer).map_err(Undelivered::saved)?;
            Ok(Some(error.kind().into()))
        }
    }
}

/// The directory to which the changes are applied, and whether what tools obey is, too; `None` when they are not.
async fn wanted<'a>(
    delivery: &Delivery<'a>,
    console: &mut Console,
    interrupts: &mut Interrupts,
) -> Option<(&'a Path, bool)> {
    let WorkspaceSource::Copy { path } = delivery.workspace else {
        return None;
    };
    match delivery.apply {
        ApplyMode::Never => None,
        ApplyMode::Always { executable_config } => Some((path, executable_config)),
        ApplyMode::Ask => ask(path, console, interrupts)
            .await
            .then_some((path.as_path(), false)),
    }
}

fn cut() -> Error {
    Error::new(
        ErrorKind::LimitExceeded,
        "save the changes",
        "the patch is too long and was cut",
    )
}

fn show(diff: &WorkspaceDiff, session: &SessionId, printer: &Printer, kept: Option<&Path>) -> Result<()> {
    if printer.json() {
        return printer.object(&Line::Diff { session, diff });
    }
    printer.note(render::changed_files(diff, printer.err_paint()));
    if !printer.stdout_is_terminal() {
        return print_patch(diff, printer);
    }
    let lines = diff.patch.lines().count();
    if lines <= SHOWN_LINES {
        return print_patch(diff, printer);
    }
    let shown: String = diff.patch.split_inclusive('\n').take(SHOWN_LINES).collect();
    printer.bytes(render::patch(&shown, printer.paint()).as_bytes())?;
    let whole = kept.map_or_else(String::new, |path| {
        format!("; the whole patch is {}", path.display())
    });
    printer.note(
        printer
            .err_paint()
            .dim(format_args!("… {} more lines{whole}", lines - SHOWN_LINES)),
    );
    Ok(())
}

fn tell_kept(path: &Path, session: &SessionId, printer: &Printer) -> Result<()> {
    if printer.json() {
        return printer.object(&Line::PatchKept { session, path });
    }
    printer.note(format_args!(
        "not applied; the patch is kept, apply it with\n  git apply {}",
        path.display()
    ));
    Ok(())
}

fn tell_applied(
    applied: &Applied,
    directory: &Path,
    session: &SessionId,
    kept: &Path,
    printer: &Printer,
) -> Result<()> {
    if printer.json() {
        return printer.object(&Line::PatchApplied {
            session,
            directory,
            withheld: &applied.withheld,
        });
    }
    let done = printer
        .err_paint()
        .green(format_args!("applied to {}", directory.display()));
    if applied.withheld.is_empty() {
        let undo = format!("undo with git apply -R {}", kept.display());
        printer.note(format_args!("{done}; {}", printer.err_paint().dim(undo)));
        return Ok(());
    }
    // The kept patch is more than what was applied, so it cannot be taken back as a whole.
    printer.note(format_args!(
        "{done}, in part; the whole patch is {}",
        kept.display()
    ));
    let withheld: Vec<_> = applied
        .withheld
        .iter()
        .map(|path| sanitize::one_line(path))
        .collect();
    print_warning(
        printer,
        &format!(
            "not applied, because tools on this host would run or obey it, or because it is a link that leads out: {}",
            withheld.join(", ")
        ),
        Some("look at it in the kept patch; --apply-executable-config applies what tools obey, too"),
    );
    Ok(())
}

/// Asks whether to apply. Everything but a clear yes is a no, also when nobody can answer.
async fn ask(dir: &Path, console: &mut Console, interrupts: &mut Interrupts) -> bool {
    if !console.printer.can_ask() {
        return false;
    }
    console
        .printer
        .ask(format_args!("Apply these changes to {}? [y/N] ", dir.display()));
    let mut answer = String::new();
    let mut reader = BufReader::new((&mut console.stdin).take(ANSWER));
    // A signal is a no; what was typed so far is not needed any more.
    tokio::select! {
        read = reader.read_line(&mut answer) => read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"),
        _ = interrupts.next() => {
            console.printer.err_line("");
            false
        }
    }
}
