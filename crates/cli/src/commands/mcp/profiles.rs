//! `mcp profiles`: which servers and tools go together.

use mcp_catalog::Profile;
use serde::Serialize;
use session_core::error::{Error, ErrorKind, Result};
use session_core::mcp::ServerName;

use super::McpContext;
use crate::args::mcp::{ProfilesArgs, ProfilesCommand, SetProfileArgs};
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::render::Table;
use crate::sanitize;

/// A profile, as a JSON line.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    event: &'static str,
    name: &'a ServerName,
    #[serde(flatten)]
    profile: &'a Profile,
}

/// Lists or changes profiles.
pub(super) fn profiles(
    args: &ProfilesArgs,
    context: &McpContext<'_>,
    console: &Console,
) -> Result<ExitStatus> {
    match &args.command {
        None => list(context, console),
        Some(ProfilesCommand::Set(args)) => set(args, context, console),
        Some(ProfilesCommand::Remove(args)) => {
            known(&args.profile, context)?;
            context.catalog.remove_profile(&args.profile)?;
            let name = &args.profile;
            console.printer.note(format_args!(
                "the profile {name} is gone; its servers stay declared"
            ));
            Ok(ExitStatus::SUCCESS)
        }
    }
}

fn list(context: &McpContext<'_>, console: &Console) -> Result<ExitStatus> {
    let declared = context.catalog.declared()?;
    let printer = &console.printer;
    if printer.json() {
        for (name, profile) in &declared.profiles {
            printer.object(&Listed {
                event: "mcp_profile",
                name,
                profile,
            })?;
        }
    } else if declared.profiles.is_empty() {
        printer.note("there is no profile; `cofferdam mcp add` makes the profile default");
    } else {
        let mut table = Table::new(&["PROFILE", "SERVERS", "TOOLS", "SEARCH"]);
        for (name, profile) in &declared.profiles {
            let servers: Vec<_> = profile.servers.iter().map(ServerName::as_str).collect();
            let tools = if profile.tools.is_empty() {
                "all".to_owned()
            } else {
                sanitize::one_line(&profile.tools.join(",")).into_owned()
            };
            let search = match profile.search {
                None => "by number",
                Some(true) => "yes",
                Some(false) => "no",
            };
            table.row(vec![
                name.to_string(),
                servers.join(","),
                tools,
                search.to_owned(),
            ]);
        }
        printer.line(table.render(printer.paint()))?;
    }
    Ok(ExitStatus::SUCCESS)
}

fn set(args: &SetProfileArgs, context: &McpContext<'_>, console: &Console) -> Result<ExitStatus> {
    let profile = Profile {
        servers: args.servers.clone(),
        tools: args.tool.clone(),
        search: args.search.then_some(true),
    };
    context.catalog.set_profile(&args.profile, &profile)?;
    if console.printer.json() {
        console.printer.object(&Listed {
            event: "mcp_profile",
            name: &args.profile,
            profile: &profile,
        })?;
    }
    console.printer.note(format_args!(
        "new sessions with the profile {} have these servers",
        args.profile
    ));
    Ok(ExitStatus::SUCCESS)
}

/// Puts a server into a profile, which is made when there is none.
pub(super) fn include(profile: &ServerName, server: &ServerName, context: &McpContext<'_>) -> Result<()> {
    let mut changed = context
        .catalog
        .declared()?
        .profiles
        .get(profile)
        .cloned()
        .unwrap_or_default();
    if changed.servers.contains(server) {
        return Ok(());
    }
    changed.servers.push(server.clone());
    context.catalog.set_profile(profile, &changed)
}

fn known(profile: &ServerName, context: &McpContext<'_>) -> Result<()> {
    if context.catalog.declared()?.profiles.contains_key(profile) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::NotFound,
        "change a profile",
        "there is no such profile",
    )
    .with_context("profile", profile)
    .with_hint("`cofferdam mcp profiles` lists them"))
}
