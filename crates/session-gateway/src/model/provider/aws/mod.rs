//! AWS Bedrock: the region, the endpoint, and requests signed with the host's or the session's credentials.

mod keys;
mod sign;
mod sources;

use session_core::gateway::ModelApi;

use super::{Keys, Provider, invalid, is_label};
use crate::error::GatewayError;
use crate::model::base_url::BaseUrl;
use crate::model::credential::Credential;
use crate::model::source::CredentialSource;

pub(super) use self::keys::AwsKeys;
pub(super) use self::sign::AwsKey;
pub use self::sources::{AwsSources, WebIdentity};

/// The longest body that Bedrock takes, and so the longest that is signed.
pub(super) const MAX_BODY: usize = 25_000_000;

/// AWS Bedrock.
#[derive(Debug, Clone, Default)]
pub struct BedrockConfig {
    /// The region. `None` takes that of the sources: what the environment says, else the profile.
    pub region: Option<String>,
    /// The endpoint, when it is not the region's own: a private one, or a test's.
    pub base_url: Option<BaseUrl>,
    /// Where credentials come from.
    pub sources: AwsSources,
}

impl BedrockConfig {
    pub(super) async fn provider(&self, name: &str) -> Result<Provider, GatewayError> {
        let region = match &self.region {
            Some(region) => Some(region.clone()),
            None => self.sources.region().await,
        };
        let region = region.ok_or_else(|| {
            invalid(
                "no AWS region is known",
                "name one for the session, or set AWS_REGION for Cofferdam, or a region in the profile",
            )
        })?;
        if !is_label(&region) {
            return Err(invalid(
                "what is given as the AWS region is no region's name",
                "give a name such as eu-west-1",
            ));
        }
        let base = match &self.base_url {
            Some(base) => base.clone(),
            None => endpoint(&region).parse()?,
        };
        let keys = match &self.sources.bearer_token {
            Some(token) => Keys::Header(CredentialSource::new(Some(Credential::bearer(token)?))),
            None => Keys::Aws(AwsKeys::new(self.sources.clone(), &region)?),
        };
        Ok(Provider::new(name, ModelApi::Bedrock { region }, base, keys))
    }
}

/// The region's own endpoint. China is a partition of its own with a domain of its own.
fn endpoint(region: &str) -> String {
    let domain = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    format!("https://bedrock-runtime.{region}.{domain}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_region_has_its_endpoint() {
        for (region, url) in [
            ("eu-west-1", "https://bedrock-runtime.eu-west-1.amazonaws.com"),
            (
                "us-gov-west-1",
                "https://bedrock-runtime.us-gov-west-1.amazonaws.com",
            ),
            (
                "cn-north-1",
                "https://bedrock-runtime.cn-north-1.amazonaws.com.cn",
            ),
        ] {
            assert_eq!(endpoint(region).parse::<BaseUrl>().unwrap().to_string(), url);
        }
    }
}
