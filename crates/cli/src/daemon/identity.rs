//! Whether two processes were told the same: a digest over everything that makes a daemon behave as it does.
//!
//! A client may have been started with another key, policy or engine than the daemon that it finds. Comparing the digests
//! tells, and neither end shows its settings: the digest is keyed with the state directory's own key, so that it says
//! nothing to anybody who does not have that. What is said of a single session (image, model, limits) is no part of it,
//! because it travels with the request.

use std::collections::BTreeSet;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use session_core::error::Result;
use session_core::state_dir::StateDir;
use sha2::Sha256;

use crate::operator;
use crate::settings::env::{self, EnvVar, Environment};
use crate::settings::{Overrides, Settings};

/// Variables that decide how a daemon behaves, beside those that the operator's files name. Not `PATH` and the like, which
/// differ from one terminal to the next and only say where programs are.
const VARIABLES: &[EnvVar] = &[
    env::ANTHROPIC_BASE_URL,
    env::CLAUDE_CODE_USE_BEDROCK,
    env::ANTHROPIC_BEDROCK_BASE_URL,
    env::AWS_REGION,
    env::AWS_DEFAULT_REGION,
    env::AWS_ACCESS_KEY_ID,
    env::AWS_SECRET_ACCESS_KEY,
    env::AWS_SESSION_TOKEN,
    env::AWS_BEARER_TOKEN_BEDROCK,
    env::AWS_PROFILE,
    env::AWS_ROLE_ARN,
    env::CLAUDE_CODE_USE_VERTEX,
    env::ANTHROPIC_VERTEX_PROJECT_ID,
    env::CLOUD_ML_REGION,
    env::ANTHROPIC_VERTEX_BASE_URL,
    env::DOCKER_HOST,
    env::COFFERDAM_HOST_MOUNTS,
    env::HOME,
    env::NPM_CONFIG_REGISTRY,
    env::PIP_INDEX_URL,
    env::UV_DEFAULT_INDEX,
    env::HTTP_PROXY,
    env::HTTPS_PROXY,
    env::NO_PROXY,
];

/// The digest of what this process was told, for the daemon of a state directory.
///
/// # Errors
/// Those of reading the operator's files and the state directory's key.
pub fn digest(
    state: &StateDir,
    settings: &Settings,
    overrides: &Overrides,
    environment: &dyn Environment,
) -> Result<String> {
    let mut digest = Digest::new(state.signing_key()?);
    digest.text("named key", overrides.api_key_env.is_some().then_some("yes"));
    digest.text(
        "credential",
        settings
            .credential
            .as_ref()
            .map(|found| found.secret.expose_secret()),
    );
    let kind = settings
        .credential
        .as_ref()
        .map(|found| format!("{:?}", found.kind));
    digest.text("kind", kind.as_deref());
    for variable in VARIABLES {
        let value = environment.get(*variable);
        digest.bytes(
            variable.name,
            value.as_ref().map(|value| value.as_encoded_bytes()),
        );
    }
    for variable in env::PATHS {
        let value = env::absolute(*variable, environment);
        digest.bytes(
            variable.name,
            value.as_ref().map(|value| value.as_os_str().as_encoded_bytes()),
        );
    }
    let policy = operator::text(settings.home.as_deref(), environment)?;
    digest.text("policy", policy.as_deref());
    digest.bytes(
        "servers",
        Some(settings.mcp.catalog.servers.as_os_str().as_encoded_bytes()),
    );
    for name in named_variables(settings) {
        let value = environment.named(&name);
        digest.bytes(&name, value.as_ref().map(|value| value.as_encoded_bytes()));
    }
    Ok(digest.finish())
}

/// The variables to which the operator's files refer as secrets. Files that cannot be understood name none: whoever needs
/// them says what is wrong.
fn named_variables(settings: &Settings) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = settings.variables.clone();
    if let Ok(declared) = settings.mcp.catalog().declared() {
        for definition in declared.servers.values() {
            if let Ok(value) = serde_json::to_value(definition) {
                collect(&value, &mut names);
            }
        }
    }
    names
}

/// Wherever a reference stands, it is written as `{ "env": "NAME" }`.
fn collect(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(name)) = fields.get("env") {
                names.insert(name.clone());
            }
            fields.values().for_each(|value| collect(value, names));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, names)),
        _ => {}
    }
}

/// Fields with their lengths, so that no two lists of fields look the same.
struct Digest(Hmac<Sha256>);

impl Digest {
    fn new(key: [u8; 32]) -> Self {
        let mut mac = Hmac::<Sha256>::new_from_slice(&key)
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        mac.update(b"cofferdam daemon settings 1\0");
        Self(mac)
    }

    fn text(&mut self, name: &str, value: Option<&str>) {
        self.bytes(name, value.map(str::as_bytes));
    }

    fn bytes(&mut self, name: &str, value: Option<&[u8]>) {
        for part in [Some(name.as_bytes()), value] {
            // One more than the length, so that what is absent differs from what is empty.
            let length = part.map_or(0, |part| part.len() as u64 + 1);
            self.0.update(&length.to_be_bytes());
            self.0.update(part.unwrap_or_default());
        }
    }

    fn finish(self) -> String {
        let bytes = self.0.finalize().into_bytes();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
