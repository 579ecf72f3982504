//! Which model providers there are: those of the operator's policy, else the one that the environment names.
//!
//! The variables are those that the agent itself reads outside of a session, so whoever has it working on this machine
//! has it working in sessions. They stay on this host, all of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use secrecy::SecretString;
use session_core::error::{Error, ErrorKind, Result};
use session_core::gateway::AwsCredentials;
use session_gateway::GatewayError;
use session_gateway::model::{
    AwsSources, BaseUrl, BedrockConfig, Credential as ProviderCredential, CredentialReader, CredentialSource,
    GoogleSources, ProviderConfig, VertexConfig, WebIdentity,
};

use crate::operator::{Followed, OperatorPolicy, Provider, ProviderName};
use crate::settings::env::{self, EnvVar, Environment};
use crate::settings::{Credential, CredentialKind, Overrides};

const OPERATION: &str = "find the model provider";

/// The providers, in order of preference.
pub(super) fn resolve(
    policy: &OperatorPolicy,
    overrides: &Overrides,
    credential: Option<&Credential>,
    home: Option<&PathBuf>,
    environment: &dyn Environment,
) -> Result<Vec<ProviderConfig>> {
    // A key that is named for this one command goes before what is set up for all.
    if policy.providers.is_empty() || overrides.api_key_env.is_some() {
        return Ok(vec![of_environment(credential, home, environment)?]);
    }
    let providers = policy.providers.iter();
    providers
        .map(|provider| of_policy(provider, home, environment))
        .collect()
}

fn of_environment(
    credential: Option<&Credential>,
    home: Option<&PathBuf>,
    environment: &dyn Environment,
) -> Result<ProviderConfig> {
    if is_on(environment, env::CLAUDE_CODE_USE_BEDROCK)? {
        let config = BedrockConfig {
            region: None,
            base_url: address(environment.text(env::ANTHROPIC_BEDROCK_BASE_URL)?.as_deref())?,
            sources: aws_sources(home, environment)?,
        };
        return Ok(ProviderConfig::bedrock("bedrock", config));
    }
    if is_on(environment, env::CLAUDE_CODE_USE_VERTEX)? {
        let told = |variable: EnvVar| -> Result<String> {
            environment.text(variable)?.ok_or_else(|| missing(variable))
        };
        let config = VertexConfig {
            project: told(env::ANTHROPIC_VERTEX_PROJECT_ID)?,
            region: told(env::CLOUD_ML_REGION)?,
            base_url: address(environment.text(env::ANTHROPIC_VERTEX_BASE_URL)?.as_deref())?,
            sources: google_sources(home, environment),
        };
        return Ok(ProviderConfig::vertex("vertex", config));
    }
    let base_url = address(environment.text(env::ANTHROPIC_BASE_URL)?.as_deref())?;
    let credential = credential.map(of_setting).transpose()?;
    Ok(ProviderConfig::messages(
        "anthropic",
        base_url.unwrap_or_default(),
        CredentialSource::new(credential),
    ))
}

fn of_policy(
    provider: &Provider,
    home: Option<&PathBuf>,
    environment: &dyn Environment,
) -> Result<ProviderConfig> {
    let base_url = address(provider.base_url.as_deref())?;
    let name = |kind: &str| provider.name.clone().unwrap_or_else(|| kind.to_owned());
    match provider.kind {
        ProviderName::Anthropic | ProviderName::Subscription | ProviderName::Gateway => {
            let kind = match provider.kind {
                ProviderName::Anthropic => KeyKind::ApiKey,
                ProviderName::Subscription => KeyKind::Subscription,
                _ => provider.header.clone().map_or(KeyKind::Bearer, KeyKind::Header),
            };
            if provider.kind == ProviderName::Gateway && base_url.is_none() {
                return Err(refuse("a gateway has no address", "give it base_url"));
            }
            let source = keys(provider, kind, environment)?;
            let name = name(if base_url.is_some() {
                "gateway"
            } else {
                "anthropic"
            });
            Ok(ProviderConfig::messages(
                name,
                base_url.unwrap_or_default(),
                source,
            ))
        }
        ProviderName::Bedrock => {
            let mut sources = aws_sources(home, environment)?;
            if provider.profile.is_some() {
                // A profile that is named goes before keys that happen to be in the environment.
                sources.credentials = None;
                sources.profile.clone_from(&provider.profile);
            }
            let config = BedrockConfig {
                region: provider.region.clone(),
                base_url,
                sources,
            };
            Ok(ProviderConfig::bedrock(name("bedrock"), config))
        }
        ProviderName::Vertex => {
            let (Some(project), Some(region)) = (&provider.project, &provider.region) else {
                return Err(refuse(
                    "Vertex has no project or no region",
                    "give it project and region",
                ));
            };
            let config = VertexConfig {
                project: project.clone(),
                region: region.clone(),
                base_url,
                sources: google_sources(home, environment),
            };
            Ok(ProviderConfig::vertex(name("vertex"), config))
        }
    }
}

/// How a secret of the policy is presented.
#[derive(Clone)]
enum KeyKind {
    ApiKey,
    Subscription,
    Bearer,
    Header(String),
}

impl KeyKind {
    fn credential(&self, secret: &SecretString) -> Result<ProviderCredential, GatewayError> {
        match self {
            Self::ApiKey => ProviderCredential::api_key(secret),
            Self::Subscription => ProviderCredential::subscription(secret),
            Self::Bearer => ProviderCredential::bearer(secret),
            Self::Header(name) => ProviderCredential::header(name, secret),
        }
    }
}

/// Reads a secret of the policy when there is none yet, and again when the provider refuses the one that there is.
struct PolicyKey {
    kind: KeyKind,
    secret: Arc<Followed>,
}

#[async_trait]
impl CredentialReader for PolicyKey {
    async fn read(&self) -> Result<Option<ProviderCredential>, GatewayError> {
        let secret = self.secret.read().await;
        secret.map(|secret| self.kind.credential(&secret)).transpose()
    }
}

fn keys(provider: &Provider, kind: KeyKind, environment: &dyn Environment) -> Result<CredentialSource> {
    let Some(reference) = &provider.secret else {
        return Err(refuse(
            "a provider has no secret",
            "give it secret = { env = \"NAME\" }, { file = … } or { command = […] }",
        ));
    };
    let secret = Followed::new(reference, environment)?;
    Ok(CredentialSource::new(None).with_reader(Arc::new(PolicyKey { kind, secret })))
}

fn of_setting(found: &Credential) -> Result<ProviderCredential> {
    let credential = match found.kind {
        CredentialKind::ApiKey => ProviderCredential::api_key(&found.secret),
        CredentialKind::Bearer => ProviderCredential::bearer(&found.secret),
        CredentialKind::Subscription => ProviderCredential::subscription(&found.secret),
    };
    credential.map_err(|error| Error::from(error).with_context("variable", &found.variable))
}

/// What the AWS tools of this machine use.
pub(super) fn aws_sources(home: Option<&PathBuf>, environment: &dyn Environment) -> Result<AwsSources> {
    let secret = |variable: EnvVar| -> Result<Option<SecretString>> {
        Ok(environment.text(variable)?.map(SecretString::from))
    };
    let key = (
        environment.text(env::AWS_ACCESS_KEY_ID)?,
        secret(env::AWS_SECRET_ACCESS_KEY)?,
    );
    let credentials = match key {
        (Some(access_key_id), Some(secret_access_key)) => Some(AwsCredentials {
            access_key_id,
            secret_access_key,
            session_token: secret(env::AWS_SESSION_TOKEN)?,
        }),
        _ => None,
    };
    let region = match environment.text(env::AWS_REGION)? {
        Some(region) => Some(region),
        None => environment.text(env::AWS_DEFAULT_REGION)?,
    };
    let file = |variable: EnvVar, below: &str| {
        environment
            .get(variable)
            .map(PathBuf::from)
            .or_else(|| home.map(|home| home.join(below)))
    };
    let token_file = environment
        .get(env::AWS_WEB_IDENTITY_TOKEN_FILE)
        .map(PathBuf::from);
    let web_identity = match (token_file, environment.text(env::AWS_ROLE_ARN)?) {
        (Some(token_file), Some(role_arn)) => Some(WebIdentity {
            token_file,
            role_arn,
            session_name: environment
                .text(env::AWS_ROLE_SESSION_NAME)?
                .unwrap_or_else(|| "cofferdam".to_owned()),
        }),
        _ => None,
    };
    Ok(AwsSources {
        credentials,
        bearer_token: secret(env::AWS_BEARER_TOKEN_BEDROCK)?,
        region,
        profile: environment.text(env::AWS_PROFILE)?,
        config_file: file(env::AWS_CONFIG_FILE, ".aws/config"),
        credentials_file: file(env::AWS_SHARED_CREDENTIALS_FILE, ".aws/credentials"),
        web_identity,
        machine_role: true,
        metadata_endpoint: None,
    })
}

fn google_sources(home: Option<&PathBuf>, environment: &dyn Environment) -> GoogleSources {
    let folder = environment
        .get(env::CLOUDSDK_CONFIG)
        .map(PathBuf::from)
        .or_else(|| home.map(|home| home.join(".config/gcloud")));
    GoogleSources {
        named_file: environment
            .get(env::GOOGLE_APPLICATION_CREDENTIALS)
            .map(PathBuf::from),
        user_file: folder
            .map(|folder: PathBuf| Path::new(&folder).join("application_default_credentials.json")),
        machine_account: true,
        metadata_endpoint: None,
    }
}

fn is_on(environment: &dyn Environment, variable: EnvVar) -> Result<bool> {
    let value = environment.text(variable)?;
    Ok(value.is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true")))
}

fn address(text: Option<&str>) -> Result<Option<BaseUrl>> {
    Ok(text.map(str::parse).transpose()?)
}

fn missing(variable: EnvVar) -> Error {
    refuse(
        "a variable that Vertex needs is not set",
        "set it where Cofferdam runs",
    )
    .with_context("variable", variable.name)
}

fn refuse(message: &'static str, hint: &'static str) -> Error {
    Error::new(ErrorKind::InvalidArgument, OPERATION, message).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn shown(policy: &str, pairs: &[(&str, &str)]) -> Result<Vec<String>> {
        let environment: BTreeMap<String, String> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let policy = OperatorPolicy::parse(policy)?;
        let providers = resolve(&policy, &Overrides::default(), None, None, &environment)?;
        Ok(providers.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_environment_names_one_provider() {
        assert_eq!(shown("", &[]).unwrap(), [BaseUrl::default().to_string()]);
        let bedrock = [("CLAUDE_CODE_USE_BEDROCK", "true"), ("AWS_REGION", "eu-west-1")];
        assert_eq!(shown("", &bedrock).unwrap(), ["AWS Bedrock in eu-west-1"]);
        let vertex = [
            ("CLAUDE_CODE_USE_VERTEX", "1"),
            ("CLOUD_ML_REGION", "global"),
            ("ANTHROPIC_VERTEX_PROJECT_ID", "project-1"),
        ];
        assert_eq!(
            shown("", &vertex).unwrap(),
            ["Google Vertex in global, project project-1"]
        );
        let error = shown("", &vertex[..2]).unwrap_err();
        assert!(
            error.to_string().contains("ANTHROPIC_VERTEX_PROJECT_ID"),
            "{error}"
        );
    }

    #[test]
    fn the_policy_orders_several() {
        let policy = "[[providers]]\nkind = \"anthropic\"\nsecret = { env = \"KEY\" }\n\
                      [[providers]]\nkind = \"gateway\"\nbase_url = \"https://gate.example/\"\nheader = \"api-key\"\n\
                      secret = { file = \"/run/key\" }\n";
        let shown = shown(policy, &[("KEY", "canary-key")]).unwrap();
        assert_eq!(
            shown,
            [BaseUrl::default().to_string(), "https://gate.example".to_owned()]
        );
    }

    #[test]
    fn a_provider_that_cannot_work_is_refused() {
        for policy in [
            "[[providers]]\nkind = \"anthropic\"",
            "[[providers]]\nkind = \"anthropic\"\nsecret = { env = \"ABSENT\" }",
            "[[providers]]\nkind = \"gateway\"\nsecret = { file = \"/k\" }",
            "[[providers]]\nkind = \"vertex\"\nproject = \"p\"",
            "[[providers]]\nkind = \"other\"",
            "[[providers]]\nkind = \"gateway\"\nbase_url = \"http://gate.example/\"\nsecret = { file = \"/k\" }",
        ] {
            let error = shown(policy, &[]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{policy}");
        }
    }
}
