//! An entry in the file of a person's own MCP client, so that it finds the servers that were published for it.
//!
//! The entry runs `cofferdam mcp serve` with the id of a signed configuration. It holds no secret and names no server: what
//! is behind it is judged each time it is started.

pub mod record;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use mcp_catalog::Digest;
use mcp_frontend::clients::{ClientKind, ServerEntry, client_config, merge};
use mcp_frontend::{Deployed, Deployer, Deployment};
use session_core::error::{Error, ErrorKind, Result};
use session_core::mcp::{ENDPOINT_NAME, ServerName};

use self::record::{Record, Standing};
use crate::args::Program;
use crate::client_file::{self, Change};

const OPERATION: &str = "deploy to the client";

/// Writes entries into the files of clients.
#[derive(Debug, Clone)]
pub struct ClientFiles {
    /// The user's home directory.
    pub home: Option<PathBuf>,
    /// Where the program finds what was published, absolute.
    pub state_dir: PathBuf,
    /// Where it is remembered what was deployed.
    pub storage: PathBuf,
    /// The program that runs; `cofferdam` is beside it.
    pub program: PathBuf,
}

/// What an entry shall be, and where.
#[derive(Debug)]
pub struct Planned {
    /// The client's file, as it was named.
    pub file: PathBuf,
    /// The entry.
    pub entry: ServerEntry,
    /// The client.
    pub kind: ClientKind,
}

impl ClientFiles {
    /// The entry for what was published, and the client's file: `file`, or where the client looks for it.
    ///
    /// # Errors
    /// `HostIo` when the program is missing, `InvalidArgument` when there is no way to know the file or a path is not text.
    pub fn plan(&self, deployment: &Deployment<'_>, file: Option<&Path>) -> Result<Planned> {
        let file = match (file, &self.home) {
            (Some(file), _) => file.to_owned(),
            (None, Some(home)) => deployment.client.file(home),
            (None, None) => {
                return Err(Error::new(
                    ErrorKind::InvalidArgument,
                    OPERATION,
                    "HOME is not set, so it is not known where its file is",
                )
                .with_hint("name the file with --file"));
            }
        };
        let program = beside(&self.program, Program::Cofferdam, OPERATION)?;
        let mut entry = ServerEntry::new(text(&program, OPERATION)?);
        entry.name = entry_name(deployment.profile);
        entry.args = ["--state-dir", &text(&self.state_dir, OPERATION)?, "mcp", "serve"]
            .into_iter()
            .chain(["--profile", deployment.profile.as_str()])
            .chain(["--artifact", deployment.artifact])
            .map(str::to_owned)
            .collect();
        Ok(Planned {
            file,
            entry,
            kind: deployment.client,
        })
    }
}

#[async_trait]
impl Deployer for ClientFiles {
    async fn deploy(&self, deployment: Deployment<'_>) -> Result<Deployed> {
        let planned = self.plan(&deployment, None)?;
        let (storage, profile) = (self.storage.clone(), deployment.profile.clone());
        let artifact = deployment.artifact.to_owned();
        let written = tokio::task::spawn_blocking(move || planned.write(&storage, &profile, &artifact)).await;
        written.map_err(|died| {
            Error::new(ErrorKind::Internal, OPERATION, "the write was cut off").with_source(died)
        })?
    }

    async fn deployed(&self, client: ClientKind, profile: &ServerName) -> Result<Option<Digest>> {
        let (storage, profile) = (self.storage.clone(), profile.clone());
        let id = record::client_id(client)?;
        let looked = tokio::task::spawn_blocking(move || {
            Record::find(&storage, &id, &profile).map(|record| record.standing())
        });
        match looked.await {
            Ok(Some(Standing::Serves(artifact))) => Ok(Some(artifact)),
            Ok(_) => Ok(None),
            Err(died) => Err(
                Error::new(ErrorKind::Internal, OPERATION, "the look at its file was cut off")
                    .with_source(died),
            ),
        }
    }
}

impl Planned {
    /// Merges the entry into the file, where everything else stays, and remembers where that was.
    ///
    /// # Errors
    /// Those of [`client_file::change`] and [`merge`]; `HostIo`.
    pub fn write(self, storage: &Path, profile: &ServerName, artifact: &str) -> Result<Deployed> {
        let (path, change) =
            client_file::change(&self.file, |existing| merge(self.kind, existing, &self.entry))?;
        let record = Record {
            file: path.clone(),
            entry: self.entry.name.clone(),
            artifact: artifact.parse()?,
        };
        record.keep(storage, &record::client_id(self.kind)?, profile)?;
        Ok(Deployed {
            path,
            entry: self.entry.name,
            changed: change != Change::None,
            backup: match change {
                Change::Replaced(backup) => Some(backup),
                Change::None | Change::Created => None,
            },
        })
    }

    /// The entry alone, as it stands in a file of this client.
    pub fn snippet(&self) -> String {
        client_config(self.kind, &self.entry)
    }

    /// What of the entry would be changed, a line each: `-` what is there, `+` what will be. Of what others wrote into the
    /// file nothing is shown; it may be secret.
    pub fn changes(&self) -> Vec<String> {
        let wanted = record::entry(&self.snippet(), &self.entry.name).unwrap_or_default();
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        let there = record::entry(&text, &self.entry.name).unwrap_or_default();
        let mut lines = Vec::new();
        for (name, value) in wanted.as_object().into_iter().flatten() {
            let known = there.get(name);
            if known == Some(value) {
                continue;
            }
            let entry = &self.entry.name;
            lines.extend(known.map(|known| format!("- {entry}.{name}: {known}")));
            lines.push(format!("+ {entry}.{name}: {value}"));
        }
        lines
    }
}

/// As in sessions, so that a rule about `mcp__gw__git__log` means the same in both.
fn entry_name(profile: &ServerName) -> String {
    match profile.as_str() {
        "default" => ENDPOINT_NAME.to_owned(),
        other => format!("{ENDPOINT_NAME}-{other}"),
    }
}

/// A program of ours beside the one that runs: clients have a search path of their own.
///
/// # Errors
/// `HostIo` when it is not there.
pub fn beside(running: &Path, program: Program, operation: &'static str) -> Result<PathBuf> {
    let beside = running.with_file_name(program.name());
    if beside.is_file() {
        return Ok(beside);
    }
    Err(
        Error::new(ErrorKind::HostIo, operation, "the program is not beside this one")
            .with_context("path", beside.display())
            .with_hint("install both: cargo install --path crates/cli"),
    )
}

/// A path as it can stand in a client's file.
///
/// # Errors
/// `InvalidArgument` when it is not UTF-8.
pub fn text(path: &Path, operation: &'static str) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidArgument,
            operation,
            "a path that is not UTF-8 cannot stand in its file",
        )
        .with_context("path", path.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_client_s_file_serves_is_read_from_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("cofferdam");
        std::fs::write(&program, "").unwrap();
        let files = ClientFiles {
            home: Some(dir.path().to_owned()),
            state_dir: dir.path().join("state"),
            storage: dir.path().join("storage"),
            program,
        };
        let profile: ServerName = "default".parse().unwrap();
        let deployed = || files.deployed(ClientKind::Cursor, &profile);
        assert_eq!(deployed().await.unwrap(), None, "nothing was deployed");
        let artifact = Digest::of(&serde_json::json!({"is": "published"}));
        let deployment = Deployment {
            client: ClientKind::Cursor,
            profile: &profile,
            artifact: artifact.as_str(),
        };
        let written = files.deploy(deployment).await.unwrap();
        assert_eq!(deployed().await.unwrap(), Some(artifact));
        std::fs::write(&written.path, "{}").unwrap();
        assert_eq!(deployed().await.unwrap(), None, "somebody took the entry out");
    }
}
