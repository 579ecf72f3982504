//! Where AWS credentials and a region are found on this host, in AWS's own order and by AWS's own crates.
//!
//! | source | from |
//! |---|---|
//! | fixed credentials | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` |
//! | a profile | `AWS_PROFILE`, `AWS_CONFIG_FILE`, `AWS_SHARED_CREDENTIALS_FILE`: keys, roles to assume, SSO |
//! | a web identity | `AWS_WEB_IDENTITY_TOKEN_FILE`, `AWS_ROLE_ARN`, `AWS_ROLE_SESSION_NAME` |
//! | the machine's role | the container's or the instance's metadata service, unless `AWS_EC2_METADATA_DISABLED` |
//!
//! The caller reads the environment and hands values in: this crate reads none. AWS's crates themselves look at `HOME` (for
//! the SSO cache below it), at `AWS_CONTAINER_*`, and at `AWS_ENDPOINT_URL*`, which only the process that holds the
//! credentials anyway can set. A profile with a `credential_process` is refused: nothing here runs programs.

use std::path::PathBuf;
use std::time::Duration;

use aws_config::ecs::EcsCredentialsProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::meta::region::ProvideRegion;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::profile::region::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider};
use aws_config::{Region, imds};
use aws_credential_types::Credentials;
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_http_client::tls::Provider as TlsProvider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use secrecy::{ExposeSecret, SecretString};
use session_core::gateway::AwsCredentials;

use crate::error::{GatewayError, GatewayErrorKind};

/// The profile of those who name none.
const DEFAULT_PROFILE: &str = "default";
/// To a service that gives out credentials, and for its answer.
const SERVICE_TIMEOUT: Duration = Duration::from_secs(5);
/// The metadata service is on the same machine, or there is none.
const METADATA_TIMEOUT: Duration = Duration::from_secs(1);

/// Where AWS credentials and the region come from. `Default` is nowhere.
#[derive(Debug, Clone, Default)]
pub struct AwsSources {
    /// Credentials that are given as values. They go before everything else.
    pub credentials: Option<AwsCredentials>,
    /// A Bedrock API key (`AWS_BEARER_TOKEN_BEDROCK`), which takes the place of signatures.
    pub bearer_token: Option<SecretString>,
    /// The region, for a provider and a session that name none.
    pub region: Option<String>,
    /// The profile; `default` when it is `None`.
    pub profile: Option<String>,
    /// The file of profiles, usually `~/.aws/config`. It may be absent.
    pub config_file: Option<PathBuf>,
    /// The file of credentials, usually `~/.aws/credentials`. It may be absent.
    pub credentials_file: Option<PathBuf>,
    /// A role that is assumed with a token in a file.
    pub web_identity: Option<WebIdentity>,
    /// Whether the container's or the instance's role is asked for when there is nothing else.
    pub machine_role: bool,
    /// The instance's metadata service, when it is not where it always is.
    pub metadata_endpoint: Option<String>,
}

/// A role that is assumed with a token in a file, as on Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebIdentity {
    /// The file.
    pub token_file: PathBuf,
    /// The role.
    pub role_arn: String,
    /// What the session of the role is called.
    pub session_name: String,
}

impl AwsSources {
    /// These credentials and nothing else; the region stays.
    pub(in crate::model::provider) fn only(&self, credentials: AwsCredentials) -> Self {
        Self {
            credentials: Some(credentials),
            region: self.region.clone(),
            profile: self.profile.clone(),
            config_file: self.config_file.clone(),
            ..Self::default()
        }
    }

    /// Whether all that there is are credentials that never change.
    pub(super) fn are_fixed(&self) -> bool {
        self.credentials.is_some()
    }

    /// The region that is given, else the profile's.
    pub(super) async fn region(&self) -> Option<String> {
        if let Some(region) = &self.region {
            return Some(region.clone());
        }
        let files = self.files().await?;
        let provider = ProfileFileRegionProvider::builder()
            .configure(&ProviderConfig::empty())
            .profile_name(self.profile())
            .profile_files(files)
            .build();
        provider.region().await.map(|region| region.to_string())
    }

    /// Judges credentials that are given as values, before anything is signed with them.
    pub(super) fn check(&self) -> Result<(), GatewayError> {
        let Some(given) = &self.credentials else {
            return Ok(());
        };
        let is_key = |text: &str| text.len() >= 8 && text.bytes().all(|byte| byte.is_ascii_graphic());
        let token_is_key = given
            .session_token
            .as_ref()
            .is_none_or(|token| is_key(token.expose_secret()));
        if is_key(&given.access_key_id) && is_key(given.secret_access_key.expose_secret()) && token_is_key {
            return Ok(());
        }
        Err(GatewayError::new(
            GatewayErrorKind::InvalidCredential,
            "read the AWS credentials",
            "they are shorter than eight characters or hold something other than visible ASCII characters",
        )
        .with_hint("give the access key id, the secret access key and, for temporary ones, the session token as AWS shows them"))
    }

    fn profile(&self) -> &str {
        self.profile.as_deref().unwrap_or(DEFAULT_PROFILE)
    }

    /// The files that there are. AWS's crate takes a named file that is absent for a fault, so those are left out.
    async fn files(&self) -> Option<EnvConfigFiles> {
        let named = [
            (EnvConfigFileKind::Config, &self.config_file),
            (EnvConfigFileKind::Credentials, &self.credentials_file),
        ];
        let mut files = None;
        for (kind, path) in named {
            if let Some(path) = path
                && tokio::fs::try_exists(path).await.unwrap_or(true)
            {
                files = Some(
                    files
                        .unwrap_or_else(EnvConfigFiles::builder)
                        .with_file(kind, path),
                );
            }
        }
        files.map(aws_runtime::env_config::file::Builder::build)
    }

    /// All sources in order, new: what AWS's crates have read of files stays in them.
    pub(super) async fn chain(&self, region: &str) -> CredentialsProviderChain {
        let config = provider_config(region);
        // The chain has a first member; an empty profile has nothing and is passed over.
        let nothing = EnvConfigFiles::builder()
            .with_contents(EnvConfigFileKind::Config, "")
            .build();
        let files = self.files().await.unwrap_or(nothing);
        let profile = ProfileFileCredentialsProvider::builder()
            .configure(&config)
            .profile_name(self.profile())
            .profile_files(files)
            .build();
        let mut chain = match &self.credentials {
            Some(given) => {
                CredentialsProviderChain::first_try("given", credentials(given)).or_else("profile", profile)
            }
            None => CredentialsProviderChain::first_try("profile", profile),
        };
        if let Some(identity) = &self.web_identity {
            chain = chain.or_else("web identity", web_identity(identity, &config));
        }
        if self.machine_role {
            let container = EcsCredentialsProvider::builder()
                .configure(&config)
                .connect_timeout(METADATA_TIMEOUT)
                .read_timeout(METADATA_TIMEOUT)
                .build();
            chain = chain.or_else("container role", container);
            match self.instance(&config) {
                Ok(instance) => chain = chain.or_else("instance role", instance),
                Err(error) => {
                    tracing::warn!(error = %crate::error::Chain(error.as_ref()), "the metadata service's address is unusable");
                }
            }
        }
        chain
    }

    fn instance(
        &self,
        config: &ProviderConfig,
    ) -> Result<ImdsCredentialsProvider, Box<dyn std::error::Error + Send + Sync>> {
        let mut client = imds::Client::builder()
            .configure(config)
            .max_attempts(2)
            .connect_timeout(METADATA_TIMEOUT)
            .read_timeout(METADATA_TIMEOUT);
        if let Some(endpoint) = &self.metadata_endpoint {
            client = client.endpoint(endpoint)?;
        }
        Ok(ImdsCredentialsProvider::builder()
            .configure(config)
            .imds_client(client.build())
            .build())
    }
}

/// On rustls with ring, and on this runtime's clock.
fn provider_config(region: &str) -> ProviderConfig {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(TlsProvider::Rustls(CryptoMode::Ring))
        .build_https();
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(SERVICE_TIMEOUT)
        .read_timeout(SERVICE_TIMEOUT)
        .operation_attempt_timeout(SERVICE_TIMEOUT)
        .build();
    ProviderConfig::empty()
        .with_http_client(http)
        .with_sleep_impl(TokioSleep::new())
        .with_region(Some(Region::new(region.to_owned())))
        .with_timeout_config(timeouts)
}

fn credentials(given: &AwsCredentials) -> Credentials {
    let token = given
        .session_token
        .as_ref()
        .map(|token| token.expose_secret().to_owned());
    Credentials::new(
        given.access_key_id.clone(),
        given.secret_access_key.expose_secret(),
        token,
        None,
        "given",
    )
}

fn web_identity(identity: &WebIdentity, config: &ProviderConfig) -> WebIdentityTokenCredentialsProvider {
    WebIdentityTokenCredentialsProvider::builder()
        .static_configuration(StaticConfiguration {
            web_identity_token_file: identity.token_file.clone(),
            role_arn: identity.role_arn.clone(),
            session_name: identity.session_name.clone(),
        })
        .configure(config)
        .build()
}
