//! A caller's own account at a provider.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use session_core::gateway::{AwsCredentials, BedrockAccount, ProviderAccount};
use utoipa::ToSchema;

use crate::object::objects;
use crate::secret::SecretText;

/// A caller's own account at a provider. Never stored, logged or answered.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(remote = "Self", tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum AccountBody {
    /// A key of the server's default provider.
    ApiKey {
        /// The key.
        #[schema(value_type = String, pattern = "^[!-~]+$", max_length = 16_384)]
        key: SecretText,
    },
    /// AWS Bedrock. What is left out comes from the server's own AWS configuration.
    Bedrock {
        /// The region.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(
            pattern = "^[a-z]([a-z0-9-]*[a-z0-9])?$",
            max_length = 64,
            example = "eu-central-1"
        )]
        region: Option<String>,
        /// The credentials.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        credentials: Option<CredentialsBody>,
    },
}

/// AWS credentials.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct CredentialsBody {
    /// The id of the access key.
    #[schema(pattern = "^[A-Za-z0-9]+$", max_length = 128)]
    pub access_key_id: String,
    /// The key.
    #[schema(value_type = String, pattern = "^[!-~]+$", max_length = 16_384)]
    pub secret_access_key: SecretText,
    /// The token of a temporary credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, pattern = "^[!-~]+$", max_length = 16_384)]
    pub session_token: Option<SecretText>,
}

/// Reads an account. The error of a derived reader would quote what stands there instead: perhaps the secret.
pub(super) fn quietly<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<AccountBody>, D::Error> {
    Option::deserialize(deserializer).map_err(|_| {
        D::Error::custom(
            "an account is {\"kind\": \"api_key\", \"key\": …} or {\"kind\": \"bedrock\", \"region\": …, \"credentials\": …}",
        )
    })
}

impl From<AccountBody> for ProviderAccount {
    fn from(body: AccountBody) -> Self {
        match body {
            AccountBody::ApiKey { key } => Self::ApiKey(key.into_inner()),
            AccountBody::Bedrock { region, credentials } => Self::Bedrock(BedrockAccount {
                region,
                credentials: credentials.map(Into::into),
            }),
        }
    }
}

impl From<ProviderAccount> for AccountBody {
    fn from(account: ProviderAccount) -> Self {
        match account {
            ProviderAccount::ApiKey(key) => Self::ApiKey { key: key.into() },
            ProviderAccount::Bedrock(BedrockAccount { region, credentials }) => Self::Bedrock {
                region,
                credentials: credentials.map(Into::into),
            },
        }
    }
}

impl From<CredentialsBody> for AwsCredentials {
    fn from(body: CredentialsBody) -> Self {
        Self {
            access_key_id: body.access_key_id,
            secret_access_key: body.secret_access_key.into_inner(),
            session_token: body.session_token.map(SecretText::into_inner),
        }
    }
}

impl From<AwsCredentials> for CredentialsBody {
    fn from(credentials: AwsCredentials) -> Self {
        Self {
            access_key_id: credentials.access_key_id,
            secret_access_key: credentials.secret_access_key.into(),
            session_token: credentials.session_token.map(Into::into),
        }
    }
}

objects!(AccountBody, CredentialsBody);
