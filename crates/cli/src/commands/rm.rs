//! `rm`: destroy sessions.

use serde::Serialize;
use session_core::api::SessionApi;
use session_core::error::Result;
use session_core::id::SessionId;

use crate::console::Console;
use crate::exit::ExitStatus;
use crate::failure::print_error;
use crate::target;

#[derive(Debug, Serialize)]
struct Destroyed {
    event: &'static str,
    session: SessionId,
}

/// Destroys each session and goes on after a failure; ends with the status of the first one.
///
/// # Errors
/// `HostIo` when standard output cannot be written.
pub async fn rm(sessions: &[String], api: &dyn SessionApi, console: &Console) -> Result<ExitStatus> {
    let mut status = ExitStatus::SUCCESS;
    // All are found before the first is destroyed: a name means the same session from beginning to end.
    let mut found = Vec::with_capacity(sessions.len());
    for text in sessions {
        match target::find(api, text).await {
            Ok(id) => found.push(id),
            Err(error) => fail(console, &error, &mut status),
        }
    }
    let ends = found.iter().map(|id| async move { (id, api.destroy(id).await) });
    for (id, end) in futures::future::join_all(ends).await {
        match end {
            Ok(()) if console.printer.json() => console.printer.object(&Destroyed {
                event: "destroyed",
                session: *id,
            })?,
            Ok(()) => console.printer.line(id)?,
            Err(error) => fail(console, &error, &mut status),
        }
    }
    Ok(status)
}

fn fail(console: &Console, error: &session_core::error::Error, status: &mut ExitStatus) {
    print_error(&console.printer, error);
    if *status == ExitStatus::SUCCESS {
        *status = error.kind().into();
    }
}
