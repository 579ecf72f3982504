//! `mcp list`: what is declared, from files alone.

use mcp_catalog::{Declared, ServerDefinition, Transport};
use serde::Serialize;
use session_core::error::Result;
use session_core::mcp::ServerName;

use super::McpContext;
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::render::Table;
use crate::sanitize;

/// The longest place, in characters.
const WIDTH: usize = 56;

/// A server, as a JSON line.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    event: &'static str,
    name: &'a ServerName,
    profiles: Vec<&'a ServerName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<usize>,
    held: usize,
    definition: &'a ServerDefinition,
}

/// Lists the servers.
pub(super) fn list(context: &McpContext<'_>, console: &Console) -> Result<ExitStatus> {
    let declared = context.catalog.declared()?;
    let mut listed = Vec::new();
    for (name, definition) in &declared.servers {
        listed.push(Listed {
            event: "mcp_server",
            name,
            profiles: profiles_of(&declared, name),
            tools: context
                .catalog
                .manifest(name, &definition.digest())?
                .map(|manifest| manifest.tools.len()),
            held: context.catalog.pending(name)?.len(),
            definition,
        });
    }
    let printer = &console.printer;
    if printer.json() {
        listed.iter().try_for_each(|server| printer.object(server))?;
    } else if listed.is_empty() {
        printer.note("no MCP server is declared; `cofferdam mcp add NAME -- COMMAND` declares one");
    } else {
        printer.line(table(&listed).render(printer.paint()))?;
    }
    Ok(ExitStatus::SUCCESS)
}

fn table(listed: &[Listed<'_>]) -> Table {
    let mut table = Table::new(&["SERVER", "TRANSPORT", "PROFILES", "TOOLS", "HELD", "WHERE"]);
    for server in listed {
        let profiles: Vec<_> = server.profiles.iter().map(|name| name.as_str()).collect();
        let transport = server.definition.transport.as_str();
        table.row(vec![
            server.name.to_string(),
            if server.definition.enabled {
                transport.to_owned()
            } else {
                format!("{transport} (off)")
            },
            if profiles.is_empty() {
                "-".to_owned()
            } else {
                profiles.join(",")
            },
            server
                .tools
                .map_or_else(|| "-".to_owned(), |tools| tools.to_string()),
            server.held.to_string(),
            place(server.definition),
        ]);
    }
    table
}

/// The profiles that have a server.
pub(super) fn profiles_of<'a>(declared: &'a Declared, server: &ServerName) -> Vec<&'a ServerName> {
    let having = declared
        .profiles
        .iter()
        .filter(|(_, profile)| profile.servers.contains(server));
    having.map(|(name, _)| name).collect()
}

/// What is started, or where it is, on one line.
pub(super) fn place(definition: &ServerDefinition) -> String {
    let line = |command: &String, args: &[String]| {
        let words = std::iter::once(command).chain(args);
        words.map(String::as_str).collect::<Vec<_>>().join(" ")
    };
    let text = match &definition.transport {
        Transport::Stdio { command, args, .. } | Transport::Session { command, args, .. } => {
            line(command, args)
        }
        Transport::Container {
            image, command, args, ..
        } => match image {
            Some(image) => format!("{image}: {}", line(command, args)),
            None => line(command, args),
        },
        Transport::Http { url, .. } => url.clone(),
    };
    sanitize::shorten(&sanitize::one_line(&text), WIDTH).into_owned()
}
