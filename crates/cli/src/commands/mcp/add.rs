//! `mcp add`: a declaration from flags.

use mcp_catalog::ServerDefinition;
use serde::Serialize;
use session_core::error::Result;
use session_core::mcp::ServerName;

use super::{McpContext, profiles, secrets};
use crate::args::mcp::AddArgs;
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::failure::print_warning;

/// What was declared, as a JSON line.
#[derive(Debug, Serialize)]
struct Added<'a> {
    event: &'static str,
    name: &'a ServerName,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<&'a ServerName>,
    definition: &'a ServerDefinition,
}

/// Declares a server, puts it into a profile, and says what is missing for its start.
pub(super) async fn add(args: &AddArgs, context: &McpContext<'_>, console: &Console) -> Result<ExitStatus> {
    let definition = super::definition::definition(args, context.current_dir)?;
    definition.check()?;
    context
        .catalog
        .add_server(&args.name, &definition, args.replace)?;
    let profile = args.profile.chosen();
    if let Some(profile) = profile {
        profiles::include(profile, &args.name, context)?;
    }
    let printer = &console.printer;
    let name = &args.name;
    if printer.json() {
        printer.object(&Added {
            event: "mcp_server_added",
            name,
            profile,
            definition: &definition,
        })?;
    }
    let place = profile.map_or_else(
        || "in no profile: sessions get it with --mcp".to_owned(),
        |profile| format!("in the profile {profile}"),
    );
    printer.note(format_args!(
        "{name} is declared, {place}; `cofferdam mcp test {name}` starts it"
    ));
    for (field, reference) in secrets::references(&definition) {
        if let Some((why, remedy)) = secrets::unreadable(reference, context.places.secrets.as_ref()).await {
            print_warning(printer, &format!("{field}: {why}"), Some(remedy));
        }
    }
    Ok(ExitStatus::SUCCESS)
}
