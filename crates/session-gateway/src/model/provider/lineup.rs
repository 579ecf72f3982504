//! Which providers a session's requests may go to, in which order.
//!
//! A session without an account of its own gets the operator's providers, as far as they have the API of the first one:
//! the agent inside speaks one API for its whole life. A session with an account of its own gets that one alone: nobody's
//! money is spent in somebody else's place.

use std::sync::Arc;

use secrecy::SecretString;
use session_core::gateway::{BedrockAccount, ModelApi, ProviderAccount};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::{AwsSources, BedrockConfig, MessagesConfig, Provider, ProviderConfig, ProviderKind};
use crate::error::GatewayError;
use crate::model::credential::Credential;
use crate::model::queue::Sharing;
use crate::model::source::CredentialSource;

/// The name of a provider for which a session brought its own account.
const OWN_ACCOUNT: &str = "session account";

/// Providers with the same API, in order of preference. Never empty but where the operator configured none.
#[derive(Debug)]
pub(crate) struct Lineup {
    api: ModelApi,
    providers: Vec<Arc<Provider>>,
}

impl Lineup {
    /// The API that all of them have.
    pub(crate) fn api(&self) -> &ModelApi {
        &self.api
    }

    /// The one that is preferred.
    pub(crate) fn first(&self) -> Option<&Arc<Provider>> {
        self.providers.first()
    }

    /// All of them, those that failed lately last.
    pub(crate) fn in_order(&self) -> Vec<Arc<Provider>> {
        let now = Instant::now();
        let mut order = self.providers.clone();
        // Stable: among equals the preference stays.
        order.sort_by_key(|provider| provider.is_paused(now));
        order
    }
}

/// All that the operator configured, resolved when the first session needs it.
#[derive(Debug)]
pub(crate) struct Lineups {
    configs: Vec<ProviderConfig>,
    aws: AwsSources,
    sharing: Sharing,
    default: OnceCell<Arc<Lineup>>,
}

impl Lineups {
    pub(crate) fn new(configs: Vec<ProviderConfig>, aws: AwsSources, sharing: Sharing) -> Self {
        Self {
            configs,
            aws,
            sharing,
            default: OnceCell::new(),
        }
    }

    /// The providers of a session with this account, or without one.
    pub(crate) async fn of(&self, account: Option<&ProviderAccount>) -> Result<Arc<Lineup>, GatewayError> {
        match account {
            None => self
                .default
                .get_or_try_init(|| self.resolve())
                .await
                .map(Arc::clone),
            Some(ProviderAccount::ApiKey(key)) => {
                self.with_key(key).await.map(|provider| self.alone(provider))
            }
            Some(ProviderAccount::Bedrock(account)) => self
                .with_bedrock(account)
                .await
                .map(|provider| self.alone(provider)),
        }
    }

    fn alone(&self, provider: Provider) -> Arc<Lineup> {
        Arc::new(Lineup {
            api: provider.api().clone(),
            providers: vec![Arc::new(provider.shared_by(self.sharing))],
        })
    }

    async fn resolve(&self) -> Result<Arc<Lineup>, GatewayError> {
        let mut providers: Vec<Arc<Provider>> = Vec::new();
        for config in &self.configs {
            let provider = config.provider().await?.shared_by(self.sharing);
            let first = providers.first().map(|first| first.api());
            if first.is_none_or(|first| first == provider.api()) {
                providers.push(Arc::new(provider));
            } else {
                tracing::warn!(
                    provider = provider.name(),
                    "this provider has another API than the first one, so it never takes over from it"
                );
            }
        }
        Ok(Arc::new(Lineup {
            api: providers
                .first()
                .map(|first| first.api().clone())
                .unwrap_or_default(),
            providers,
        }))
    }

    /// The session's own key for the operator's first provider that takes keys; for the vendor when there is none.
    async fn with_key(&self, key: &SecretString) -> Result<Provider, GatewayError> {
        let configured = self.configs.iter().find_map(|config| match &config.kind {
            ProviderKind::Messages(messages) => Some(messages),
            ProviderKind::Bedrock(_) | ProviderKind::Vertex(_) => None,
        });
        // Read if it never was: how it travels must not depend on who asked before.
        let like = match configured {
            Some(messages) => messages.credential.get().await,
            None => None,
        };
        let credential = Credential::brought_along(like.as_ref(), key)?;
        let base_url = configured
            .map(|messages| messages.base_url.clone())
            .unwrap_or_default();
        let config = MessagesConfig {
            base_url,
            credential: CredentialSource::new(Some(credential)),
        };
        Ok(config.provider(OWN_ACCOUNT))
    }

    /// The session's own Bedrock account. What it leaves out comes from the operator's Bedrock provider, else from the host.
    async fn with_bedrock(&self, account: &BedrockAccount) -> Result<Provider, GatewayError> {
        let configured = self.configs.iter().find_map(|config| match &config.kind {
            ProviderKind::Bedrock(bedrock) => Some(bedrock.clone()),
            ProviderKind::Messages(_) | ProviderKind::Vertex(_) => None,
        });
        let mut config = configured.unwrap_or_else(|| BedrockConfig {
            sources: self.aws.clone(),
            ..BedrockConfig::default()
        });
        if account.region.is_some() {
            config.region.clone_from(&account.region);
        }
        if let Some(credentials) = &account.credentials {
            config.sources = config.sources.only(credentials.clone());
        }
        config.provider(OWN_ACCOUNT).await
    }
}

impl ProviderConfig {
    async fn provider(&self) -> Result<Provider, GatewayError> {
        match &self.kind {
            ProviderKind::Messages(config) => Ok(config.provider(&self.name)),
            ProviderKind::Bedrock(config) => config.provider(&self.name).await,
            ProviderKind::Vertex(config) => config.provider(&self.name),
        }
        .map_err(|error| error.with_context("provider", &self.name))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Key;
    use super::*;
    use crate::error::GatewayErrorKind;
    use crate::model::source::CredentialReader;

    fn messages(name: &str) -> ProviderConfig {
        let credential = Credential::api_key(&"canary-key-0123".into()).unwrap();
        ProviderConfig::messages(name, Default::default(), CredentialSource::new(Some(credential)))
    }

    fn bedrock(name: &str, region: Option<&str>) -> ProviderConfig {
        let config = BedrockConfig {
            region: region.map(str::to_owned),
            ..BedrockConfig::default()
        };
        ProviderConfig::bedrock(name, config)
    }

    fn names(lineup: &Lineup) -> Vec<String> {
        lineup
            .in_order()
            .iter()
            .map(|provider| provider.name().to_owned())
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn who_failed_lately_is_asked_last_until_the_pause_is_over() {
        let lineups = Lineups::new(
            vec![messages("a"), messages("b"), messages("c")],
            AwsSources::default(),
            Sharing::default(),
        );
        let lineup = lineups.of(None).await.unwrap();
        assert_eq!(names(&lineup), ["a", "b", "c"]);
        lineup.providers[0].pause(Duration::from_secs(60));
        assert_eq!(names(&lineup), ["b", "c", "a"]);
        lineup.providers[1].pause(Duration::from_secs(90));
        lineup.providers[1].pause(Duration::from_secs(1));
        assert_eq!(names(&lineup), ["c", "a", "b"]);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(names(&lineup), ["a", "c", "b"]);
        assert_eq!(lineup.first().unwrap().name(), "a");
    }

    #[tokio::test]
    async fn only_providers_with_the_same_api_take_over() {
        let configs = vec![
            bedrock("here", Some("eu-west-1")),
            messages("vendor"),
            bedrock("there", Some("us-east-1")),
            bedrock("here too", Some("eu-west-1")),
        ];
        let lineup = Lineups::new(configs, AwsSources::default(), Sharing::default())
            .of(None)
            .await
            .unwrap();
        assert_eq!(names(&lineup), ["here", "here too"]);
        assert_eq!(
            *lineup.api(),
            ModelApi::Bedrock {
                region: "eu-west-1".to_owned()
            }
        );
    }

    #[tokio::test]
    async fn an_account_of_its_own_stands_alone() {
        let lineups = Lineups::new(
            vec![bedrock("b", Some("eu-west-1")), messages("m")],
            AwsSources::default(),
            Sharing::default(),
        );
        let key = ProviderAccount::ApiKey("their-own-key".into());
        let lineup = lineups.of(Some(&key)).await.unwrap();
        assert_eq!((names(&lineup).len(), lineup.api()), (1, &ModelApi::Messages));

        let account = BedrockAccount {
            region: Some("us-west-2".to_owned()),
            credentials: None,
        };
        let lineup = lineups
            .of(Some(&ProviderAccount::Bedrock(account)))
            .await
            .unwrap();
        let region = "us-west-2".to_owned();
        assert_eq!(
            (names(&lineup).len(), lineup.api()),
            (1, &ModelApi::Bedrock { region })
        );
    }

    /// The operator's own credential is read when it is needed, and says how keys travel there.
    #[tokio::test]
    async fn an_own_key_travels_as_the_operator_s_also_before_that_was_ever_read() {
        struct File;
        #[async_trait::async_trait]
        impl CredentialReader for File {
            async fn read(&self) -> Result<Option<Credential>, GatewayError> {
                Credential::header("api-key", &"canary-key-0123".into()).map(Some)
            }
        }
        let source = CredentialSource::default().with_reader(std::sync::Arc::new(File));
        let configs = vec![ProviderConfig::messages("gateway", Default::default(), source)];
        let lineups = Lineups::new(configs, AwsSources::default(), Sharing::default());
        let key = ProviderAccount::ApiKey("their-own-key".into());
        let lineup = lineups.of(Some(&key)).await.unwrap();
        let Key::Header(credential) = lineup.first().unwrap().key().await.unwrap() else {
            panic!("a key in a header field");
        };
        let mut headers = hyper::HeaderMap::new();
        credential.apply(&mut headers);
        assert_eq!(headers["api-key"], "their-own-key");
    }

    #[tokio::test]
    async fn without_a_region_or_with_a_wrong_one_there_is_no_session() {
        for region in [
            None,
            Some(""),
            Some("eu west"),
            Some("eu-west-1.evil.example"),
            Some("EU"),
            Some("-a"),
        ] {
            let lineups = Lineups::new(
                vec![bedrock("b", region)],
                AwsSources::default(),
                Sharing::default(),
            );
            let error = lineups.of(None).await.unwrap_err();
            assert_eq!(error.kind(), GatewayErrorKind::InvalidProvider, "{region:?}");
            assert!(error.hint().is_some());
        }
    }
}
