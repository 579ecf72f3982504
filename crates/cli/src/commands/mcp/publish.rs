//! `mcp publish`, `mcp diff`, `mcp clients`, `mcp keys`: what is signed, and whether it is what holds.

use std::collections::BTreeMap;

use mcp_catalog::{ChangeKind, ClientId, Digest, DraftKey, Drift, DriftStatus, KeyInfo, ProfileSummary};
use serde::Serialize;
use session_core::error::Result;
use session_core::mcp::ServerName;

use super::{McpContext, artifacts};
use crate::args::mcp::{DiffArgs, KeysInitArgs, PublishArgs};
use crate::console::Console;
use crate::deploying::record::{Record, Standing};
use crate::exit::ExitStatus;
use crate::failure::print_warning;
use crate::printer::Printer;
use crate::render::Table;
use crate::sanitize;

/// What was published, as a JSON line.
#[derive(Debug, Serialize)]
struct Published<'a> {
    event: &'static str,
    artifact_id: &'a Digest,
    client_id: &'a ClientId,
    profile_id: &'a ServerName,
    signing_key_id: &'a str,
}

/// How it stands, as a JSON line.
#[derive(Debug, Serialize)]
struct Compared<'a> {
    event: &'static str,
    client_id: &'a ClientId,
    profile_id: &'a ServerName,
    #[serde(flatten)]
    drift: &'a Drift,
    #[serde(skip_serializing_if = "Option::is_none")]
    deployed: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a std::path::Path>,
}

/// A client, as a JSON line.
#[derive(Debug, Serialize)]
struct Client<'a> {
    event: &'static str,
    client_id: &'a ClientId,
    #[serde(flatten)]
    summary: &'a ProfileSummary,
    #[serde(skip_serializing_if = "Option::is_none")]
    deployed: Option<&'a Record>,
}

/// The key, as a JSON line.
#[derive(Debug, Serialize)]
struct Key<'a> {
    event: &'static str,
    #[serde(flatten)]
    key: &'a KeyInfo,
}

/// Signs and stores; its id goes to standard output.
pub(super) fn publish(args: &PublishArgs, context: &McpContext<'_>, console: &Console) -> Result<ExitStatus> {
    let key = args.of.key();
    let printer = &console.printer;
    let validation = context.catalog.validate(&key)?;
    for problem in validation.problems.iter().filter(|problem| !problem.blocks) {
        print_warning(printer, &problem.message, Some(&problem.hint));
    }
    let artifact = context.catalog.publish(&key, BTreeMap::new())?;
    if printer.json() {
        printer.object(&Published {
            event: "mcp_published",
            artifact_id: &artifact.artifact_id,
            client_id: &artifact.client_id,
            profile_id: &artifact.profile_id,
            signing_key_id: &artifact.signing_key_id,
        })?;
        return Ok(ExitStatus::SUCCESS);
    }
    printer.note(format_args!(
        "published {} for {}, signed by {}",
        key.profile, key.client, artifact.signing_key_id
    ));
    printer.line(&artifact.artifact_id)?;
    Ok(ExitStatus::SUCCESS)
}

/// Compares what is declared with what was published, and with what a client's file says.
pub(super) fn diff(args: &DiffArgs, context: &McpContext<'_>, console: &Console) -> Result<ExitStatus> {
    let key = args.of.key();
    let record = Record::find(&context.places.catalog.storage, &key.client, &key.profile);
    let standing = record.as_ref().map_or(Standing::Never, Record::standing);
    let in_use = configuration_in_use(&standing, context);
    let drift = context
        .catalog
        .diff(&published_for(&key, context)?, in_use.as_ref())?;
    let printer = &console.printer;
    let file = record.as_ref().map(|record| record.file.as_path());
    if printer.json() {
        printer.object(&Compared {
            event: "mcp_diff",
            client_id: &key.client,
            profile_id: &key.profile,
            drift: &drift,
            deployed: deployed_word(&standing),
            file,
        })?;
    } else {
        printer.line(in_words(&drift, printer))?;
        if let (Some(said), Some(file)) = (deployed_sentence(&standing), file) {
            printer.line(format_args!("{}: {said}", file.display()))?;
        }
    }
    Ok(if args.exit_code && drift.status != DriftStatus::UpToDate {
        ExitStatus::TURN_FAILED
    } else {
        ExitStatus::SUCCESS
    })
}

/// One configuration serves sessions and clients: a client without a choice of its own has what sessions have.
pub(super) fn published_for(key: &DraftKey, context: &McpContext<'_>) -> Result<DraftKey> {
    let catalog = &context.catalog;
    if catalog.latest(key)?.is_some() || catalog.draft(key)?.is_some() {
        return Ok(key.clone());
    }
    Ok(DraftKey {
        client: ClientId::sessions(),
        profile: key.profile.clone(),
    })
}

/// The address of the configuration that a client runs; one that nobody published, when it runs something else.
fn configuration_in_use(standing: &Standing, context: &McpContext<'_>) -> Option<Digest> {
    let strange = || Some(Digest::of(&serde_json::Value::Null));
    match standing {
        Standing::Never => None,
        Standing::Gone | Standing::Other => strange(),
        Standing::Serves(id) => {
            let verified = context
                .catalog
                .artifact(id)
                .and_then(|artifact| context.catalog.verify(&artifact));
            verified.map_or_else(|_| strange(), |verified| Some(verified.digest))
        }
    }
}

fn deployed_word(standing: &Standing) -> Option<&str> {
    match standing {
        Standing::Never => None,
        Standing::Gone => Some("gone"),
        Standing::Other => Some("other"),
        Standing::Serves(id) => Some(id.as_str()),
    }
}

fn deployed_sentence(standing: &Standing) -> Option<String> {
    match standing {
        Standing::Never => None,
        Standing::Gone => Some("the entry is gone".to_owned()),
        Standing::Other => Some("the entry was changed: it runs something else".to_owned()),
        Standing::Serves(id) => Some(format!("the entry serves {}", artifacts::short(id))),
    }
}

fn in_words(drift: &Drift, printer: &Printer) -> String {
    let paint = printer.paint();
    let status = drift.status.as_str();
    let mut text = match drift.status {
        DriftStatus::UpToDate => paint.green(status),
        DriftStatus::Outdated => paint.yellow(status),
        DriftStatus::Diverged | DriftStatus::Unknown => paint.red(status),
    };
    match (&drift.published, &drift.reason) {
        (Some(id), _) => text += &format!(": published as {}", artifacts::short(id)),
        (None, Some(reason)) => {
            text += &format!(
                ": what was published does not hold: {}",
                sanitize::one_line(reason)
            );
        }
        (None, None) => text += ": nothing was published",
    }
    for change in &drift.changes {
        let server = &change.server;
        text += &match change.kind {
            ChangeKind::Added => paint.green(format_args!("\n+ {server}")),
            ChangeKind::Removed => paint.red(format_args!("\n- {server}")),
            ChangeKind::Changed => {
                let fields = sanitize::one_line(&change.fields.join(", ")).into_owned();
                paint.yellow(format_args!("\n~ {server}: {fields}"))
            }
        };
    }
    if drift.tools_changed {
        text += &paint.yellow("\n~ which tools are allowed");
    }
    text
}

/// Lists clients with what is published for them and deployed to them.
pub(super) fn clients(context: &McpContext<'_>, console: &Console) -> Result<ExitStatus> {
    let printer = &console.printer;
    let mut table = Table::new(&["CLIENT", "PROFILE", "DRAFT", "PUBLISHED", "DEPLOYED"]);
    for client in context.catalog.clients() {
        for summary in context.catalog.list_profiles(&client)? {
            let deployed = Record::find(&context.places.catalog.storage, &client, &summary.profile);
            if printer.json() {
                printer.object(&Client {
                    event: "mcp_client",
                    client_id: &client,
                    summary: &summary,
                    deployed: deployed.as_ref(),
                })?;
            }
            let none = || "-".to_owned();
            table.row(vec![
                client.to_string(),
                summary.profile.to_string(),
                if summary.draft { "yes".to_owned() } else { none() },
                summary.published.as_ref().map_or_else(none, artifacts::short),
                deployed
                    .as_ref()
                    .map_or_else(none, |deployed| artifacts::short(&deployed.artifact)),
            ]);
        }
    }
    if !printer.json() {
        printer.line(table.render(printer.paint()))?;
    }
    Ok(ExitStatus::SUCCESS)
}

/// Makes the key that signs.
pub(super) fn init_keys(
    args: &KeysInitArgs,
    context: &McpContext<'_>,
    console: &Console,
) -> Result<ExitStatus> {
    let key = context.catalog.initialize_keys(args.renew)?;
    let printer = &console.printer;
    if printer.json() {
        printer.object(&Key {
            event: "mcp_key",
            key: &key,
        })?;
        return Ok(ExitStatus::SUCCESS);
    }
    printer.note(if key.is_new {
        "made the key that signs; keep its directory"
    } else {
        "there is a key already"
    });
    printer.line(&key.key_id)?;
    Ok(ExitStatus::SUCCESS)
}
