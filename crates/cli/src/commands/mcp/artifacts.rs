//! `mcp verify`, and how what was published is found: by its id, or the start of it.

use mcp_catalog::{Artifact, Catalog, ClientId, Digest, DraftKey, Verified};
use serde::Serialize;
use session_core::error::{Error, ErrorKind, ErrorReport, Result};

use super::McpContext;
use crate::args::mcp::VerifyArgs;
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::printer::Printer;
use crate::{render, sanitize};

const OPERATION: &str = "find what was published";
/// Shorter ones would soon mean another artifact than the user thinks.
const MIN_PREFIX: usize = 6;

/// What came of a check, as a JSON line.
#[derive(Debug, Serialize)]
struct Checked<'a> {
    event: &'static str,
    artifact_id: &'a Digest,
    client_id: &'a ClientId,
    profile_id: &'a str,
    holds: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_key_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    servers: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorReport>,
}

/// Checks one artifact, or what is the last of each profile.
pub(super) fn verify(args: &VerifyArgs, context: &McpContext<'_>, console: &Console) -> Result<ExitStatus> {
    let artifacts = match &args.artifact {
        Some(text) => vec![find(&context.catalog, text)?],
        None => latest_of_all(&context.catalog)?,
    };
    if artifacts.is_empty() {
        console
            .printer
            .note("nothing was published; `cofferdam mcp publish` does it");
    }
    let mut all_hold = true;
    for artifact in &artifacts {
        all_hold &= check(&context.catalog, artifact, &console.printer)?;
    }
    Ok(if all_hold {
        ExitStatus::SUCCESS
    } else {
        ExitStatus::TURN_FAILED
    })
}

fn check(catalog: &Catalog, artifact: &Artifact, printer: &Printer) -> Result<bool> {
    let verified = catalog.verify(artifact);
    let id = &artifact.artifact_id;
    if printer.json() {
        printer.object(&Checked {
            event: "mcp_artifact_verified",
            artifact_id: id,
            client_id: &artifact.client_id,
            profile_id: artifact.profile_id.as_str(),
            holds: verified.is_ok(),
            signing_key_id: verified.as_ref().ok().map(|verified| verified.key_id.as_str()),
            servers: verified.as_ref().ok().map(server_names),
            error: verified.as_ref().err().map(Error::report),
        })?;
        return Ok(verified.is_ok());
    }
    let paint = printer.paint();
    let whose = format!("{id} ({} of {})", artifact.profile_id, artifact.client_id);
    match &verified {
        Ok(verified) => {
            let signed = format!(
                "signed by {}: {}",
                verified.key_id,
                server_names(verified).join(", ")
            );
            printer.line(format_args!(
                "{} {whose}\n       {}",
                paint.green("holds"),
                paint.dim(signed)
            ))?;
        }
        Err(error) => {
            let said = sanitize::one_line(error.message()).into_owned();
            printer.line(format_args!("{} {whose}\n       {said}", paint.red("FAILS")))?;
            if let Some(hint) = error.hint() {
                printer.line(format_args!("       {} {hint}", paint.cyan("→")))?;
            }
        }
    }
    Ok(verified.is_ok())
}

fn server_names(verified: &Verified) -> Vec<&str> {
    verified
        .configuration
        .servers
        .keys()
        .map(session_core::mcp::ServerName::as_str)
        .collect()
}

/// What was published last of each profile for each client.
fn latest_of_all(catalog: &Catalog) -> Result<Vec<Artifact>> {
    let mut found = Vec::new();
    for key in keys(catalog)? {
        found.extend(catalog.latest(&key)?);
    }
    Ok(found)
}

fn keys(catalog: &Catalog) -> Result<Vec<DraftKey>> {
    let mut keys = Vec::new();
    for client in catalog.clients() {
        for summary in catalog.list_profiles(&client)? {
            keys.push(DraftKey {
                client: client.clone(),
                profile: summary.profile,
            });
        }
    }
    Ok(keys)
}

/// The artifact of a whole id, or of the start of one.
///
/// # Errors
/// `NotFound`; `InvalidArgument` when several begin this way, or the text is too short.
pub(crate) fn find(catalog: &Catalog, text: &str) -> Result<Artifact> {
    if let Ok(id) = text.parse::<Digest>() {
        return catalog.artifact(&id);
    }
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    let said = |error: Error| error.with_context("artifact", sanitize::one_line(text));
    if digits.len() < MIN_PREFIX || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(said(
            Error::new(
                ErrorKind::InvalidArgument,
                OPERATION,
                "this is no id of an artifact",
            )
            .with_hint("copy it from `cofferdam mcp publish`, or give at least the first six digits"),
        ));
    }
    let digits = digits.to_ascii_lowercase();
    let mut found: Vec<Artifact> = Vec::new();
    for key in keys(catalog)? {
        for artifact in catalog.artifacts(&key)? {
            let new = !found
                .iter()
                .any(|known| known.artifact_id == artifact.artifact_id);
            if new && artifact.artifact_id.hex().starts_with(&digits) {
                found.push(artifact);
            }
        }
    }
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(_), false) => Err(said(Error::new(
            ErrorKind::InvalidArgument,
            OPERATION,
            "several artifacts begin this way; give more of the id",
        ))),
        (None, _) => Err(said(
            Error::new(ErrorKind::NotFound, OPERATION, "no artifact begins this way")
                .with_hint("`cofferdam mcp clients` shows what was published"),
        )),
    }
}

/// The start of an id, for people.
pub(super) fn short(id: &Digest) -> String {
    render::short_address(id.as_str())
}
