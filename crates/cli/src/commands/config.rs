//! `config`: tells an MCP client about the server, as a snippet or by merging it into the client's file.

use std::path::{Path, PathBuf};

use mcp_frontend::clients::{ServerEntry, client_config, merge};
use serde::Serialize;
use session_core::error::{Error, ErrorKind, Result};

use crate::args::{ConfigArgs, Program};
use crate::client_file::{self, Change};
use crate::console::Console;
use crate::deploying::{beside, text};
use crate::exit::ExitStatus;
use crate::printer::Printer;

const OPERATION: &str = "configure the client";

/// Where this host keeps what the command needs.
#[derive(Debug)]
pub struct ConfigSettings {
    /// The user's home directory.
    pub home: Option<PathBuf>,
    /// `--state-dir`, absolute: the server shall find the same sessions.
    pub state_dir: Option<PathBuf>,
}

/// What became of the client's file, for `--json`.
#[derive(Debug, Serialize)]
struct Written<'a> {
    client: &'static str,
    file: &'a Path,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<&'a Path>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    AlreadyThere,
    Created,
    Merged,
}

/// Prints the snippet for a client, or merges it into the client's file.
///
/// # Errors
/// `HostIo` when the server's program is missing or a file cannot be used, `InvalidArgument` for a file that is not
/// understood, `Busy` when the client writes it at the same time.
pub fn config(args: &ConfigArgs, settings: &ConfigSettings, console: &Console) -> Result<ExitStatus> {
    let server = server(settings, &console.program)?;
    let kind = args.client.kind();
    if !args.write {
        console.printer.bytes(client_config(kind, &server).as_bytes())?;
        return Ok(ExitStatus::SUCCESS);
    }
    let file = match (&args.file, &settings.home) {
        (Some(file), _) => file.clone(),
        (None, Some(home)) => kind.file(home),
        (None, None) => {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                OPERATION,
                "HOME is not set, so it is not known where its file is",
            )
            .with_hint("name the file with --file"));
        }
    };
    let (place, change) = client_file::change(&file, |text| merge(kind, text, &server))?;
    let (status, backup) = match &change {
        Change::None => (Status::AlreadyThere, None),
        Change::Created => (Status::Created, None),
        Change::Replaced(backup) => (Status::Merged, Some(backup.as_path())),
    };
    let written = Written {
        client: kind.name(),
        file: &place,
        status,
        backup,
    };
    tell(&written, &console.printer)?;
    Ok(ExitStatus::SUCCESS)
}

fn tell(written: &Written<'_>, printer: &Printer) -> Result<()> {
    if printer.json() {
        return printer.object(written);
    }
    let file = written.file.display();
    match written.status {
        Status::AlreadyThere => printer.note(format_args!("already there: {file}")),
        Status::Created => printer.note(format_args!("written: {file}")),
        Status::Merged => printer.note(format_args!("merged into {file}")),
    }
    if let Some(backup) = written.backup {
        printer.note(format_args!("what it was: {}", backup.display()));
    }
    if !matches!(written.status, Status::AlreadyThere) {
        printer.note("restart the client; it needs ANTHROPIC_API_KEY in its environment, for no secret is written into files");
    }
    Ok(())
}

/// The server as a client starts it: by its absolute path, because clients have a search path of their own.
fn server(settings: &ConfigSettings, program: &Path) -> Result<ServerEntry> {
    let beside = beside(program, Program::CofferdamMcp, OPERATION)?;
    let mut server = ServerEntry::new(text(&beside, OPERATION)?);
    if let Some(dir) = &settings.state_dir {
        server.args = vec!["--state-dir".to_owned(), text(dir, OPERATION)?];
    }
    Ok(server)
}
