//! Drafts: which declared servers a client shall have.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use session_core::error::{Error, ErrorKind, Result};
use session_core::mcp::ServerName;

use super::id::{ClientId, DraftKey};
use crate::catalog::Catalog;
use crate::declared::Declared;
use crate::digest::{Digest, canonical, to_value};
use crate::files::{Dir, PRIVATE_FILE, Refusal, refused};

const OPERATION: &str = "draft a configuration of MCP servers";
const DIR: &str = "drafts";
const ENDING: &str = ".json";
const LOCK: &str = ".lock";
const MAX_BYTES: usize = 1 << 20;

/// A choice of servers that is not published yet, or was and can be changed again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// For whom.
    pub key: DraftKey,
    /// The servers, in the order in which they were added.
    pub servers: Vec<ServerName>,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// What there is of a profile for a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProfileSummary {
    /// Its name.
    pub profile: ServerName,
    /// Whether it stands in `servers.toml`.
    pub declared: bool,
    /// Whether the client has a choice of its own.
    pub draft: bool,
    /// What was published last for the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<Digest>,
}

impl Catalog {
    /// The clients that are known.
    pub fn clients(&self) -> Vec<ClientId> {
        ClientId::known()
    }

    /// The profiles that are declared, drafted or published for a client, by name.
    ///
    /// # Errors
    /// As [`Catalog::declared`]; `StateDirRefused`, `HostIo`.
    pub fn list_profiles(&self, client: &ClientId) -> Result<Vec<ProfileSummary>> {
        let declared = self.declared()?;
        let drafts = match self.stored(OPERATION, DIR)? {
            None => BTreeSet::new(),
            Some(dir) => of_client(client, dir.names(ENDING)?),
        };
        let published = of_client(client, self.published_stems()?);
        let mut profiles: BTreeSet<_> = declared.profiles.keys().cloned().collect();
        profiles.extend(drafts.iter().chain(&published).cloned());
        let summary = |profile: ServerName| {
            let key = DraftKey {
                client: client.clone(),
                profile: profile.clone(),
            };
            Ok(ProfileSummary {
                declared: declared.profiles.contains_key(&profile),
                draft: drafts.contains(&profile),
                published: self.latest_id(&key)?,
                profile,
            })
        };
        profiles.into_iter().map(summary).collect()
    }

    /// The draft; `None` when the profile of `servers.toml` is the choice.
    ///
    /// # Errors
    /// `StateDirRefused`, `HostIo`.
    pub fn draft(&self, key: &DraftKey) -> Result<Option<Draft>> {
        match self.stored(OPERATION, DIR)? {
            None => Ok(None),
            Some(dir) => read(&dir, key),
        }
    }

    /// Adds a server. A new draft begins with the servers of the profile.
    ///
    /// # Errors
    /// `NotFound` for a server that is not declared; as [`Catalog::declared`]; `StateDirRefused`, `HostIo`, `Busy`.
    pub fn draft_add(&self, key: &DraftKey, server: &ServerName) -> Result<Draft> {
        let declared = self.declared()?;
        if !declared.servers.contains_key(server) {
            return Err(
                Error::new(ErrorKind::NotFound, OPERATION, "there is no such server")
                    .with_context("server", server)
                    .with_hint("`cofferdam mcp list` shows the servers, `cofferdam mcp add` declares one"),
            );
        }
        self.change_draft(key, &declared, |servers| {
            if !servers.contains(server) {
                servers.push(server.clone());
            }
        })
    }

    /// Takes a server out; also one that is not declared any more, or not in it. A new draft begins with the servers of
    /// the profile.
    ///
    /// # Errors
    /// As [`Catalog::declared`]; `StateDirRefused`, `HostIo`, `Busy`.
    pub fn draft_remove(&self, key: &DraftKey, server: &ServerName) -> Result<Draft> {
        let declared = self.declared()?;
        self.change_draft(key, &declared, |servers| servers.retain(|known| known != server))
    }

    /// Forgets the draft, so that the profile of `servers.toml` is the choice; says whether there was one.
    ///
    /// # Errors
    /// `StateDirRefused`, `HostIo`, `Busy`.
    pub fn draft_clear(&self, key: &DraftKey) -> Result<bool> {
        let Some(dir) = self.stored(OPERATION, DIR)? else {
            return Ok(false);
        };
        let _guard = dir.lock(LOCK)?;
        dir.remove(&file_name(key))
    }

    fn change_draft(
        &self,
        key: &DraftKey,
        declared: &Declared,
        change: impl FnOnce(&mut Vec<ServerName>),
    ) -> Result<Draft> {
        let dir = self.store(OPERATION, DIR)?;
        let _guard = dir.lock(LOCK)?;
        let mut servers = match read(&dir, key)? {
            Some(draft) => draft.servers,
            None => declared
                .profiles
                .get(&key.profile)
                .map(|profile| profile.servers.clone())
                .unwrap_or_default(),
        };
        change(&mut servers);
        let draft = Draft {
            key: key.clone(),
            servers,
            updated_at: Timestamp::now(),
        };
        dir.replace(&file_name(key), &canonical(&to_value(&draft)), PRIVATE_FILE)?;
        Ok(draft)
    }
}

fn read(dir: &Dir, key: &DraftKey) -> Result<Option<Draft>> {
    let name = file_name(key);
    let Some((bytes, _)) = dir.read(&name, MAX_BYTES)? else {
        return Ok(None);
    };
    match serde_json::from_slice::<Draft>(&bytes) {
        Ok(draft) if draft.key == *key => Ok(Some(draft)),
        _ => Err(refused(OPERATION, &dir.path().join(&name), Refusal::Damaged)),
    }
}

fn file_name(key: &DraftKey) -> String {
    format!("{}{ENDING}", key.stem())
}

fn of_client(client: &ClientId, stems: Vec<String>) -> BTreeSet<ServerName> {
    stems
        .iter()
        .filter_map(|stem| DraftKey::from_stem(stem))
        .filter(|key| key.client == *client)
        .map(|key| key.profile)
        .collect()
}
