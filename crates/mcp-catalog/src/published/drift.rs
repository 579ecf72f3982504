//! How what was published differs from what would be published now.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use session_core::error::Result;
use session_core::mcp::ServerName;

use super::id::DraftKey;
use crate::catalog::Catalog;
use crate::declared::Configuration;
use crate::definition::ServerDefinition;
use crate::digest::{Digest, to_value};

/// How it stands, in the words of the interface that exists already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DriftStatus {
    /// What was published last is what would be published now, and what is deployed, if that was asked.
    UpToDate,
    /// The declarations, the profile or the draft changed since it was published.
    Outdated,
    /// What is deployed is neither what was published last nor what would be published now: somebody changed it there, or
    /// it is older than the last publication.
    Diverged,
    /// Nothing was published, or its signature does not hold.
    Unknown,
}

impl DriftStatus {
    /// `up-to-date`, `outdated`, `diverged` or `unknown`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UpToDate => "up-to-date",
            Self::Outdated => "outdated",
            Self::Diverged => "diverged",
            Self::Unknown => "unknown",
        }
    }
}

/// What became of a server since the publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It was not published.
    Added,
    /// It was published and is not there any more.
    Removed,
    /// It is declared in another way.
    Changed,
}

/// One server that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerChange {
    /// The server.
    pub server: ServerName,
    /// How.
    pub kind: ChangeKind,
    /// The keys of its declaration that differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// In one word.
    pub status: DriftStatus,
    /// From what was published to what would be published now. Everything is added when nothing holds.
    pub changes: Vec<ServerChange>,
    /// Whether other tools of the servers are allowed.
    pub tools_changed: bool,
    /// The artifact that was published last and whose signature holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<Digest>,
    /// The content address of the configuration that would be published now.
    pub current: Digest,
    /// Why what was published does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Catalog {
    /// Compares what was published last with what would be published now, and with the content address of the
    /// configuration that is deployed or used, if it is known.
    ///
    /// # Errors
    /// As [`Catalog::validate`].
    pub fn diff(&self, key: &DraftKey, deployed: Option<&Digest>) -> Result<Drift> {
        let current = self.current(key)?;
        let mut reason = None;
        let published = self
            .latest(key)?
            .and_then(|artifact| match self.verify(&artifact) {
                Ok(verified) => Some((artifact.artifact_id, verified)),
                Err(error) => {
                    reason = Some(error.message().to_owned());
                    None
                }
            });
        let digest = current.digest();
        let nothing = Configuration::default();
        let (id, before) = match &published {
            None => (None, &nothing),
            Some((id, verified)) => (Some(id.clone()), &verified.configuration),
        };
        let published_digest = published.as_ref().map(|(_, verified)| &verified.digest);
        Ok(Drift {
            status: status(published_digest, &digest, deployed),
            changes: changes(&before.servers, &current.servers),
            tools_changed: before.tools != current.tools,
            published: id,
            current: digest,
            reason,
        })
    }
}

fn status(published: Option<&Digest>, current: &Digest, deployed: Option<&Digest>) -> DriftStatus {
    match (published, deployed) {
        (None, _) => DriftStatus::Unknown,
        (Some(published), Some(deployed)) if deployed != published && deployed != current => {
            DriftStatus::Diverged
        }
        (Some(published), _) if published == current => DriftStatus::UpToDate,
        (Some(_), _) => DriftStatus::Outdated,
    }
}

type Servers = BTreeMap<ServerName, ServerDefinition>;

/// What has to change for one to become the other.
fn changes(before: &Servers, after: &Servers) -> Vec<ServerChange> {
    let names: BTreeSet<&ServerName> = before.keys().chain(after.keys()).collect();
    let change = |server: &ServerName| {
        let (kind, fields) = match (before.get(server), after.get(server)) {
            (Some(before), Some(after)) if before == after => return None,
            (Some(before), Some(after)) => (ChangeKind::Changed, fields(before, after)),
            (None, _) => (ChangeKind::Added, Vec::new()),
            (_, None) => (ChangeKind::Removed, Vec::new()),
        };
        Some(ServerChange {
            server: server.clone(),
            kind,
            fields,
        })
    };
    names.into_iter().filter_map(change).collect()
}

fn fields(before: &ServerDefinition, after: &ServerDefinition) -> Vec<String> {
    let (before, after) = (to_value(before), to_value(after));
    let keys: BTreeSet<&String> = [&before, &after]
        .into_iter()
        .filter_map(|value| value.as_object())
        .flat_map(|fields| fields.keys())
        .collect();
    keys.into_iter()
        .filter(|key| before.get(key.as_str()) != after.get(key.as_str()))
        .cloned()
        .collect()
}
