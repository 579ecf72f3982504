//! Artifacts as results show them.
//!
//! What is signed holds references to secrets: where each one is. Whoever reads results is told of which kind they are;
//! that a signature holds is judged here, because it cannot be by somebody who sees less than what was signed.

use mcp_catalog::{Artifact, SecretValue, ServerDefinition, Transport, Value as Setting};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};
use session_core::error::Result;
use session_core::secret::SecretReference;

use mcp_catalog::Verified;

use crate::text::one_line;

/// A secret that a server is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct Secret {
    /// The variable or header field, or client_secret.
    name: String,
    /// environment, header or login.
    used_in: &'static str,
    /// The kind of the reference: env, file or command.
    kind: &'static str,
}

/// The secrets of a server, without where they are.
pub(super) fn secrets(definition: &ServerDefinition) -> Vec<Secret> {
    let of = |used_in: &'static str| {
        move |(name, value): (&String, &Setting)| match value {
            Setting::Plain(_) => None,
            Setting::Secret(SecretValue { secret, .. }) => Some(Secret {
                name: one_line(name, 128),
                used_in,
                kind: kind(secret),
            }),
        }
    };
    match &definition.transport {
        Transport::Stdio { env, .. } => env.iter().filter_map(of("environment")).collect(),
        Transport::Container { .. } | Transport::Session { .. } => Vec::new(),
        Transport::Http { headers, oauth, .. } => {
            let login = oauth.as_ref().and_then(|oauth| oauth.client_secret.as_ref());
            let login = login.map(|secret| Secret {
                name: "client_secret".to_owned(),
                used_in: "login",
                kind: kind(secret),
            });
            headers.iter().filter_map(of("header")).chain(login).collect()
        }
    }
}

fn kind(secret: &SecretReference) -> &'static str {
    match secret {
        SecretReference::Env(_) => "env",
        SecretReference::File(_) => "file",
        SecretReference::Command(_) => "command",
    }
}

/// A published configuration.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ArtifactView {
    /// The content address of the payload.
    pub(super) artifact_id: String,
    pub(super) client_id: String,
    pub(super) profile_id: String,
    /// When this content was published first, RFC 3339.
    pub(super) created_at: String,
    /// The content; of a secret only the kind of its reference. Absent when the signature does not hold, or it is too long to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Map<String, Value>>")]
    payload: Option<Value>,
    /// Ed25519 over all of it, base64.
    signature: String,
    signing_key_id: String,
    /// What was said when it was published.
    metadata: Map<String, Value>,
    /// Whether the signature holds, by a key of ours, and the content is what the id says.
    verified: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The content address of the configuration in the payload, as sessions name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    configuration: Option<String>,
    /// Its servers.
    servers: Vec<String>,
}

impl ArtifactView {
    /// With a payload of at most `limit` bytes.
    pub(super) fn new(artifact: &Artifact, verified: &Result<Verified>, limit: usize) -> Self {
        let held = verified.as_ref().ok();
        let payload = held.map(|_| without_places(artifact.payload.clone()));
        let metadata = match held {
            Some(_) => artifact.metadata.clone().into_iter().collect(),
            None => Map::new(),
        };
        let servers = held.map(|verified| verified.configuration.servers.keys().map(ToString::to_string));
        Self {
            artifact_id: artifact.artifact_id.to_string(),
            client_id: artifact.client_id.to_string(),
            profile_id: artifact.profile_id.to_string(),
            created_at: artifact.created_at.to_string(),
            payload: payload.filter(|payload| payload.to_string().len() <= limit),
            signature: one_line(&artifact.signature, 128),
            signing_key_id: one_line(&artifact.signing_key_id, 64),
            metadata,
            verified: held.is_some(),
            reason: verified.as_ref().err().map(|error| error.message().to_owned()),
            configuration: held.map(|verified| verified.digest.to_string()),
            servers: servers.map(Iterator::collect).unwrap_or_default(),
        }
    }
}

/// The payload with the kind of each reference in the place of the reference.
fn without_places(mut payload: Value) -> Value {
    let servers = payload.pointer_mut("/configuration/servers");
    let Some(Value::Object(servers)) = servers else {
        return payload;
    };
    for server in servers.values_mut() {
        for settings in ["env", "headers"] {
            if let Some(Value::Object(settings)) = server.get_mut(settings) {
                settings.values_mut().for_each(hide);
            }
        }
        if let Some(secret) = server.pointer_mut("/oauth/client_secret") {
            hide(secret);
        }
    }
    payload
}

fn hide(setting: &mut Value) {
    let Value::Object(fields) = setting else { return };
    let kind = ["env", "file", "command"]
        .into_iter()
        .find(|kind| fields.contains_key(*kind));
    *setting = json!({ "secret": kind.unwrap_or("unknown") });
}
