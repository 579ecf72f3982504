//! Artifacts: stored once, found by their content, verified each time.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use session_core::error::{Error, ErrorKind, Result};
use session_core::mcp::ServerName;

use super::envelope;
use super::id::{ClientId, DraftKey};
use super::key::Signer;
use crate::catalog::{Catalog, lock};
use crate::declared::Configuration;
use crate::digest::{Digest, canonical, to_value};

const OPERATION: &str = "verify a published configuration";
pub(super) const DIR: &str = "artifacts";
pub(super) const ENDING: &str = ".json";
pub(super) const MAX_BYTES: usize = 16 << 20;

/// A published configuration. Its fields are those of the form that others read too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// The content address of `payload`.
    pub artifact_id: Digest,
    /// For whom.
    pub client_id: ClientId,
    /// Which profile.
    pub profile_id: ServerName,
    /// When this content was published first.
    pub created_at: Timestamp,
    /// The content: `client_id`, `profile_id` and the `configuration`. Without any secret.
    pub payload: Value,
    /// Over everything else here, in base64.
    pub signature: String,
    /// The key that made the signature.
    pub signing_key_id: String,
    /// What was said when it was published.
    pub metadata: BTreeMap<String, Value>,
}

/// An artifact whose signature holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// For whom.
    pub key: DraftKey,
    /// What was published.
    pub configuration: Configuration,
    /// The content address of `configuration`, as sessions have it in their plans.
    pub digest: Digest,
    /// The key that signed.
    pub key_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    client_id: ClientId,
    profile_id: ServerName,
    configuration: Configuration,
}

/// Artifacts that were read: none ever changes.
#[derive(Debug, Default)]
pub(crate) struct ArtifactCache(Mutex<HashMap<Digest, Arc<Artifact>>>);

impl Artifact {
    pub(super) fn sign(
        key: &DraftKey,
        configuration: &Configuration,
        metadata: BTreeMap<String, Value>,
        signer: &Signer,
    ) -> Self {
        let payload = payload_of(key, configuration);
        let mut artifact = Self {
            artifact_id: Digest::of(&payload),
            client_id: key.client.clone(),
            profile_id: key.profile.clone(),
            created_at: Timestamp::now(),
            payload,
            signature: String::new(),
            signing_key_id: signer.info.key_id.clone(),
            metadata,
        };
        artifact.resign(signer);
        artifact
    }

    pub(super) fn resign(&mut self, signer: &Signer) {
        self.signature = envelope::sign(&signer.key, &self.signed());
    }

    /// Everything but the signature, as canonical JSON.
    fn signed(&self) -> Vec<u8> {
        let mut value = to_value(self);
        if let Some(fields) = value.as_object_mut() {
            fields.remove("signature");
        }
        canonical(&value)
    }
}

/// Names client and profile, so that the same servers for two clients are two artifacts.
pub(super) fn payload_of(key: &DraftKey, configuration: &Configuration) -> Value {
    json!({
        "client_id": key.client,
        "profile_id": key.profile,
        "configuration": to_value(configuration),
    })
}

impl Catalog {
    /// The artifact of this id, as it is stored; see [`Self::verify`].
    ///
    /// # Errors
    /// `NotFound`; `StateDirRefused` for one that is damaged; `HostIo`.
    pub fn artifact(&self, id: &Digest) -> Result<Artifact> {
        self.stored_artifact(id)?
            .map(|artifact| (*artifact).clone())
            .ok_or_else(|| {
                Error::new(ErrorKind::NotFound, OPERATION, "there is no such artifact")
                    .with_context("artifact", id)
                    .with_hint("`cofferdam mcp publish` shows the id of what it publishes")
            })
    }

    /// Whether an artifact is what was published: its signature holds, by a key of ours, and its content is what its id
    /// says.
    ///
    /// # Errors
    /// `NotFound` for a key that is not among ours, `InvalidArgument` for anything that does not hold, `StateDirRefused`,
    /// `HostIo`.
    pub fn verify(&self, artifact: &Artifact) -> Result<Verified> {
        let refuse = |message: &'static str| {
            Error::new(ErrorKind::InvalidArgument, OPERATION, message)
                .with_context("artifact", &artifact.artifact_id)
                .with_hint("somebody changed it: publish it again with `cofferdam mcp publish`")
        };
        let key = self
            .verifying_key(&artifact.signing_key_id)
            .map_err(|error| error.with_context("artifact", &artifact.artifact_id))?;
        if !envelope::holds(&key, &artifact.signed(), &artifact.signature) {
            return Err(refuse("its signature does not hold"));
        }
        if Digest::of(&artifact.payload) != artifact.artifact_id {
            return Err(refuse("its content is not what its id says"));
        }
        let payload: Payload = serde_json::from_value(artifact.payload.clone())
            .map_err(|_| refuse("it was published by a version that says more than this one understands"))?;
        if payload.client_id != artifact.client_id || payload.profile_id != artifact.profile_id {
            return Err(refuse("its content is for somebody else"));
        }
        Ok(Verified {
            key: DraftKey {
                client: payload.client_id,
                profile: payload.profile_id,
            },
            digest: payload.configuration.digest(),
            configuration: payload.configuration,
            key_id: artifact.signing_key_id.clone(),
        })
    }

    pub(super) fn stored_artifact(&self, id: &Digest) -> Result<Option<Arc<Artifact>>> {
        let Some(dir) = self.stored(OPERATION, DIR)? else {
            return Ok(None);
        };
        let name = format!("{}{ENDING}", id.hex());
        if let Some(known) = lock(&self.artifacts.0).get(id)
            && dir.stamp(&name)?.is_some()
        {
            return Ok(Some(Arc::clone(known)));
        }
        let Some((bytes, _)) = dir.read(&name, MAX_BYTES)? else {
            return Ok(None);
        };
        let damaged =
            || crate::files::refused(OPERATION, &dir.path().join(&name), crate::files::Refusal::Damaged);
        let artifact: Artifact = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
        if artifact.artifact_id != *id {
            return Err(damaged());
        }
        let artifact = Arc::new(artifact);
        lock(&self.artifacts.0).insert(id.clone(), Arc::clone(&artifact));
        Ok(Some(artifact))
    }

    pub(super) fn forget_artifact(&self, id: &Digest) {
        lock(&self.artifacts.0).remove(id);
    }
}
