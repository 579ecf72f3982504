//! `mcp status`: how servers are, of a session or as far as it is known of all.
//!
//! Each process of ours has its own instances, so what is told of a session whose agent another process owns is what that
//! one recorded last, and what is told of all is what is known without asking any server.

use serde::Serialize;
use session_core::api::SessionApi;
use session_core::error::Result;
use session_core::id::SessionId;
use session_core::mcp::ServerStatus;

use crate::args::mcp::StatusArgs;
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::{render, target};

/// A server, as a JSON line.
#[derive(Debug, Serialize)]
struct Line<'a> {
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<SessionId>,
    #[serde(flatten)]
    status: &'a ServerStatus,
}

/// Shows how they are.
pub(super) async fn status(args: &StatusArgs, api: &dyn SessionApi, console: &Console) -> Result<ExitStatus> {
    let session = match &args.session {
        Some(text) => Some(target::find(api, text).await?),
        None => None,
    };
    let status = api.mcp_status(session.as_ref()).await?;
    let printer = &console.printer;
    if printer.json() {
        for server in &status.servers {
            printer.object(&Line {
                event: "mcp_server_status",
                session,
                status: server,
            })?;
        }
    } else if status.servers.is_empty() {
        printer.note(match session {
            Some(_) => "the session has no MCP server",
            None => "no MCP server is declared; `cofferdam mcp add NAME -- COMMAND` declares one",
        });
    } else {
        printer.line(render::servers(&status).render(printer.paint()))?;
        if session.is_none() {
            let paint = printer.err_paint();
            printer
                .note(paint.dim("sessions have instances of their own: cofferdam mcp status --session ID"));
        }
    }
    if status.drifted {
        printer.note(
            "the declarations have changed since the session was made; a new one gets them as they are now",
        );
    }
    Ok(ExitStatus::SUCCESS)
}
