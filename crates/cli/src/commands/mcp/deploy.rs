//! `mcp deploy`: an entry in a client's file that serves what was published.

use std::path::Path;

use mcp_catalog::{Artifact, DraftKey};
use mcp_frontend::{Deployed, Deployment};
use serde::Serialize;
use session_core::error::{Error, ErrorKind, Result};

use super::{McpContext, publish, secrets};
use crate::args::mcp::DeployArgs;
use crate::console::Console;
use crate::deploying::record::client_id;
use crate::deploying::{ClientFiles, Planned};
use crate::exit::ExitStatus;
use crate::sanitize;

const OPERATION: &str = "deploy to the client";

/// What became of the client's file, for `--json`.
#[derive(Debug, Serialize)]
struct Told<'a> {
    event: &'static str,
    client: &'static str,
    artifact_id: &'a str,
    file: &'a Path,
    entry: &'a str,
    changed: bool,
    dry_run: bool,
    changes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<&'a Path>,
    /// What the client has to have in its environment.
    variables: &'a [String],
}

/// Writes the entry, and remembers where.
pub(super) fn deploy(args: &DeployArgs, context: &McpContext<'_>, console: &Console) -> Result<ExitStatus> {
    let kind = args.client.kind();
    let key = DraftKey {
        client: client_id(kind)?,
        profile: args.profile.clone(),
    };
    let artifact = published(&key, context)?;
    let verified = context.catalog.verify(&artifact)?;
    let variables = secrets::variables(verified.configuration.servers.values());
    let files = ClientFiles {
        home: context.places.home.clone(),
        state_dir: context.places.state_dir.clone(),
        storage: context.places.catalog.storage.clone(),
        program: console.program.clone(),
    };
    let deployment = Deployment {
        client: kind,
        profile: &args.profile,
        artifact: artifact.artifact_id.as_str(),
    };
    let file = args.file.as_ref().map(|file| context.current_dir.join(file));
    let planned = files.plan(&deployment, file.as_deref())?;
    let changes = planned.changes();
    let deployed = if args.dry_run {
        would_be(&planned, !changes.is_empty())
    } else {
        let storage = &context.places.catalog.storage;
        planned.write(storage, &args.profile, artifact.artifact_id.as_str())?
    };
    tell(
        &Told {
            event: "mcp_deployed",
            client: kind.name(),
            artifact_id: artifact.artifact_id.as_str(),
            file: &deployed.path,
            entry: &deployed.entry,
            changed: deployed.changed,
            dry_run: args.dry_run,
            changes: &changes,
            backup: deployed.backup.as_deref(),
            variables: &variables,
        },
        console,
    )
}

fn published(key: &DraftKey, context: &McpContext<'_>) -> Result<Artifact> {
    let from = publish::published_for(key, context)?;
    context.catalog.latest(&from)?.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, OPERATION, "nothing was published")
            .with_context("profile", &key.profile)
            .with_hint(format!(
                "`cofferdam mcp publish --profile {}` does it",
                key.profile
            ))
    })
}

fn would_be(planned: &Planned, changed: bool) -> Deployed {
    Deployed {
        path: planned.file.clone(),
        entry: planned.entry.name.clone(),
        changed,
        backup: None,
    }
}

fn tell(told: &Told<'_>, console: &Console) -> Result<ExitStatus> {
    let printer = &console.printer;
    if printer.json() {
        printer.object(told)?;
        return Ok(ExitStatus::SUCCESS);
    }
    let paint = printer.paint();
    let file = told.file.display();
    printer.note(match (told.changed, told.dry_run) {
        (false, _) => format!("already there: {file}"),
        (true, true) => format!("would be changed: {file}"),
        (true, false) => format!("written: {file}"),
    });
    for line in told.changes {
        let line = sanitize::one_line(line);
        printer.line(if line.starts_with('-') {
            paint.red(line)
        } else {
            paint.green(line)
        })?;
    }
    if let Some(backup) = told.backup {
        printer.note(format_args!("what it was: {}", backup.display()));
    }
    if told.changed && !told.dry_run {
        printer.note("restart the client");
    }
    if !told.variables.is_empty() {
        printer.note(format_args!(
            "the servers need these variables where the client runs: {}",
            told.variables.join(", ")
        ));
    }
    Ok(ExitStatus::SUCCESS)
}
