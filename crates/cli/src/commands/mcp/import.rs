//! `mcp import`: the servers of another program's file.

use std::io::Read as _;
use std::path::Path;

use mcp_catalog::{Import, Imported};
use serde::Serialize;
use session_core::error::{Error, ErrorKind, Result};
use tokio::io::AsyncReadExt as _;

use super::{McpContext, profiles};
use crate::args::mcp::ImportArgs;
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::failure::print_warning;
use crate::sanitize;

const OPERATION: &str = "import MCP servers";
/// No client's file is larger.
const MAX_BYTES: u64 = 32 << 20;

/// What came of it, as a JSON line.
#[derive(Debug, Serialize)]
struct Told<'a> {
    event: &'static str,
    #[serde(flatten)]
    imported: &'a Imported,
}

/// Declares what can be declared, and says what is left to do.
pub(super) async fn import(
    args: &ImportArgs,
    context: &McpContext<'_>,
    console: &mut Console,
) -> Result<ExitStatus> {
    let text = if args.file == Path::new("-") {
        let mut text = String::new();
        let read = (&mut console.stdin)
            .take(MAX_BYTES)
            .read_to_string(&mut text)
            .await;
        read.map_err(|source| unreadable(&args.file, source))?;
        text
    } else {
        read(&context.current_dir.join(&args.file))?
    };
    let import = Import {
        replace: args.replace,
        only: args.only.clone(),
    };
    let imported = context.catalog.import(&text, &import)?;
    if let Some(profile) = args.profile.chosen() {
        for server in &imported.added {
            profiles::include(profile, server, context)?;
        }
    }
    tell(&imported, console)?;
    Ok(ExitStatus::SUCCESS)
}

fn read(file: &Path) -> Result<String> {
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(MAX_BYTES).read_to_string(&mut text))
        .map_err(|source| unreadable(file, source))?;
    Ok(text)
}

fn unreadable(file: &Path, source: std::io::Error) -> Error {
    Error::new(ErrorKind::HostIo, OPERATION, "the file cannot be read")
        .with_context("file", file.display())
        .with_hint("name the file of the other program, or - for standard input")
        .with_source(source)
}

fn tell(imported: &Imported, console: &Console) -> Result<()> {
    let printer = &console.printer;
    if printer.json() {
        printer.object(&Told {
            event: "mcp_imported",
            imported,
        })?;
    } else {
        for server in &imported.added {
            let was = imported.renamed.iter().find(|(_, name)| name == server);
            let was = was.map_or_else(String::new, |(was, _)| {
                format!(" (there: {})", sanitize::one_line(was))
            });
            printer.line(format_args!("{server}{was}"))?;
        }
    }
    for (name, why) in &imported.skipped {
        print_warning(
            printer,
            &format!(
                "{} was left out: {}",
                sanitize::one_line(name),
                sanitize::one_line(why)
            ),
            None,
        );
    }
    if imported.secrets.is_empty() {
        return Ok(());
    }
    printer.note("secrets are not written down; export them where Cofferdam runs:");
    for secret in &imported.secrets {
        let field = sanitize::one_line(&secret.field);
        printer.note(format_args!(
            "  export {}=…   # {}, {field}",
            secret.suggested, secret.server
        ));
    }
    Ok(())
}
