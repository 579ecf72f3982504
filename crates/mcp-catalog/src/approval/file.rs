//! The approvals of a server in a file of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use session_core::error::{Error, ErrorKind, Result};
use session_core::mcp::ServerName;

use super::change::{face, tool_digest};
use crate::catalog::{Catalog, lock};
use crate::digest::{Digest, canonical, to_value};
use crate::files::{Dir, PRIVATE_FILE, Refusal, Stamp, refused};

pub(super) const OPERATION: &str = "judge the tools of an MCP server";
const DIR: &str = "approvals";
const ENDING: &str = ".json";
/// Counts the changes of all servers. Each has a lock of its own: one that changes all the time holds up no other.
const COUNT: &str = ".lock";
const MAX_BYTES: usize = 64 << 20;
/// More than a server may show. Above it, tools that were never approved and are not shown any more are forgotten.
const MAX_KNOWN: usize = 2000;

/// What is known of a server's tools. `Default`: it was never seen.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Approvals {
    /// Whether it has shown tools before.
    pub(super) seen: bool,
    pub(super) tools: BTreeMap<String, Known>,
}

/// One tool.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Known {
    /// What may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) approved: Option<Version>,
    /// What was shown last instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pending: Option<Version>,
}

/// A tool as it was shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub(super) struct Version {
    pub(super) tool: Value,
    /// Of `tool`; never read from the file.
    #[serde(skip)]
    pub(super) digest: Digest,
}

impl Version {
    pub(super) fn of(tool: &Value) -> Self {
        Self {
            tool: Value::Object(face(tool)),
            digest: tool_digest(tool),
        }
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|tool| Self::of(&tool))
    }
}

impl Known {
    pub(super) fn approved(version: Version) -> Self {
        Self {
            approved: Some(version),
            pending: None,
        }
    }

    pub(super) fn held(approved: Option<Version>, pending: Version) -> Self {
        Self {
            approved,
            pending: Some(pending),
        }
    }
}

impl Approvals {
    /// A server that shows other names each time does not fill the disk.
    pub(super) fn prune(&mut self, shown: &BTreeSet<&str>) {
        if self.tools.len() > MAX_KNOWN {
            self.tools
                .retain(|name, known| known.approved.is_some() || shown.contains(name.as_str()));
        }
    }
}

/// Approvals that were read, each with the state of its file.
#[derive(Debug, Default)]
pub(crate) struct ApprovalCache(Mutex<HashMap<ServerName, Kept>>);

#[derive(Debug, Clone)]
struct Kept {
    stamp: Stamp,
    settled: bool,
    approvals: Arc<Approvals>,
}

impl Catalog {
    pub(super) fn approvals_of(&self, server: &ServerName) -> Result<Arc<Approvals>> {
        match self.stored(OPERATION, DIR)? {
            None => Ok(Arc::default()),
            Some(dir) => self.read_approvals(&dir, server),
        }
    }

    fn read_approvals(&self, dir: &Dir, server: &ServerName) -> Result<Arc<Approvals>> {
        let name = format!("{server}{ENDING}");
        let Some(stamp) = dir.stamp(&name)? else {
            return Ok(Arc::default());
        };
        let known = lock(&self.approvals.0).get(server).cloned();
        if let Some(kept) = known
            && kept.settled
            && kept.stamp == stamp
        {
            return Ok(kept.approvals);
        }
        let read_at = SystemTime::now();
        let Some((bytes, stamp)) = dir.read(&name, MAX_BYTES)? else {
            return Ok(Arc::default());
        };
        // Never taken for a first sight: that would approve whatever the server shows now.
        let approvals: Arc<Approvals> = serde_json::from_slice(&bytes)
            .map(Arc::new)
            .map_err(|_| refused(OPERATION, &dir.path().join(&name), Refusal::Damaged))?;
        let kept = Kept {
            stamp,
            settled: stamp.is_settled(read_at),
            approvals: Arc::clone(&approvals),
        };
        lock(&self.approvals.0).insert(server.clone(), kept);
        Ok(approvals)
    }

    /// Changes the approvals of a server while nobody else does. `change` says whether it changed anything.
    pub(super) fn change_approvals<T>(
        &self,
        server: &ServerName,
        change: impl FnOnce(&mut Approvals) -> Result<(T, bool)>,
    ) -> Result<T> {
        let dir = self.store(OPERATION, DIR)?;
        let _guard = dir.lock(&format!(".{server}.lock"))?;
        let mut approvals = (*self.read_approvals(&dir, server)?).clone();
        let (outcome, changed) = change(&mut approvals)?;
        if changed {
            let written = canonical(&to_value(&approvals));
            if written.len() > MAX_BYTES {
                return Err(too_much(server));
            }
            dir.replace(&format!("{server}{ENDING}"), &written, PRIVATE_FILE)?;
            match dir.lock(COUNT) {
                Ok(count) => count.count_change(),
                // It is kept all the same, and seen at the next change.
                Err(error) => tracing::warn!(%server, %error, "a change of approvals could not be counted"),
            }
        }
        Ok(outcome)
    }

    pub(super) fn count_approvals(&self) -> Result<u64> {
        self.stored(OPERATION, DIR)?
            .map_or(Ok(0), |dir| dir.changes(COUNT))
    }
}

fn too_much(server: &ServerName) -> Error {
    Error::new(
        ErrorKind::LimitExceeded,
        OPERATION,
        "the server shows too much to keep",
    )
    .with_context("server", server)
    .with_context("limit", MAX_BYTES)
    .with_hint("name the tools that are needed in `tools.allow` of its declaration")
}
