//! Whether two processes were told the same: a digest over everything that makes a daemon behave as it does.
//!
//! A client may have been started with another key, policy or engine than the daemon that it finds. Comparing the digests
//! tells, and neither end shows its settings: the digest is keyed with the state directory's own key, so that it says
//! nothing to anybody who does not have that. What is said of a single session (image, model, limits) is no part of it,
//! because it travels with the request.
//!
//! There are two digests. Whoever brings no credential of their own works with those of the daemon, and has nothing to say of
//! where they lead; the rest has to be the same for them, too.

use std::collections::BTreeSet;

use hmac::{Hmac, KeyInit, Mac};
use http_api::ServerInfo;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use session_core::error::Result;
use session_core::state_dir::StateDir;
use sha2::Sha256;

use crate::operator;
use crate::settings::env::{self, EnvVar, Environment};
use crate::settings::{Overrides, Settings};

/// Variables that decide which credentials a daemon has and where they lead.
const CREDENTIALS: &[EnvVar] = &[
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
];

/// Files with credentials, among those of [`env::PATHS`].
const CREDENTIAL_FILES: &[EnvVar] = &[
    env::AWS_CONFIG_FILE,
    env::AWS_SHARED_CREDENTIALS_FILE,
    env::AWS_WEB_IDENTITY_TOKEN_FILE,
    env::GOOGLE_APPLICATION_CREDENTIALS,
    env::CLOUDSDK_CONFIG,
];

/// Variables that decide how a daemon behaves otherwise, beside those that the operator's files name. Not `PATH` and the
/// like, which differ from one terminal to the next and only say where programs are.
const VARIABLES: &[EnvVar] = &[
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

/// What two processes compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests {
    /// Over everything.
    pub whole: String,
    /// Over everything but credentials.
    pub without_credentials: String,
}

impl Digests {
    /// Whether `info` is of a server with the same settings, as far as they matter to this process.
    pub fn agree_with(&self, info: &ServerInfo, brings_credentials: bool) -> bool {
        if brings_credentials {
            self.whole == info.settings
        } else {
            self.without_credentials == info.settings_without_credentials
        }
    }
}

/// The digests of what this process was told, for the daemon of a state directory.
///
/// # Errors
/// Those of reading the operator's files and the state directory's key.
pub fn digests(
    state: &StateDir,
    settings: &Settings,
    overrides: &Overrides,
    environment: &dyn Environment,
) -> Result<Digests> {
    let mut digest = Digest::new(state.signing_key()?);
    digest.variables(VARIABLES, environment);
    let is_credential = |path: &EnvVar| CREDENTIAL_FILES.iter().any(|file| file.name == path.name);
    let (credentials, others): (Vec<_>, Vec<_>) = env::PATHS.iter().copied().partition(is_credential);
    digest.paths(&others, environment);
    let policy = operator::text(settings.home.as_deref(), environment)?;
    digest.text("policy", policy.as_deref());
    digest.bytes(
        "servers",
        Some(settings.mcp.catalog.servers.as_os_str().as_encoded_bytes()),
    );
    let without_credentials = digest.clone().finish();

    digest.text("named key", overrides.api_key_env.is_some().then_some("yes"));
    let credential = settings.credential.as_ref();
    digest.text("credential", credential.map(|found| found.secret.expose_secret()));
    let kind = credential.map(|found| format!("{:?}", found.kind));
    digest.text("kind", kind.as_deref());
    digest.variables(CREDENTIALS, environment);
    digest.paths(&credentials, environment);
    for name in named_variables(settings) {
        let value = environment.named(&name);
        digest.bytes(&name, value.as_ref().map(|value| value.as_encoded_bytes()));
    }
    Ok(Digests {
        whole: digest.finish(),
        without_credentials,
    })
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
#[derive(Clone)]
struct Digest(Hmac<Sha256>);

impl Digest {
    fn new(key: [u8; 32]) -> Self {
        let mut mac = Hmac::<Sha256>::new_from_slice(&key)
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        mac.update(b"cofferdam daemon settings 2\0");
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

    fn variables(&mut self, variables: &[EnvVar], environment: &dyn Environment) {
        for variable in variables {
            let value = environment.get(*variable);
            self.bytes(
                variable.name,
                value.as_ref().map(|value| value.as_encoded_bytes()),
            );
        }
    }

    fn paths(&mut self, variables: &[EnvVar], environment: &dyn Environment) {
        for variable in variables {
            let value = env::absolute(*variable, environment);
            let value = value.as_ref().map(|value| value.as_os_str().as_encoded_bytes());
            self.bytes(variable.name, value);
        }
    }

    fn finish(self) -> String {
        let bytes = self.0.finalize().into_bytes();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
