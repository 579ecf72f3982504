//! Google Vertex: the project, the region, and bearer tokens from application default credentials.
//!
//! | source | from |
//! |---|---|
//! | a named file | `GOOGLE_APPLICATION_CREDENTIALS`; it must be there |
//! | the user's file | `~/.config/gcloud/application_default_credentials.json`, which `gcloud auth application-default login` writes |
//! | the machine's account | the metadata service of Google's cloud |
//!
//! The caller reads the environment and hands values in. Files hold a user's login, a service account's key, a federated
//! identity or an account to impersonate; Google's own crate takes each as a value. One that would run a program to get
//! its token is refused.

use std::path::{Path, PathBuf};
use std::sync::{Mutex as SyncMutex, PoisonError};
use std::time::Duration;

use google_cloud_auth::credentials::service_account::AccessSpecifier;
use google_cloud_auth::credentials::{
    AccessTokenCredentials, external_account, impersonated, mds, service_account, user_account,
};
use google_cloud_auth::errors::CredentialsError;
use rustls::crypto::{CryptoProvider, ring};
use secrecy::SecretString;
use serde_json::Value;
use session_core::gateway::ModelApi;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Keys, Provider, invalid, is_label};
use crate::error::{Chain, GatewayError};
use crate::model::base_url::BaseUrl;
use crate::model::credential::Credential;
use crate::model::refusal::Refusal;

/// What tokens are for.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// How long a token may take.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(20);
/// What was set up or failed less than this ago is not set up again: a session can make requests in plenty.
const SETTLED: Duration = Duration::from_secs(1);
/// Longest file of credentials.
const MAX_FILE: u64 = 64 * 1024;

/// Google Vertex.
#[derive(Debug, Clone)]
pub struct VertexConfig {
    /// The project.
    pub project: String,
    /// The region, or `global`, or a multi-region such as `eu`.
    pub region: String,
    /// The endpoint, when it is not the region's own; a `/v1` at its end is the API's and taken off.
    pub base_url: Option<BaseUrl>,
    /// Where tokens come from.
    pub sources: GoogleSources,
}

/// Where Google's tokens come from. `Default` is nowhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GoogleSources {
    /// A file that is named, and that must be there.
    pub named_file: Option<PathBuf>,
    /// The user's own file, which may be absent.
    pub user_file: Option<PathBuf>,
    /// Whether the machine's account is asked for when there is no file.
    pub machine_account: bool,
    /// The metadata service, when it is not where it always is.
    pub metadata_endpoint: Option<String>,
}

impl VertexConfig {
    pub(super) fn provider(&self, name: &str) -> Result<Provider, GatewayError> {
        if !is_label(&self.region) {
            return Err(invalid(
                "what is given as the region of Vertex is no region's name",
                "give a name such as europe-west1, or global",
            ));
        }
        // A project of a domain is `example.com:name`.
        let is_project =
            (1..=128).contains(&self.project.len()) && self.project.split(['.', ':']).all(is_label);
        if !is_project {
            return Err(invalid(
                "what is given as the Google project is no project's id",
                "give the project's id, not its name: `gcloud projects list` shows both",
            ));
        }
        let base = match &self.base_url {
            Some(base) => base.clone().without("/v1"),
            None => endpoint(&self.region).parse()?,
        };
        let api = ModelApi::Vertex {
            region: self.region.clone(),
            project: self.project.clone(),
        };
        let keys = Keys::Google(GoogleTokens::new(self.sources.clone()));
        Ok(Provider::new(name, api, base, keys))
    }
}

/// The region's own endpoint, as the vendor's clients choose it.
fn endpoint(region: &str) -> String {
    match region {
        "global" => "https://aiplatform.googleapis.com".to_owned(),
        "eu" | "us" => format!("https://aiplatform.{region}.rep.googleapis.com"),
        _ => format!("https://{region}-aiplatform.googleapis.com"),
    }
}

/// The tokens of one provider. Google's crate keeps a token until shortly before its end; what is kept here is that.
pub(super) struct GoogleTokens {
    sources: GoogleSources,
    setup: Mutex<Setup>,
    /// The last token, with its pattern made.
    last: SyncMutex<Option<(SecretString, Credential)>>,
}

#[derive(Default)]
struct Setup {
    credentials: Option<(Instant, AccessTokenCredentials)>,
    failed: Option<(Instant, Refusal)>,
}

impl GoogleTokens {
    fn new(sources: GoogleSources) -> Self {
        Self {
            sources,
            setup: Mutex::default(),
            last: SyncMutex::new(None),
        }
    }

    /// A token as it is now.
    pub(super) async fn token(&self) -> Result<Credential, Refusal> {
        let credentials = self.credentials(&mut *self.setup.lock().await).await?;
        match tokio::time::timeout(TOKEN_TIMEOUT, credentials.access_token()).await {
            Ok(Ok(token)) => self.credential(token.token),
            Ok(Err(error)) => {
                tracing::warn!(error = %Chain(&error), "Google gave no token");
                let refusal = refusal_of(&error);
                self.start_anew(refusal).await;
                Err(refusal)
            }
            Err(_elapsed) => {
                tracing::warn!("Google gave no token in time");
                Err(Refusal::CredentialTimedOut)
            }
        }
    }

    /// Another token than one that the provider refused.
    pub(super) async fn other_than(&self, refused: &Credential) -> Option<Credential> {
        {
            let mut setup = self.setup.lock().await;
            let settled = |at: &Instant| at.elapsed() < SETTLED;
            if setup.credentials.as_ref().is_some_and(|(at, _)| settled(at)) {
                return None;
            }
            setup.credentials = None;
        }
        self.token().await.ok().filter(|token| !token.is_same(refused))
    }

    /// The set-up credentials, or new ones from the sources.
    async fn credentials(&self, setup: &mut Setup) -> Result<AccessTokenCredentials, Refusal> {
        if let Some((_, credentials)) = &setup.credentials {
            return Ok(credentials.clone());
        }
        if let Some((_, refusal)) = setup.failed.filter(|(at, _)| at.elapsed() < SETTLED) {
            return Err(refusal);
        }
        match self.sources.set_up().await {
            Ok(credentials) => {
                setup.credentials = Some((Instant::now(), credentials.clone()));
                setup.failed = None;
                Ok(credentials)
            }
            Err(refusal) => {
                setup.failed = Some((Instant::now(), refusal));
                Err(refusal)
            }
        }
    }

    /// Google's crate keeps a failure for good, so the next request sets up anew, from files that may be others then.
    async fn start_anew(&self, refusal: Refusal) {
        let mut setup = self.setup.lock().await;
        setup.credentials = None;
        setup.failed = Some((Instant::now(), refusal));
    }

    fn credential(&self, token: String) -> Result<Credential, Refusal> {
        use secrecy::ExposeSecret;
        let token = SecretString::from(token);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, credential)) = &*last
            && known.expose_secret() == token.expose_secret()
        {
            return Ok(credential.clone());
        }
        let credential = Credential::bearer(&token).map_err(|_| Refusal::CredentialUnusable)?;
        *last = Some((token, credential.clone()));
        Ok(credential)
    }
}

impl GoogleSources {
    async fn set_up(&self) -> Result<AccessTokenCredentials, Refusal> {
        // Google's crate signs and connects with the process's default, and ends the thread when there is none. It stays
        // what it is when the program has chosen one.
        if CryptoProvider::get_default().is_none() {
            drop(ring::default_provider().install_default());
        }
        let file = match (&self.named_file, &self.user_file) {
            (Some(named), _) => Some(named),
            (None, Some(own)) if tokio::fs::try_exists(own).await.unwrap_or(true) => Some(own),
            (None, _) => None,
        };
        match file {
            Some(path) => from_json(read(path).await?),
            None if self.machine_account => {
                let mut builder = mds::Builder::default().with_scopes([SCOPE]);
                if let Some(endpoint) = &self.metadata_endpoint {
                    builder = builder.with_endpoint(endpoint);
                }
                builder.build_access_token_credentials().map_err(unusable)
            }
            None => Err(Refusal::NoCredential),
        }
    }
}

/// Reads a file of credentials.
async fn read(path: &Path) -> Result<Value, Refusal> {
    let refuse = |what: &'static str| {
        tracing::warn!(path = %path.display(), what, "a file of Google's credentials cannot be used");
        Refusal::CredentialUnusable
    };
    let length = tokio::fs::metadata(path).await.map(|meta| meta.len());
    match length {
        Err(_) => return Err(refuse("it cannot be read")),
        Ok(length) if length > MAX_FILE => return Err(refuse("it is too long to be one")),
        Ok(_) => {}
    }
    let text = tokio::fs::read(path)
        .await
        .map_err(|_| refuse("it cannot be read"))?;
    // The parser's complaint could quote a secret.
    serde_json::from_slice(&text).map_err(|_| refuse("it is not JSON"))
}

/// Sets up what a file describes.
fn from_json(file: Value) -> Result<AccessTokenCredentials, Refusal> {
    let kind = file
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    match kind.as_str() {
        "authorized_user" => user_account::Builder::new(file)
            .with_scopes([SCOPE])
            .build_access_token_credentials(),
        "service_account" => service_account::Builder::new(file)
            .with_access_specifier(AccessSpecifier::from_scopes([SCOPE]))
            .build_access_token_credentials(),
        "external_account" if runs_a_program(&file) => {
            tracing::warn!("Google's credentials would run a program on this host, which is not done");
            return Err(Refusal::CredentialUnusable);
        }
        "external_account" => external_account::Builder::new(file)
            .with_scopes([SCOPE])
            .build_access_token_credentials(),
        "impersonated_service_account" if file.get("source_credentials").is_some_and(runs_a_program) => {
            tracing::warn!("Google's credentials would run a program on this host, which is not done");
            return Err(Refusal::CredentialUnusable);
        }
        "impersonated_service_account" => impersonated::Builder::new(file)
            .with_scopes([SCOPE])
            .build_access_token_credentials(),
        _ => {
            tracing::warn!("Google's credentials are of a type that is not known");
            return Err(Refusal::CredentialUnusable);
        }
    }
    .map_err(unusable)
}

fn runs_a_program(file: &Value) -> bool {
    file.get("credential_source")
        .is_some_and(|source| source.get("executable").is_some())
}

fn unusable(error: google_cloud_auth::build_errors::Error) -> Refusal {
    tracing::warn!(error = %Chain(&error), "Google's credentials cannot be set up");
    Refusal::CredentialUnusable
}

/// What the agent is told. A login that was revoked or ran out is `invalid_grant`.
fn refusal_of(error: &CredentialsError) -> Refusal {
    if Chain(error).to_string().contains("invalid_grant") {
        Refusal::CredentialExpired
    } else if error.is_transient() {
        Refusal::CredentialTimedOut
    } else {
        Refusal::CredentialUnusable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::GatewayErrorKind;

    fn config(project: &str, region: &str) -> VertexConfig {
        VertexConfig {
            project: project.to_owned(),
            region: region.to_owned(),
            base_url: None,
            sources: GoogleSources::default(),
        }
    }

    #[test]
    fn each_region_has_its_endpoint() {
        for (region, host) in [
            ("global", "aiplatform.googleapis.com"),
            ("eu", "aiplatform.eu.rep.googleapis.com"),
            ("europe-west1", "europe-west1-aiplatform.googleapis.com"),
        ] {
            let provider = config("example.com:proj-1", region).provider("v").unwrap();
            assert_eq!(provider.address("/v1/x").unwrap().authority().unwrap(), host);
        }
        let mut private = config("p", "eu");
        private.base_url = Some("https://gate.example.com/vertex/v1".parse().unwrap());
        let address = private.provider("v").unwrap().address("/v1/x").unwrap();
        assert_eq!(address, "https://gate.example.com/vertex/v1/x");
    }

    #[test]
    fn names_that_are_none_are_refused() {
        for (project, region) in [
            ("", "eu"),
            ("p", ""),
            ("p/locations/x", "eu"),
            ("p", "evil.example/"),
            ("p", "EU"),
            ("..", "eu"),
            ("p q", "eu"),
        ] {
            let error = config(project, region).provider("v").unwrap_err();
            assert_eq!(
                error.kind(),
                GatewayErrorKind::InvalidProvider,
                "{project} {region}"
            );
            assert!(error.hint().is_some());
        }
    }

    #[tokio::test]
    async fn a_file_that_runs_a_program_or_is_none_is_refused() {
        for file in [
            serde_json::json!({ "type": "external_account", "credential_source": { "executable": { "command": "id" } } }),
            serde_json::json!({ "type": "gdch_service_account" }),
            serde_json::json!({ "type": "authorized_user" }),
            serde_json::json!([]),
        ] {
            assert_eq!(from_json(file).err(), Some(Refusal::CredentialUnusable));
        }
        let absent = GoogleSources {
            named_file: Some("/nonexistent/file.json".into()),
            ..GoogleSources::default()
        };
        assert_eq!(absent.set_up().await.err(), Some(Refusal::CredentialUnusable));
        let nowhere = GoogleSources {
            user_file: Some("/nonexistent/file.json".into()),
            ..GoogleSources::default()
        };
        assert_eq!(nowhere.set_up().await.err(), Some(Refusal::NoCredential));
    }
}
