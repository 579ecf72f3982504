//! `interrupt`, `pause`, `resume`: one request, one answer.

use serde::Serialize;
use session_core::api::SessionApi;
use session_core::error::Result;
use session_core::id::SessionId;

use crate::console::Console;
use crate::exit::ExitStatus;
use crate::target;

#[derive(Debug, Serialize)]
struct Answer {
    event: &'static str,
    session: SessionId,
    #[serde(skip_serializing_if = "Option::is_none")]
    worked: Option<bool>,
}

/// Interrupts the agent.
///
/// # Errors
/// Those of [`SessionApi::interrupt`].
pub async fn interrupt(session: &str, api: &dyn SessionApi, console: &Console) -> Result<ExitStatus> {
    let session = target::find(api, session).await?;
    let worked = api.interrupt(&session).await?;
    let text = if worked {
        "interrupted"
    } else {
        "the agent was not working"
    };
    answer(console, "interrupted", text, session, Some(worked))
}

/// Freezes a session.
///
/// # Errors
/// Those of [`SessionApi::pause`].
pub async fn pause(session: &str, api: &dyn SessionApi, console: &Console) -> Result<ExitStatus> {
    let session = target::find(api, session).await?;
    api.pause(&session).await?;
    answer(console, "paused", "paused", session, None)
}

/// Lets a session go on.
///
/// # Errors
/// Those of [`SessionApi::resume`].
pub async fn resume(session: &str, api: &dyn SessionApi, console: &Console) -> Result<ExitStatus> {
    let session = target::find(api, session).await?;
    api.resume(&session).await?;
    answer(console, "resumed", "resumed", session, None)
}

fn answer(
    console: &Console,
    event: &'static str,
    text: &str,
    session: SessionId,
    worked: Option<bool>,
) -> Result<ExitStatus> {
    if console.printer.json() {
        console.printer.object(&Answer {
            event,
            session,
            worked,
        })?;
    } else {
        console.printer.note(text);
    }
    Ok(ExitStatus::SUCCESS)
}
