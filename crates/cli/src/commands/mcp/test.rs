//! `mcp test`: a server is really started, asked what it has, and stopped.

use mcp_catalog::Transport;
use serde::Serialize;
use session_core::error::{Error, ErrorKind, Result};
use session_core::mcp::ServerName;
use session_gateway::mcp::{McpGateway, Probe};

use super::{McpContext, declared_server, trouble};
use crate::args::mcp::TestArgs;
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::printer::TICK;
use crate::{render, sanitize};

const OPERATION: &str = "start the MCP server";

/// What a server has, as a JSON line.
#[derive(Debug, Serialize)]
struct Tested<'a> {
    event: &'static str,
    server: &'a ServerName,
    took_ms: u64,
    tools: &'a [String],
    held: &'a [String],
    prompts: usize,
    resources: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'a str>,
}

/// Starts it and says what it has.
pub(super) async fn test(
    args: &TestArgs,
    context: &McpContext<'_>,
    servers: &McpGateway,
    console: &Console,
) -> Result<ExitStatus> {
    let server = &args.name;
    let declared = context.catalog.declared()?;
    let definition = declared_server(&declared, server)?;
    if matches!(definition.transport, Transport::Session { .. }) {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            OPERATION,
            "it runs in the container of a session, and here is none",
        )
        .with_context("server", server)
        .with_hint(format!(
            "make a session that has it: cofferdam create --mcp {server}"
        )));
    }
    let printer = &console.printer;
    printer.status(Some(&format!("starting {server}")));
    let probed = ticking(servers.probe(server), console).await;
    printer.status(None);
    let probe = probed.map_err(|failure| trouble::error(OPERATION, failure, context))?;
    tell(server, &probe, console)?;
    Ok(ExitStatus::SUCCESS)
}

/// Moves the changing line on while something is waited for.
async fn ticking<T>(waited: impl Future<Output = T>, console: &Console) -> T {
    let mut ticker = tokio::time::interval(TICK);
    tokio::pin!(waited);
    loop {
        // What is waited for is kept outside of the loop; a tick that is dropped comes again.
        tokio::select! {
            done = &mut waited => return done,
            _ = ticker.tick(), if console.printer.shows_progress() => console.printer.tick(),
        }
    }
}

fn tell(server: &ServerName, probe: &Probe, console: &Console) -> Result<()> {
    let printer = &console.printer;
    if printer.json() {
        return printer.object(&Tested {
            event: "mcp_server_tested",
            server,
            took_ms: u64::try_from(probe.took.as_millis()).unwrap_or(u64::MAX),
            tools: &probe.tools,
            held: &probe.held,
            prompts: probe.prompts,
            resources: probe.resources,
            warning: probe.warning.as_deref(),
        });
    }
    let paint = printer.paint();
    let name = |tool: &String| sanitize::shorten(&sanitize::one_line(tool), 80).into_owned();
    for tool in &probe.tools {
        printer.line(name(tool))?;
    }
    for tool in &probe.held {
        printer.line(format_args!("{} {}", paint.yellow("held:"), name(tool)))?;
    }
    let number = (probe.tools.len() + probe.held.len()) as u64;
    let tools = render::count(number, "tool");
    let took = render::duration(probe.took);
    printer.note(format_args!(
        "{server} works: {tools} in {took}; it was stopped again"
    ));
    if let Some(warning) = &probe.warning {
        printer.note(sanitize::one_line(warning));
    }
    if !probe.held.is_empty() {
        printer.note(format_args!(
            "`cofferdam mcp approve {server}` shows what is held"
        ));
    }
    Ok(())
}
