//! `health` and `serve --stop`: what is asked of the daemon itself. Neither starts one.

use std::path::Path;

use http_client::HttpSessions;
use session_core::error::Result;
use session_core::state_dir::StateDir;

use crate::compose::Backend;
use crate::console::Console;
use crate::daemon::{connect, place};
use crate::exit::ExitStatus;
use crate::printer::Printer;

/// Asks whether the daemon works: success, or a failure that says what is wrong.
///
/// # Errors
/// Those of reaching it.
pub async fn health(state_dir: &Path, backend: &dyn Backend, console: &Console) -> Result<ExitStatus> {
    let printer = &console.printer;
    let Some(info) = backend.daemon(state_dir).await? else {
        return not_running(printer, ExitStatus::TURN_FAILED);
    };
    if printer.json() {
        printer.object(&info)?;
    } else {
        printer.line(format_args!(
            "the daemon works: process {}, version {}, since {}",
            info.pid,
            crate::sanitize::one_line(&info.version),
            info.started_at
        ))?;
    }
    Ok(ExitStatus::SUCCESS)
}

/// Ends the daemon and waits until it is gone. One that does not run succeeds.
///
/// # Errors
/// Those of reaching it, `Busy` when it does not end in time.
pub async fn stop(state_dir: &Path, console: &Console) -> Result<ExitStatus> {
    let state = StateDir::open(state_dir)?;
    let socket = place::socket(&state)?;
    if place::presence(&socket)? == place::Presence::Nobody {
        return not_running(&console.printer, ExitStatus::SUCCESS);
    }
    let sessions = HttpSessions::unix(&socket)?;
    let stopped = connect::stop(&state, &sessions).await;
    sessions.close().await;
    stopped?;
    console.printer.note("the daemon has ended; sessions go on");
    Ok(ExitStatus::SUCCESS)
}

fn not_running(printer: &Printer, status: ExitStatus) -> Result<ExitStatus> {
    printer.note("no daemon runs here");
    Ok(status)
}
