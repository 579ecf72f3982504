//! `egress`: what sessions reach and are denied, and what a person decides about it.
//!
//! Deciding is for people at this command line alone. No tool of an agent does it, or an agent could open its own way out.

mod decide;
mod log;
mod rules;

use jiff::Timestamp;
use serde::Serialize;
use session_core::api::SessionApi;
use session_core::egress::EgressRequest;
use session_core::error::Result;
use session_core::id::SessionId;

use crate::args::EgressCommand;
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::render::{self, Table};
use crate::{sanitize, target};

/// The longest cell of a session's choice, in characters.
const WIDTH: usize = 60;

/// A host that waits for a decision, as a JSON line.
#[derive(Debug, Serialize)]
struct Waiting<'a> {
    event: &'static str,
    #[serde(flatten)]
    request: &'a EgressRequest,
}

/// Runs a command of `egress`.
///
/// # Errors
/// Those of the lifecycle API; `InvalidArgument` when it is not clear what is decided.
pub async fn egress(command: &EgressCommand, api: &dyn SessionApi, console: &Console) -> Result<ExitStatus> {
    match command {
        EgressCommand::Log(args) => log::log(args, api, console).await,
        EgressCommand::Pending(args) => pending(args.session.as_deref(), api, console).await,
        EgressCommand::Approve(args) => decide::decide(args, true, api, console).await,
        EgressCommand::Deny(args) => decide::decide(args, false, api, console).await,
        EgressCommand::Rules(args) => rules::rules(args.session.as_deref(), api, console).await,
    }
}

/// The session that was named; none when all are meant.
async fn find(session: Option<&str>, api: &dyn SessionApi) -> Result<Option<SessionId>> {
    match session {
        Some(text) => Ok(Some(target::find(api, text).await?)),
        None => Ok(None),
    }
}

async fn pending(session: Option<&str>, api: &dyn SessionApi, console: &Console) -> Result<ExitStatus> {
    let session = find(session, api).await?;
    let requests = api.egress_requests(session.as_ref()).await?;
    let printer = &console.printer;
    if printer.json() {
        for request in &requests {
            printer.object(&Waiting {
                event: "egress_request",
                request,
            })?;
        }
    } else if requests.is_empty() {
        printer.note("no host waits for a decision");
    } else {
        printer.line(table(&requests, Timestamp::now()).render(printer.paint()))?;
        printer.note(
            printer
                .err_paint()
                .dim("decide with `cofferdam egress approve|deny SESSION RULE`"),
        );
    }
    Ok(ExitStatus::SUCCESS)
}

fn table(requests: &[EgressRequest], now: Timestamp) -> Table {
    let mut table = Table::new(&["SESSION", "RULE", "TIMES", "FIRST", "LAST"]);
    for request in requests {
        table.row(vec![
            render::short(&request.session),
            shown(&request.rule.to_string()),
            render::thousands(request.times),
            render::age(request.first_at, now),
            render::age(request.last_at, now),
        ]);
    }
    table
}

/// A rule is plain by its type; what is shown is made safe all the same, for it began as a session's words.
fn shown(text: &str) -> String {
    sanitize::shorten(&sanitize::one_line(text), WIDTH).into_owned()
}
