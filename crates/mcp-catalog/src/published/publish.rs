//! Publishing, and which publication of a profile is the last.
//!
//! An artifact is stored once under its content. Whoever goes back to an earlier content publishes the same artifact
//! again; so the order of publications is kept beside, per client and profile:
//!
//! ```text
//! <storage>/artifacts/<sha256>.json       each content, signed, once
//! <storage>/publications/<client>.<profile>.json    their order
//! ```

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use session_core::error::{Error, ErrorKind, Result};
use session_core::policy::limits::looks_secret;

use super::artifact::{Artifact, DIR, ENDING, MAX_BYTES, Verified, payload_of};
use super::id::{ClientId, DraftKey};
use crate::catalog::Catalog;
use crate::digest::{Digest, canonical, to_value};
use crate::files::{Dir, PRIVATE_FILE, Refusal, refused};

const OPERATION: &str = "publish a configuration of MCP servers";
const ORDER_DIR: &str = "publications";
const LOCK: &str = ".lock";
const MAX_METADATA: usize = 64 << 10;
/// Publications of a profile whose order is kept; the artifacts stay.
const MAX_ORDER: usize = 1000;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    /// From the first to the last.
    publications: Vec<Publication>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Publication {
    artifact_id: Digest,
    at: Timestamp,
}

impl Catalog {
    /// Signs and stores what the draft, or else the profile, says now. The same content again is the same artifact, with
    /// what was said about it first. Makes the key when there is none.
    ///
    /// # Errors
    /// `InvalidArgument` for a problem that stands in the way, see [`Catalog::validate`], and for metadata that is too
    /// long or holds a secret; `NotFound` for a profile that nobody declared or drafted; `StateDirRefused`, `HostIo`,
    /// `Busy`.
    pub fn publish(&self, key: &DraftKey, metadata: BTreeMap<String, Value>) -> Result<Artifact> {
        check_metadata(&metadata)?;
        let configuration = self.publishable(key)?;
        let signer = self.signer(false)?;
        let artifacts = self.store(OPERATION, DIR)?;
        let order = self.store(OPERATION, ORDER_DIR)?;
        let _guard = order.lock(LOCK)?;
        let id = Digest::of(&payload_of(key, &configuration));
        // One whose signature does not hold any more, because its key was taken away, is signed again.
        let known = self
            .stored_artifact(&id)?
            .filter(|known| self.verify(known).is_ok());
        let artifact = match known {
            Some(known) => (*known).clone(),
            None => {
                let artifact = Artifact::sign(key, &configuration, metadata, &signer);
                self.put_artifact(&artifacts, &artifact)?;
                artifact
            }
        };
        append(&order, key, &artifact.artifact_id)?;
        Ok(artifact)
    }

    fn put_artifact(&self, dir: &Dir, artifact: &Artifact) -> Result<()> {
        let name = format!("{}{ENDING}", artifact.artifact_id.hex());
        let written = canonical(&to_value(artifact));
        if written.len() > MAX_BYTES {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                OPERATION,
                "the configuration is too long",
            )
            .with_context("limit", MAX_BYTES)
            .with_hint("spread the servers over several profiles"));
        }
        if !dir.create_once(&name, &written)? {
            dir.replace(&name, &written, PRIVATE_FILE)?;
        }
        self.forget_artifact(&artifact.artifact_id);
        Ok(())
    }

    /// What was published of a profile, from the last to the first, each content once.
    ///
    /// # Errors
    /// `StateDirRefused`, `HostIo`.
    pub fn artifacts(&self, key: &DraftKey) -> Result<Vec<Artifact>> {
        let mut found: Vec<Artifact> = Vec::new();
        for publication in self.order(key)?.publications.iter().rev() {
            if found
                .iter()
                .any(|known| known.artifact_id == publication.artifact_id)
            {
                continue;
            }
            if let Some(artifact) = self.stored_artifact(&publication.artifact_id)? {
                found.push((*artifact).clone());
            }
        }
        Ok(found)
    }

    /// What was published of a profile last, as it is stored; see [`Self::verify`].
    ///
    /// # Errors
    /// `StateDirRefused`, `HostIo`.
    pub fn latest(&self, key: &DraftKey) -> Result<Option<Artifact>> {
        let Some(id) = self.latest_id(key)? else {
            return Ok(None);
        };
        Ok(self.stored_artifact(&id)?.map(|artifact| (*artifact).clone()))
    }

    /// The publication whose configuration has this address and whose signature holds: the last one for sessions, or else
    /// for any other client.
    ///
    /// # Errors
    /// `StateDirRefused`, `HostIo`.
    pub fn published_as(&self, configuration: &Digest) -> Result<Option<(Artifact, Verified)>> {
        let mut keys: Vec<DraftKey> = self
            .published_stems()?
            .iter()
            .filter_map(|stem| DraftKey::from_stem(stem))
            .collect();
        keys.sort_by_key(|key| key.client != ClientId::sessions());
        for key in &keys {
            if let Some(artifact) = self.latest(key)?
                && let Ok(verified) = self.verify(&artifact)
                && verified.digest == *configuration
            {
                return Ok(Some((artifact, verified)));
            }
        }
        Ok(None)
    }

    pub(super) fn latest_id(&self, key: &DraftKey) -> Result<Option<Digest>> {
        Ok(self
            .order(key)?
            .publications
            .pop()
            .map(|publication| publication.artifact_id))
    }

    /// The names of the files in which the orders are kept.
    pub(super) fn published_stems(&self) -> Result<Vec<String>> {
        self.stored(OPERATION, ORDER_DIR)?
            .map_or(Ok(Vec::new()), |dir| dir.names(ENDING))
    }

    fn order(&self, key: &DraftKey) -> Result<Order> {
        self.stored(OPERATION, ORDER_DIR)?
            .map_or(Ok(Order::default()), |dir| read_order(&dir, key))
    }
}

fn read_order(dir: &Dir, key: &DraftKey) -> Result<Order> {
    let name = format!("{}{ENDING}", key.stem());
    match dir.read(&name, MAX_BYTES)? {
        None => Ok(Order::default()),
        Some((bytes, _)) => serde_json::from_slice(&bytes)
            .map_err(|_| refused(OPERATION, &dir.path().join(&name), Refusal::Damaged)),
    }
}

fn append(dir: &Dir, key: &DraftKey, artifact: &Digest) -> Result<()> {
    let mut order = read_order(dir, key)?;
    if order
        .publications
        .last()
        .is_some_and(|last| last.artifact_id == *artifact)
    {
        return Ok(());
    }
    order.publications.push(Publication {
        artifact_id: artifact.clone(),
        at: Timestamp::now(),
    });
    let excess = order.publications.len().saturating_sub(MAX_ORDER);
    order.publications.drain(..excess);
    dir.replace(
        &format!("{}{ENDING}", key.stem()),
        &canonical(&to_value(&order)),
        PRIVATE_FILE,
    )
}

fn check_metadata(metadata: &BTreeMap<String, Value>) -> Result<()> {
    let refuse = |message: &'static str| Error::new(ErrorKind::InvalidArgument, OPERATION, message);
    let value = to_value(metadata);
    if canonical(&value).len() > MAX_METADATA {
        return Err(refuse("the metadata is too long")
            .with_context("limit", MAX_METADATA)
            .with_hint("keep to what helps to find the publication again"));
    }
    if holds_secret(&value) {
        return Err(
            refuse("the metadata holds a secret").with_hint("what is published is for everybody to read")
        );
    }
    Ok(())
}

fn holds_secret(value: &Value) -> bool {
    match value {
        Value::String(text) => looks_secret(text),
        Value::Array(items) => items.iter().any(holds_secret),
        Value::Object(fields) => fields.values().any(holds_secret),
        _ => false,
    }
}
