//! `create`: make a session and leave it.

use session_core::api::SessionApi;
use session_core::error::Result;
use session_core::session::CreateSession;

use crate::console::Console;
use crate::creating::{self, Creation};
use crate::exit::ExitStatus;
use crate::render;

/// Creates a session; its id, or all of it as JSON, goes to standard output.
///
/// # Errors
/// Those of the creation.
pub async fn create(
    request: CreateSession,
    api: &dyn SessionApi,
    console: &mut Console,
) -> Result<ExitStatus> {
    let mut interrupts = (console.catch_signals)()?;
    let printer = &console.printer;
    match creating::create(api, request, printer, &mut interrupts).await? {
        Creation::Abandoned(signal) => Ok(ExitStatus::of_signal(signal.number())),
        Creation::Ready(info) => {
            if printer.json() {
                printer.object(&info)?;
            } else {
                let workspace = render::workspace(&info.workspace);
                printer.note(
                    printer
                        .err_paint()
                        .dim(format_args!("session ready, {workspace}")),
                );
                printer.line(info.id)?;
            }
            Ok(ExitStatus::SUCCESS)
        }
    }
}
