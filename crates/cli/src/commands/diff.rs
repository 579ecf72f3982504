//! `diff`: what changed in a workspace.

use session_core::api::SessionApi;
use session_core::error::Result;
use session_core::session::WorkspaceDiff;

use crate::args::DiffArgs;
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::failure::print_warning;
use crate::printer::Printer;
use crate::{render, sanitize, target};

/// Prints the patch, or the changed paths.
///
/// # Errors
/// Those of [`SessionApi::diff`].
pub async fn diff(args: &DiffArgs, api: &dyn SessionApi, console: &Console) -> Result<ExitStatus> {
    let session = target::find(api, &args.session).await?;
    let diff = api.diff(&session).await?;
    let printer = &console.printer;
    if printer.json() {
        printer.object(&diff)?;
    } else if args.name_status {
        for file in &diff.files {
            let path = sanitize::one_line(&file.path);
            printer.line(format_args!(
                "{}\t{path}",
                sanitize::one_line(&file.status.to_string())
            ))?;
        }
    } else {
        if diff.files.is_empty() {
            printer.note("no changes in the workspace");
        }
        print_patch(&diff, printer)?;
        if diff.truncated {
            print_warning(
                printer,
                "the patch is too long and was cut",
                Some("copy the changed files out with `cofferdam cp`"),
            );
        }
    }
    Ok(ExitStatus::SUCCESS)
}

/// The patch on standard output: as it is for a program, safe and coloured for a person.
pub(super) fn print_patch(diff: &WorkspaceDiff, printer: &Printer) -> Result<()> {
    if printer.stdout_is_terminal() {
        printer.bytes(render::patch(&diff.patch, printer.paint()).as_bytes())
    } else {
        printer.bytes(diff.patch.as_bytes())
    }
}
