//! What servers said about themselves when they were last asked.
//!
//! So that tools can be listed without starting a server. A manifest belongs to one definition: whoever changes the
//! definition has the server asked again. Losing one costs a start of the server and nothing else, so what cannot be read
//! is removed and counts as not there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use session_core::error::{ErrorKind, Result};
use session_core::mcp::ServerName;

use crate::catalog::{Catalog, lock};
use crate::digest::Digest;
use crate::files::{Dir, PRIVATE_FILE, Stamp};

#[cfg(test)]
mod tests;

const OPERATION: &str = "keep what an MCP server said about itself";
const DIR: &str = "manifests";
const ENDING: &str = ".json";
/// Above what the gateway lets a server say.
const MAX_BYTES: usize = 64 << 20;
/// Definitions of one name at a time: sessions bring servers of their own.
const MAX_OF_SERVER: usize = 8;
/// Digits of a definition's address in the name of a file; the whole address is in the file.
const SHORT: usize = 16;

/// What a server said, as the gateway cleaned it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The server.
    pub server: ServerName,
    /// The definition under which it ran.
    pub definition: Digest,
    /// What it calls itself.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The protocol's revision.
    pub protocol: String,
    /// What it tells the agent about itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// Its capabilities.
    pub capabilities: Value,
    /// Its tools.
    pub tools: Vec<Value>,
    /// Its prompts.
    pub prompts: Vec<Value>,
    /// Its resources.
    pub resources: Vec<Value>,
    /// Its templates of resources.
    pub resource_templates: Vec<Value>,
    /// When it said so.
    pub at: Timestamp,
}

/// Manifests that were read, each with the state of its file.
#[derive(Debug, Default)]
pub(crate) struct ManifestCache(Mutex<HashMap<String, Kept>>);

#[derive(Debug, Clone)]
struct Kept {
    stamp: Stamp,
    settled: bool,
    manifest: Arc<Manifest>,
}

impl Catalog {
    /// What a server said when it ran under this definition; `None` when it was never asked.
    ///
    /// # Errors
    /// `StateDirRefused`, `HostIo`.
    pub fn manifest(&self, server: &ServerName, definition: &Digest) -> Result<Option<Arc<Manifest>>> {
        let name = file_name(server, definition);
        let Some(dir) = self.stored(OPERATION, DIR)? else {
            return Ok(None);
        };
        let Some(stamp) = dir.stamp(&name)? else {
            lock(&self.manifests.0).remove(&name);
            return Ok(None);
        };
        let known = lock(&self.manifests.0).get(&name).cloned();
        let kept = match known {
            Some(kept) if kept.settled && kept.stamp == stamp => kept,
            _ => match self.read_manifest(&dir, &name)? {
                Some(kept) => kept,
                None => return Ok(None),
            },
        };
        let fits = kept.manifest.server == *server && kept.manifest.definition == *definition;
        Ok(fits.then_some(kept.manifest))
    }

    fn read_manifest(&self, dir: &Dir, name: &str) -> Result<Option<Kept>> {
        let read_at = SystemTime::now();
        let read = match dir.read(name, MAX_BYTES) {
            Err(error) if error.kind() == ErrorKind::LimitExceeded => None,
            read => match read? {
                None => return Ok(None),
                Some((bytes, stamp)) => serde_json::from_slice(&bytes)
                    .ok()
                    .map(|manifest| (manifest, stamp)),
            },
        };
        let Some((manifest, stamp)) = read else {
            tracing::warn!(path = %dir.path().join(name).display(), "a manifest is damaged and is asked for again");
            dir.remove(name)?;
            lock(&self.manifests.0).remove(name);
            return Ok(None);
        };
        let kept = Kept {
            stamp,
            settled: stamp.is_settled(read_at),
            manifest: Arc::new(manifest),
        };
        lock(&self.manifests.0).insert(name.to_owned(), kept.clone());
        Ok(Some(kept))
    }

    /// Keeps what a server said, in place of what it said before under the same definition.
    ///
    /// # Errors
    /// `StateDirRefused`, `HostIo`.
    pub fn keep_manifest(&self, manifest: &Manifest) -> Result<()> {
        let dir = self.store(OPERATION, DIR)?;
        let name = file_name(&manifest.server, &manifest.definition);
        let written = crate::digest::canonical(&crate::digest::to_value(manifest));
        dir.replace(&name, &written, PRIVATE_FILE)?;
        forget_oldest(&dir, &manifest.server)
    }

    /// Forgets what a server said under whatever definition; it is asked again.
    ///
    /// # Errors
    /// `StateDirRefused`, `HostIo`.
    pub fn forget_manifest(&self, server: &ServerName) -> Result<()> {
        let Some(dir) = self.stored(OPERATION, DIR)? else {
            return Ok(());
        };
        for stem in of_server(&dir, server)? {
            let name = format!("{stem}{ENDING}");
            dir.remove(&name)?;
            lock(&self.manifests.0).remove(&name);
        }
        Ok(())
    }
}

fn forget_oldest(dir: &Dir, server: &ServerName) -> Result<()> {
    let stems = of_server(dir, server)?;
    if stems.len() <= MAX_OF_SERVER {
        return Ok(());
    }
    let mut dated = Vec::new();
    for stem in stems {
        let name = format!("{stem}{ENDING}");
        if let Some(stamp) = dir.stamp(&name)? {
            dated.push((stamp.modified(), name));
        }
    }
    dated.sort_unstable();
    let excess = dated.len().saturating_sub(MAX_OF_SERVER);
    dated
        .iter()
        .take(excess)
        .try_for_each(|(_, name)| dir.remove(name).map(|_| ()))
}

/// The name of a server has no dot, so that nothing of another server begins this way.
fn of_server(dir: &Dir, server: &ServerName) -> Result<Vec<String>> {
    let mut stems = dir.names(ENDING)?;
    let beginning = format!("{server}.");
    stems.retain(|stem| stem.starts_with(&beginning));
    Ok(stems)
}

fn file_name(server: &ServerName, definition: &Digest) -> String {
    format!("{server}.{}{ENDING}", &definition.hex()[..SHORT])
}
