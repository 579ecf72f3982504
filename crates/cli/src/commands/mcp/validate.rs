//! `mcp validate`: whether declared servers could be started, without starting any.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use mcp_catalog::{Declared, ServerDefinition, Transport};
use session_core::error::{Error, ErrorKind, Result};
use session_core::mcp::ServerName;

use super::{McpContext, secrets};
use crate::args::mcp::ValidateArgs;
use crate::checks::{Check, Conclusions, Report};
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::render;

/// Checks one server, or all.
pub(super) async fn validate(
    args: &ValidateArgs,
    context: &McpContext<'_>,
    console: &Console,
) -> Result<ExitStatus> {
    let declared = context.catalog.declared()?;
    let mut report = Report::new(&console.printer);
    match &args.name {
        Some(name) => {
            let definition = super::declared_server(&declared, name)?;
            server(name, definition, context, &mut report).await?;
        }
        None => all(&declared, context, &mut report).await?,
    }
    Ok(report.conclude(&Conclusions {
        ok: "all is well; `cofferdam mcp test NAME` starts a server",
        warn: "they can be started, with the limitations above",
        fail: "what is marked FAIL cannot be started",
    }))
}

async fn all(declared: &Declared, context: &McpContext<'_>, report: &mut Report<'_>) -> Result<()> {
    if declared.servers.is_empty() {
        return report.add(Check::ok("servers", "no server is declared"));
    }
    for (name, definition) in &declared.servers {
        server(name, definition, context, report).await?;
    }
    Ok(())
}

async fn server(
    name: &ServerName,
    definition: &ServerDefinition,
    context: &McpContext<'_>,
    report: &mut Report<'_>,
) -> Result<()> {
    for check in checks(name, definition, context).await {
        report.add(check)?;
    }
    Ok(())
}

/// What is wrong with a server, each on its own; one line that all is well otherwise.
pub(crate) async fn checks(
    name: &ServerName,
    definition: &ServerDefinition,
    context: &McpContext<'_>,
) -> Vec<Check> {
    let mut checks = Vec::new();
    let failed = |message: String, remedy: &'static str| {
        let error = Error::new(ErrorKind::InvalidArgument, "start it", message).with_hint(remedy);
        Check::failed(name.as_str(), &error)
    };
    if let Some((message, remedy)) = missing(&definition.transport, context) {
        checks.push(failed(message, remedy));
    }
    for (field, reference) in secrets::references(definition) {
        if let Some((why, remedy)) = secrets::unreadable(reference, context.places.secrets.as_ref()).await {
            checks.push(failed(format!("{field}: {why}"), remedy));
        }
    }
    checks.extend(limitations(name, definition, context).await);
    if checks.is_empty() {
        checks.push(Check::ok(name.as_str(), super::list::place(definition)));
    }
    checks
}

/// What keeps a server, or some of its tools, from sessions until a person does something.
async fn limitations(
    name: &ServerName,
    definition: &ServerDefinition,
    context: &McpContext<'_>,
) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut warn = |message: String, remedy: &str| {
        checks.push(Check::warn(name.as_str(), message, Some(remedy)));
    };
    if !definition.enabled {
        warn(
            "it is switched off".to_owned(),
            "write enabled = true in servers.toml",
        );
    }
    let wants_login = matches!(&definition.transport, Transport::Http { oauth: Some(_), .. });
    if wants_login && !context.connector().has_login(name).await {
        warn(
            "nobody has logged in at it".to_owned(),
            &format!("cofferdam mcp login {name}"),
        );
    }
    match context.catalog.pending(name) {
        Ok(held) if held.is_empty() => {}
        Ok(held) => warn(
            format!("{} held until approved", render::count(held.len() as u64, "tool")),
            &format!("cofferdam mcp approve {name}"),
        ),
        Err(error) => checks.push(Check::failed(name.as_str(), &error)),
    }
    checks
}

/// What a transport needs and is not there.
fn missing(transport: &Transport, context: &McpContext<'_>) -> Option<(String, &'static str)> {
    match transport {
        Transport::Stdio { command, cwd, .. } => {
            let path = context.places.host_environment.get("PATH").map(String::as_str);
            if find_program(command, path).is_none() {
                return Some((
                    format!("there is no program {command}"),
                    "install it, or declare it with its whole path",
                ));
            }
            let gone = cwd.as_deref().filter(|cwd| !cwd.is_dir())?;
            Some((
                format!("there is no directory {}", gone.display()),
                "make it, or declare another cwd",
            ))
        }
        Transport::Container { mounts, .. } => {
            let gone = mounts.iter().find(|mount| !mount.source.exists())?;
            Some((
                format!("there is nothing at {} to be mounted", gone.source.display()),
                "make it, or take the mount away",
            ))
        }
        Transport::Session { .. } | Transport::Http { .. } => None,
    }
}

/// A program as the system would find it.
fn find_program(command: &str, path: Option<&str>) -> Option<PathBuf> {
    let executable = |path: &Path| {
        std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    if command.contains('/') {
        return Some(PathBuf::from(command)).filter(|path| executable(path));
    }
    std::env::split_paths(path?)
        .map(|folder| folder.join(command))
        .find(|candidate| executable(candidate))
}
