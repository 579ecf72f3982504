//! `interrupt`, `pause`, `resume`, `renew`: one request, one answer.

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

/// Renews a session's lease.
///
/// # Errors
/// Those of [`SessionApi::renew_lease`].
pub async fn renew(session: &str, api: &dyn SessionApi, console: &Console) -> Result<ExitStatus> {
    let session = target::find(api, session).await?;
    let info = api.renew_lease(&session).await?;
    if console.printer.json() {
        console.printer.object(&info)?;
    } else {
        match info.lease_until {
            Some(until) => console.printer.note(format_args!(
                "renewed until {}",
                until
                    .to_zoned(console.time_zone())
                    .strftime("%Y-%m-%d %H:%M:%S %Z")
            )),
            None => console
                .printer
                .note("the session has no lease; there is nothing to renew"),
        }
    }
    Ok(ExitStatus::SUCCESS)
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
