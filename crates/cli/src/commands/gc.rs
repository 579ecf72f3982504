//! `gc`: what no session wants is removed.

use session_core::api::SessionApi;
use session_core::error::Result;
use session_core::garbage::{Garbage, GarbageKind};

use crate::args::GcArgs;
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::failure::print_warning;
use crate::sanitize;

/// Removes what no session wants, or says what would be removed.
///
/// # Errors
/// Those of [`SessionApi::collect_garbage`].
pub async fn gc(args: GcArgs, api: &dyn SessionApi, console: &Console) -> Result<ExitStatus> {
    let report = api.collect_garbage(args.dry_run).await?;
    let printer = &console.printer;
    if printer.json() {
        printer.object(&report)?;
        return Ok(ExitStatus::SUCCESS);
    }
    let (removed, finished) = if report.dry_run {
        ("would remove", "would bring to an end")
    } else {
        ("removed", "brought to an end")
    };
    for garbage in &report.removed {
        printer.line(format_args!("{removed} {}", told(garbage)))?;
    }
    for session in &report.finished {
        printer.line(format_args!("{finished} session {session}"))?;
    }
    for garbage in &report.left {
        print_warning(
            printer,
            &format!("left {}", told(garbage)),
            Some("the next run tries again"),
        );
    }
    if report.removed.is_empty() && report.finished.is_empty() && report.left.is_empty() {
        printer.note("nothing is left over");
    }
    Ok(ExitStatus::SUCCESS)
}

fn told(garbage: &Garbage) -> String {
    let kind = match garbage.kind {
        GarbageKind::Container => "container",
        GarbageKind::Storage => "storage",
        GarbageKind::Network => "network",
        GarbageKind::Image => "image",
        GarbageKind::Directory => "directory",
        GarbageKind::Socket => "socket",
        GarbageKind::File => "file",
        GarbageKind::Checkpoint => "checkpoint",
    };
    format!(
        "{kind} {} ({})",
        sanitize::one_line(&garbage.name),
        sanitize::one_line(&garbage.reason)
    )
}
