//! `inspect`: everything about a session.

use serde::Serialize;
use session_core::api::SessionApi;
use session_core::budget::Spending;
use session_core::egress::EgressRequest;
use session_core::error::Result;
use session_core::session::SessionDetails;

use crate::console::Console;
use crate::exit::ExitStatus;
use crate::render::{self, Closely};
use crate::target;

/// All of it as JSON.
#[derive(Debug, Serialize)]
struct Inspected<'a> {
    #[serde(flatten)]
    details: &'a SessionDetails,
    usage: &'a Spending,
    egress_requests: &'a [EgressRequest],
}

/// Shows a session, brought in line with what is true on the engine, with what its doors know of it.
///
/// # Errors
/// Those of [`SessionApi::inspect`].
pub async fn inspect(session: &str, api: &dyn SessionApi, console: &Console) -> Result<ExitStatus> {
    let session = target::find(api, session).await?;
    let details = api.inspect(&session).await?;
    let used = api.usage(Some(&session)).await?.session;
    let waiting = api.egress_requests(Some(&session)).await?;
    if console.printer.json() {
        console.printer.object(&Inspected {
            details: &details,
            usage: &used,
            egress_requests: &waiting,
        })?;
    } else {
        let closely = Closely {
            details: &details,
            used: &used,
            waiting: waiting.len(),
        };
        console.printer.line(render::details(
            &closely,
            &console.time_zone(),
            console.printer.paint(),
        ))?;
    }
    Ok(ExitStatus::SUCCESS)
}
