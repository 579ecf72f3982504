//! `inspect`: everything about a session.

use session_core::api::SessionApi;
use session_core::error::Result;

use crate::console::Console;
use crate::exit::ExitStatus;
use crate::{render, target};

/// Shows a session, brought in line with what is true on the engine.
///
/// # Errors
/// Those of [`SessionApi::inspect`].
pub async fn inspect(session: &str, api: &dyn SessionApi, console: &Console) -> Result<ExitStatus> {
    let session = target::find(api, session).await?;
    let details = api.inspect(&session).await?;
    if console.printer.json() {
        console.printer.object(&details)?;
    } else {
        console.printer.line(render::details(
            &details,
            &console.time_zone(),
            console.printer.paint(),
        ))?;
    }
    Ok(ExitStatus::SUCCESS)
}
