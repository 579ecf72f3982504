//! `mcp describe`: everything about one server, from files alone.

use std::path::PathBuf;

use mcp_catalog::{Digest, Manifest, PendingTool, ServerDefinition};
use serde::Serialize;
use serde_json::Value;
use session_core::error::Result;
use session_core::mcp::ServerName;

use super::{McpContext, declared_server, list, secrets};
use crate::args::mcp::NameArgs;
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::printer::Paint;
use crate::{render, sanitize};

/// How much of a tool's description is shown, in characters.
const WIDTH: usize = 100;

/// All of it as JSON.
#[derive(Debug, Serialize)]
struct Described<'a> {
    event: &'static str,
    name: &'a ServerName,
    profiles: Vec<&'a ServerName>,
    digest: Digest,
    definition: &'a ServerDefinition,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<&'a Manifest>,
    held: &'a [PendingTool],
    log: PathBuf,
}

/// Shows a server.
pub(super) fn describe(args: &NameArgs, context: &McpContext<'_>, console: &Console) -> Result<ExitStatus> {
    let declared = context.catalog.declared()?;
    let definition = declared_server(&declared, &args.name)?;
    let digest = definition.digest();
    let manifest = context.catalog.manifest(&args.name, &digest)?;
    let held = context.catalog.pending(&args.name)?;
    let described = Described {
        event: "mcp_server",
        name: &args.name,
        profiles: list::profiles_of(&declared, &args.name),
        digest,
        definition,
        manifest: manifest.as_deref(),
        held: &held,
        log: context.log(&args.name),
    };
    let printer = &console.printer;
    if printer.json() {
        printer.object(&described)?;
    } else {
        printer.line(text(&described, printer.paint()))?;
    }
    Ok(ExitStatus::SUCCESS)
}

fn text(described: &Described<'_>, paint: Paint) -> String {
    let mut facts: Vec<(&str, String)> = vec![("server", described.name.to_string())];
    let definition = described.definition;
    if let Some(description) = &definition.description {
        facts.push(("for", sanitize::one_line(description).into_owned()));
    }
    facts.push(("transport", definition.transport.as_str().to_owned()));
    facts.push(("where", list::place(definition)));
    for (field, reference) in secrets::references(definition) {
        let place = secrets::place(reference);
        facts.push((
            "secret",
            sanitize::one_line(&format!("{field}: {place}")).into_owned(),
        ));
    }
    let profiles: Vec<_> = described.profiles.iter().map(|name| name.as_str()).collect();
    facts.push((
        "profiles",
        if profiles.is_empty() {
            "none".to_owned()
        } else {
            profiles.join(", ")
        },
    ));
    if !definition.enabled {
        facts.push(("enabled", "no".to_owned()));
    }
    facts.push(("digest", described.digest.to_string()));
    facts.push(("log", described.log.display().to_string()));
    if let Some(manifest) = described.manifest {
        let said = format!(
            "{} {}, protocol {}",
            manifest.name, manifest.version, manifest.protocol
        );
        facts.push((
            "says",
            sanitize::shorten(&sanitize::one_line(&said), WIDTH).into_owned(),
        ));
    }
    let width = facts.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    let mut lines: Vec<String> = facts
        .iter()
        .map(|(key, value)| format!("{}{}  {value}", paint.bold(key), " ".repeat(width - key.len())))
        .collect();
    lines.extend(tools(described, paint));
    lines.join("\n")
}

/// Its tools as far as they are known: what is held is marked.
fn tools(described: &Described<'_>, paint: Paint) -> Vec<String> {
    let Some(manifest) = described.manifest else {
        let hint = format!(
            "its tools are not known yet: `cofferdam mcp test {}`",
            described.name
        );
        return vec![paint.dim(hint)];
    };
    let mut lines = vec![paint.bold(render::count(manifest.tools.len() as u64, "tool"))];
    let text = |tool: &Value, key: &str| {
        let text = tool.get(key).and_then(Value::as_str).unwrap_or_default();
        sanitize::one_line(text).into_owned()
    };
    for tool in &manifest.tools {
        let name = text(tool, "name");
        let about = sanitize::shorten(&text(tool, "description"), WIDTH).into_owned();
        let raw = tool.get("name").and_then(Value::as_str);
        let mark = if described.held.iter().any(|held| Some(held.name.as_str()) == raw) {
            paint.yellow("held: ")
        } else {
            String::new()
        };
        lines.push(format!("  {mark}{name}  {}", paint.dim(about)));
    }
    if !described.held.is_empty() {
        let hint = format!("`cofferdam mcp approve {}` shows what changed", described.name);
        lines.push(paint.dim(hint));
    }
    lines
}
