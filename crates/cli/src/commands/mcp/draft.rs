//! `mcp draft`: a choice of servers before it is published.

use mcp_catalog::{Draft, DraftKey, Validation};
use serde::Serialize;
use session_core::error::Result;
use session_core::mcp::ServerName;

use super::McpContext;
use crate::args::mcp::DraftCommand;
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::printer::Printer;
use crate::sanitize;

/// A draft, as a JSON line.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    event: &'static str,
    client: &'a str,
    profile: &'a ServerName,
    /// Whether it is a choice of its own; what the profile says otherwise.
    draft: bool,
    servers: &'a [ServerName],
    #[serde(flatten)]
    validation: &'a Validation,
}

/// Changes or shows a draft.
pub(super) fn draft(
    command: &DraftCommand,
    context: &McpContext<'_>,
    console: &Console,
) -> Result<ExitStatus> {
    let catalog = &context.catalog;
    let key = match command {
        DraftCommand::Add(args) => {
            let declared = catalog.declared()?;
            for server in &args.servers {
                super::declared_server(&declared, server)?;
            }
            for server in &args.servers {
                catalog.draft_add(&args.of.key(), server)?;
            }
            args.of.key()
        }
        DraftCommand::Remove(args) => {
            for server in &args.servers {
                catalog.draft_remove(&args.of.key(), server)?;
            }
            args.of.key()
        }
        DraftCommand::Show(of) => of.key(),
        DraftCommand::Clear(of) => {
            let was = catalog.draft_clear(&of.key())?;
            console.printer.note(if was {
                "the draft is gone; the profile in servers.toml is what would be published"
            } else {
                "there was no draft"
            });
            return Ok(ExitStatus::SUCCESS);
        }
    };
    show(&key, context, &console.printer)?;
    Ok(ExitStatus::SUCCESS)
}

fn show(key: &DraftKey, context: &McpContext<'_>, printer: &Printer) -> Result<()> {
    let draft: Option<Draft> = context.catalog.draft(key)?;
    let validation = context.catalog.validate(key)?;
    let servers = match &draft {
        Some(draft) => draft.servers.clone(),
        None => context
            .catalog
            .declared()?
            .profiles
            .get(&key.profile)
            .map(|profile| profile.servers.clone())
            .unwrap_or_default(),
    };
    if printer.json() {
        return printer.object(&Shown {
            event: "mcp_draft",
            client: key.client.as_str(),
            profile: &key.profile,
            draft: draft.is_some(),
            servers: &servers,
            validation: &validation,
        });
    }
    let whose = format!("{} of {}", key.profile, key.client);
    printer.note(if draft.is_some() {
        format!("the draft {whose}:")
    } else {
        format!("there is no draft {whose}; the profile says:")
    });
    for server in &servers {
        printer.line(server)?;
    }
    problems(&validation, printer)
}

/// What is wrong with what would be published, for people.
pub(super) fn problems(validation: &Validation, printer: &Printer) -> Result<()> {
    let paint = printer.paint();
    for problem in &validation.problems {
        let sign = if problem.blocks {
            paint.red("FAIL")
        } else {
            paint.yellow("warn")
        };
        let message = sanitize::one_line(&problem.message);
        let hint = sanitize::one_line(&problem.hint);
        printer.line(format_args!(
            "{sign}  {message}\n      {} {hint}",
            paint.cyan("→")
        ))?;
    }
    Ok(())
}
