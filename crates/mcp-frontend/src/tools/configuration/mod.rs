//! The configuration of MCP servers: what the operator declared, what of it a client shall have, and what was published.
//!
//! ```text
//!  declared ── add_server_to_config ──▶ draft ── validate_config ── publish_config ──▶ artifact ── deploy_config ──▶ client
//!                                         └──────────────── diff_config ─────────────────┘
//! ```
//!
//! Names of arguments and results are those of the interface that exists already, see docs/guides/mcp-gateway.md.

mod artifact;
mod check;
mod clients;
mod deploy;
mod describe;
mod draft;
mod keys;
mod publish;
mod servers;

use std::sync::Arc;

use mcp_catalog::{Catalog, ClientId, Digest, DraftKey};
use schemars::JsonSchema;
use serde::Deserialize;
use session_core::error::{Error, ErrorKind, Result};
use session_core::mcp::ServerName;

use super::{Hints, Named, Spec, Tool, entry};
use crate::args::given;
use crate::call::{Call, Stop};
use crate::configuration::Configuration;
use crate::failure::Failure;
use crate::text::one_line;

/// The profile of whoever names none.
const DEFAULT_PROFILE: &str = "default";

/// These tools; with the one that writes into files of clients when there is somebody who can.
pub(super) fn tools(deploys: bool) -> Vec<Named> {
    let mut tools = vec![
        entry::<clients::ListClients>(),
        entry::<clients::ListProfiles>(),
        entry::<servers::ListServers>(),
        entry::<describe::DescribeServer>(),
        entry::<draft::AddServer>(),
        entry::<draft::RemoveServer>(),
        entry::<draft::ViewDraft>(),
        entry::<draft::ClearDraft>(),
        entry::<check::Validate>(),
        entry::<check::Diff>(),
        entry::<publish::Publish>(),
        entry::<publish::GetConfig>(),
        entry::<keys::InitializeKeys>(),
    ];
    if deploys {
        tools.push(entry::<deploy::Deploy>());
    }
    tools
}

/// Changes what can be changed back.
const CHANGES: Hints = Hints {
    read_only: false,
    destructive: false,
    idempotent: true,
    open_world: false,
};

/// What most of these tools take.
#[derive(Debug, Deserialize, JsonSchema)]
struct Whose {
    /// claude-code, claude-desktop, cursor or sessions.
    client_id: String,
    /// The profile; "default" when absent.
    profile_id: Option<String>,
}

fn key(client_id: &str, profile_id: Option<&str>) -> std::result::Result<DraftKey, Failure> {
    Ok(DraftKey {
        client: client(client_id)?,
        profile: name("profile_id", given(profile_id).unwrap_or(DEFAULT_PROFILE))?,
    })
}

fn client(text: &str) -> std::result::Result<ClientId, Failure> {
    text.trim().parse().map_err(|error| refused("client_id", &error))
}

fn name(argument: &str, text: &str) -> std::result::Result<ServerName, Failure> {
    text.trim().parse().map_err(|error| refused(argument, &error))
}

fn digest(argument: &str, text: &str) -> std::result::Result<Digest, Failure> {
    text.trim().parse().map_err(|error| refused(argument, &error))
}

fn refused(argument: &str, error: &Error) -> Failure {
    let hint = error.hint().map(in_tools).unwrap_or_default();
    Failure::invalid(format!("{argument}: {}", error.message()), hint)
}

/// Asks the catalog, which reads and writes files.
async fn ask<T: Send + 'static>(
    call: &Call,
    work: impl FnOnce(&Catalog) -> Result<T> + Send + 'static,
) -> std::result::Result<T, Stop> {
    let catalog = catalog(&call.core.configuration)?;
    let asked = tokio::task::spawn_blocking(move || work(&catalog)).await;
    let asked = asked.unwrap_or_else(|died| {
        Err(Error::new(ErrorKind::Internal, "ask the catalog", "the asking thread died").with_source(died))
    });
    asked.map_err(|error| told(error).into())
}

fn catalog(configuration: &Option<Configuration>) -> std::result::Result<Arc<Catalog>, Stop> {
    match configuration {
        Some(configuration) => Ok(configuration.catalog.clone()),
        None => Err(Failure::of(
            ErrorKind::Unsupported,
            "this server knows no configuration of MCP servers",
            "ask the operator",
        )
        .into()),
    }
}

/// An error of the catalog in the words of this server's tools.
fn told(error: Error) -> Failure {
    let hint = error.hint().map(in_tools);
    Failure::from(error).with_hint(hint)
}

/// The catalog's hints speak to people at a shell, of commands in backticks. Where a tool does the same, the tool is named;
/// what only a person may do says so.
fn in_tools(hint: &str) -> String {
    const TOOLS: &[(&str, &str)] = &[
        ("describe", "describe_server"),
        ("diff", "diff_config"),
        ("draft", "view_draft_config"),
        ("keys", "initialize_keys"),
        ("list", "list_available_servers"),
        ("profiles", "list_profiles"),
        ("publish", "publish_config"),
        ("status", "list_available_servers"),
        ("validate", "validate_config"),
        ("verify", "get_config"),
    ];
    let tool = |quoted: &str| {
        let command = quoted.strip_prefix("cofferdam mcp ")?.split(' ').next()?;
        let known = TOOLS.iter().find(|(name, _)| *name == command);
        known.map(|(_, tool)| *tool)
    };
    let mut told = String::new();
    for (index, part) in hint.split('`').enumerate() {
        // Every other part stands between backticks.
        match tool(part).filter(|_| index % 2 == 1) {
            Some(tool) => told.push_str(tool),
            None if index % 2 == 1 => told.push_str(&format!("`{part}`")),
            None => told.push_str(part),
        }
    }
    if told.contains("`cofferdam mcp ") || told.contains("servers.toml") {
        told.push_str("; only a person does that, on the host: ask the user");
    }
    told
}

/// Why a session was not made. Whoever named a server or profile that is not there is told which are.
pub(crate) async fn refusal(call: &Call, error: Error) -> Failure {
    let has = |key: &str| error.context().iter().any(|(name, _)| *name == key);
    let about_mcp = error.hint().is_some_and(|hint| hint.contains("`cofferdam mcp "));
    if !about_mcp || call.core.configuration.is_none() {
        return error.into();
    }
    let (of_servers, of_profiles) = (has("server"), has("profile"));
    let declared = ask(call, |catalog| catalog.declared()).await;
    let hint = match declared {
        Ok(declared) if of_servers => Some(there_are(declared.servers.keys())),
        Ok(declared) if of_profiles => Some(there_are(declared.profiles.keys())),
        _ if call.core.serves_configuration() => error.hint().map(in_tools),
        _ => error.hint().map(str::to_owned),
    };
    Failure::from(error).with_hint(hint)
}

/// The names that there are, for whoever named one that is not.
fn there_are<'a>(names: impl Iterator<Item = &'a ServerName>) -> String {
    const SHOWN: usize = 50;
    let names: Vec<_> = names.map(ServerName::as_str).collect();
    match names.as_slice() {
        [] => "the operator has declared none; only a person does that, with `cofferdam mcp add`".to_owned(),
        names => {
            let more = if names.len() > SHOWN { ", …" } else { "" };
            let shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
            format!("there are: {shown}{more}")
        }
    }
}

/// Text of a server's or person's choice as one line.
fn line(text: &str) -> String {
    /// What a model needs to choose.
    const WIDTH: usize = 300;
    one_line(text, WIDTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_name_tools_and_what_only_a_person_does() {
        assert_eq!(
            in_tools("publish it again with `cofferdam mcp publish`"),
            "publish it again with publish_config"
        );
        assert_eq!(
            in_tools("see `cofferdam mcp describe git`, or wait"),
            "see describe_server, or wait"
        );
        assert_eq!(in_tools("leave out `oauth`"), "leave out `oauth`");
        for (hint, beginning) in [
            (
                "`cofferdam mcp list` shows the servers, `cofferdam mcp add` declares one",
                "list_available_servers shows the servers, `cofferdam mcp add` declares one; only a person",
            ),
            (
                "look with `cofferdam mcp approve git`",
                "look with `cofferdam mcp approve git`; only",
            ),
            (
                "write enabled = true in servers.toml",
                "write enabled = true in servers.toml; only",
            ),
        ] {
            let told = in_tools(hint);
            assert!(
                told.starts_with(beginning) && told.ends_with("ask the user"),
                "{told}"
            );
        }
    }

    #[test]
    fn names_are_listed_up_to_a_bound() {
        let names: Vec<ServerName> = (0..60)
            .map(|index| format!("s{index}").parse().unwrap())
            .collect();
        let told = there_are(names.iter());
        assert!(told.ends_with("s49, …"), "{told}");
        assert_eq!(there_are(names[..2].iter()), "there are: s0, s1");
        assert!(there_are([].iter()).contains("declared none"));
    }
}
