//! `mcp approve` and `mcp revoke`: which tools people know.
//!
//! What is approved is what was shown here: a server that changes a tool between the look and the answer gains nothing.

use mcp_catalog::PendingTool;
use serde::Serialize;
use serde_json::Value;
use session_core::error::{Error, ErrorKind, Result};
use session_core::mcp::ServerName;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use super::{McpContext, declared_server};
use crate::args::mcp::ApproveArgs;
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::printer::Paint;
use crate::{render, sanitize};

const OPERATION: &str = "approve tools";
/// The longest answer to a question, in bytes.
const ANSWER: u64 = 64;

/// What became of a tool, as a JSON line.
#[derive(Debug, Serialize)]
struct Decided<'a> {
    event: &'static str,
    server: &'a ServerName,
    tool: &'a str,
}

/// A tool that waits, as a JSON line.
#[derive(Debug, Serialize)]
struct Waiting<'a> {
    event: &'static str,
    server: &'a ServerName,
    #[serde(flatten)]
    tool: &'a PendingTool,
}

/// Shows what changed, asks, approves.
pub(super) async fn approve(
    args: &ApproveArgs,
    context: &McpContext<'_>,
    console: &mut Console,
) -> Result<ExitStatus> {
    let server = &args.name;
    declared_server(&*context.catalog.declared()?, server)?;
    let pending = chosen(server, &args.tools, context.catalog.pending(server)?)?;
    if pending.is_empty() {
        console.printer.note(format_args!("no tool of {server} is held"));
        return Ok(ExitStatus::SUCCESS);
    }
    show(server, &pending, console)?;
    if !args.yes && !confirmed(server, pending.len(), console).await? {
        console.printer.note("nothing was approved");
        return Ok(ExitStatus::SUCCESS);
    }
    context.catalog.approve_shown(server, &pending)?;
    for tool in &pending {
        if console.printer.json() {
            console.printer.object(&Decided {
                event: "mcp_tool_approved",
                server,
                tool: &tool.name,
            })?;
        }
    }
    console.printer.note(format_args!(
        "approved: {}; running sessions see it at once",
        render::count(pending.len() as u64, "tool")
    ));
    Ok(ExitStatus::SUCCESS)
}

/// Holds everything of a server again.
pub(super) fn revoke(server: &ServerName, context: &McpContext<'_>, console: &Console) -> Result<ExitStatus> {
    declared_server(&*context.catalog.declared()?, server)?;
    let revoked = context.catalog.revoke(server)?;
    let printer = &console.printer;
    if printer.json() {
        for tool in &revoked {
            printer.object(&Decided {
                event: "mcp_tool_revoked",
                server,
                tool,
            })?;
        }
    }
    printer.note(match revoked.len() {
        0 => format!("no tool of {server} was approved"),
        held => format!(
            "{} of {server} held until approved again",
            render::count(held as u64, "tool")
        ),
    });
    Ok(ExitStatus::SUCCESS)
}

/// Those that were named, all of them when none was.
fn chosen(server: &ServerName, named: &[String], pending: Vec<PendingTool>) -> Result<Vec<PendingTool>> {
    if named.is_empty() {
        return Ok(pending);
    }
    if let Some(absent) = named
        .iter()
        .find(|name| !pending.iter().any(|tool| tool.name == **name))
    {
        return Err(Error::new(ErrorKind::NotFound, OPERATION, "no such tool is held")
            .with_context("server", server)
            .with_context("tool", sanitize::one_line(absent))
            .with_hint(format!("`cofferdam mcp approve {server}` shows those that are")));
    }
    Ok(pending
        .into_iter()
        .filter(|tool| named.contains(&tool.name))
        .collect())
}

fn show(server: &ServerName, pending: &[PendingTool], console: &Console) -> Result<()> {
    let printer = &console.printer;
    for tool in pending {
        if printer.json() {
            printer.object(&Waiting {
                event: "mcp_tool_held",
                server,
                tool,
            })?;
        } else {
            printer.line(difference(server, tool, printer.paint()))?;
        }
    }
    Ok(())
}

fn difference(server: &ServerName, tool: &PendingTool, paint: Paint) -> String {
    let name = sanitize::shorten(&sanitize::one_line(&tool.name), 80).into_owned();
    let news = if tool.before.is_some() { "changed" } else { "new" };
    let mut text = paint.bold(format_args!("{server}: {name} ({news})"));
    let before = tool.before.as_ref().map(pretty).unwrap_or_default();
    let after = pretty(&tool.after);
    for (sign, line) in render::line_diff(&before, &after) {
        // Whole: what is approved has been seen. The gateway bounds how long it can be.
        let line = format!("{sign} {}", safe(line));
        text += "\n  ";
        text += &match sign {
            '-' => paint.red(line),
            '+' => paint.green(line),
            _ => paint.dim(line),
        };
    }
    text
}

/// With its indentation, which `one_line` would take away.
fn safe(line: &str) -> String {
    let indent = line.len() - line.trim_start().len();
    format!("{}{}", &line[..indent], sanitize::one_line(line))
}

fn pretty(tool: &Value) -> String {
    serde_json::to_string_pretty(tool).unwrap_or_default()
}

/// Everything but a clear yes is a no. Where nobody can answer, nothing is decided by itself.
async fn confirmed(server: &ServerName, tools: usize, console: &mut Console) -> Result<bool> {
    if !console.printer.can_ask() {
        return Err(
            Error::new(ErrorKind::InvalidArgument, OPERATION, "nobody can be asked here")
                .with_hint("look at what is shown, then say --yes"),
        );
    }
    let tools = render::count(tools as u64, "tool");
    console.printer.ask(format_args!(
        "Let sessions use {tools} of {server} as shown? [y/N] "
    ));
    let mut answer = String::new();
    let mut reader = BufReader::new((&mut console.stdin).take(ANSWER));
    let read = reader.read_line(&mut answer).await;
    Ok(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"))
}
