//! `mcp remove`: declarations taken away.

use serde::Serialize;
use session_core::error::Result;
use session_core::mcp::ServerName;

use super::{McpContext, declared_server};
use crate::args::mcp::RemoveArgs;
use crate::console::Console;
use crate::exit::ExitStatus;

/// What was taken away, as a JSON line.
#[derive(Debug, Serialize)]
struct Removed<'a> {
    event: &'static str,
    name: &'a ServerName,
}

/// Removes servers. Of several, none is removed when one is not there.
pub(super) fn remove(args: &RemoveArgs, context: &McpContext<'_>, console: &Console) -> Result<ExitStatus> {
    let declared = context.catalog.declared()?;
    for name in &args.names {
        declared_server(&declared, name)?;
    }
    for name in &args.names {
        context.catalog.remove_server(name)?;
        let printer = &console.printer;
        if printer.json() {
            printer.object(&Removed {
                event: "mcp_server_removed",
                name,
            })?;
        }
        printer.note(format_args!(
            "{name} is declared no more; sessions that have it cannot use it from now on"
        ));
    }
    Ok(ExitStatus::SUCCESS)
}
