//! What was deployed where, and what stands there now.
//!
//! The record only says where to look. What a client runs is what its file says, and people edit such files.

use std::fs::{self, DirBuilder};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::CstRootNode;
use mcp_catalog::{ClientId, Digest};
use mcp_frontend::clients::ClientKind;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use session_core::error::{Error, ErrorKind, Result};
use session_core::mcp::ServerName;

use crate::durable::sync_entry;

const OPERATION: &str = "remember what was deployed";
/// No client's file is larger.
const MAX_BYTES: u64 = 32 << 20;

/// Where something was deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The client's file.
    pub file: PathBuf,
    /// The name of the entry.
    pub entry: String,
    /// What it serves.
    pub artifact: Digest,
}

/// What stands in a client's file now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nothing was deployed.
    Never,
    /// The entry is gone.
    Gone,
    /// The entry runs something else.
    Other,
    /// The entry serves this artifact.
    Serves(Digest),
}

/// The name of a client as it is published for.
pub fn client_id(kind: ClientKind) -> Result<ClientId> {
    kind.name().parse()
}

impl Record {
    /// Remembers it, in place of what was deployed to this client before.
    ///
    /// # Errors
    /// `HostIo`.
    pub fn keep(&self, storage: &Path, client: &ClientId, profile: &ServerName) -> Result<()> {
        let place = place(storage, client, profile);
        let write = || -> io::Result<()> {
            let folder = place.parent().unwrap_or(storage);
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            // For its owner alone, and whole or not at all.
            let mut written = tempfile::NamedTempFile::new_in(folder)?;
            written.write_all(&serde_json::to_vec(self).map_err(io::Error::other)?)?;
            written.as_file().sync_all()?;
            written.persist(&place).map_err(|error| error.error)?;
            sync_entry(&place)
        };
        write().map_err(|source| {
            Error::new(ErrorKind::HostIo, OPERATION, "it cannot be written")
                .with_context("file", place.display())
                .with_source(source)
        })
    }

    /// What was deployed to this client; `None` when nothing was, or nobody can tell any more.
    pub fn find(storage: &Path, client: &ClientId, profile: &ServerName) -> Option<Self> {
        let bytes = fs::read(place(storage, client, profile)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// What stands there now.
    pub fn standing(&self) -> Standing {
        let small = fs::metadata(&self.file).is_ok_and(|file| file.is_file() && file.len() <= MAX_BYTES);
        let text = small.then(|| fs::read_to_string(&self.file).ok()).flatten();
        let Some(entry) = text.and_then(|text| entry(&text, &self.entry)) else {
            return Standing::Gone;
        };
        match served(&entry) {
            Some(artifact) => Standing::Serves(artifact),
            None => Standing::Other,
        }
    }
}

fn place(storage: &Path, client: &ClientId, profile: &ServerName) -> PathBuf {
    storage
        .join("deployments")
        .join(format!("{client}.{profile}.json"))
}

/// An entry of a client's file, which may hold comments.
pub(super) fn entry(text: &str, name: &str) -> Option<Value> {
    let root = CstRootNode::parse(text, &ParseOptions::default()).ok()?;
    let servers = root.object_value()?.get("mcpServers")?.object_value()?;
    let entry = servers.get(name)?.value()?.to_string();
    // One with comments in it is one that somebody edited.
    Some(serde_json::from_str(&entry).unwrap_or(Value::Null))
}

/// The artifact that an entry of ours serves.
fn served(entry: &Value) -> Option<Digest> {
    let args = entry.get("args")?.as_array()?;
    let words: Vec<&str> = args.iter().filter_map(Value::as_str).collect();
    let at = |word| words.iter().position(|other| *other == word);
    let serves = words.get(at("mcp")? + 1) == Some(&"serve");
    let artifact = words.get(at("--artifact")? + 1)?;
    serves.then(|| artifact.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_there_is_what_counts() {
        let dir = tempfile::tempdir().unwrap();
        let artifact: Digest = Digest::of(&Value::from(1));
        let record = Record {
            file: dir.path().join("c.json"),
            entry: "gw".to_owned(),
            artifact: artifact.clone(),
        };
        let (client, profile) = ("cursor".parse().unwrap(), "default".parse().unwrap());
        record.keep(dir.path(), &client, &profile).unwrap();
        assert_eq!(Record::find(dir.path(), &client, &profile), Some(record.clone()));
        assert_eq!(Record::find(dir.path(), &client, &"other".parse().unwrap()), None);

        assert_eq!(record.standing(), Standing::Gone);
        let with = |args: &str| {
            let text = format!(
                "{{ // mine\n \"mcpServers\": {{\"gw\": {{\"command\": \"x\", \"args\": {args}}}}}}}"
            );
            fs::write(&record.file, text).unwrap();
            record.standing()
        };
        assert_eq!(
            with(&format!(r#"["mcp", "serve", "--artifact", "{artifact}"]"#)),
            Standing::Serves(artifact)
        );
        assert_eq!(with(r#"["mcp", "serve"]"#), Standing::Other);
        assert_eq!(with(r#"["--artifact"]"#), Standing::Other);
        assert_eq!(with("1 /* ? */"), Standing::Other);
    }
}
