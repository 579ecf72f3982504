//! A session's own account at a provider: a key, or AWS Bedrock.

use secrecy::{ExposeSecret, SecretString};
use session_core::gateway::{AwsCredentials, BedrockAccount, ProviderAccount};

use super::Args;
use crate::args::{Secret, given};
use crate::call::Call;
use crate::failure::Failure;

/// The account, and the models that were named with it.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) account: Option<ProviderAccount>,
    pub(super) model: Option<String>,
    pub(super) small_model: Option<String>,
}

/// The credentials as they were given, which may be in part.
struct Given {
    id: Option<SecretString>,
    key: Option<SecretString>,
    token: Option<SecretString>,
}

/// Reads it. Nothing that is secret is repeated in a refusal or a warning.
pub(super) fn read(args: &Args, call: &Call) -> Result<Account, Failure> {
    let secret = |secret: &Option<Secret>| secret.clone().and_then(Secret::into_given);
    let text = |text: &Option<String>| given(text.as_deref()).map(str::to_owned);
    let api_key = secret(&args.api_key);
    let aws = Given {
        id: secret(&args.aws_access_key_id),
        key: secret(&args.aws_secret_access_key),
        token: secret(&args.aws_session_token),
    };
    if args.use_bedrock != Some(true) {
        without_bedrock(args, &aws, call)?;
        return Ok(Account {
            account: api_key.map(ProviderAccount::ApiKey),
            model: text(&args.model),
            small_model: None,
        });
    }
    if api_key.is_some() {
        return Err(Failure::invalid(
            "apiKey and useBedrock are both given, and a session has one account",
            "leave one of them out",
        ));
    }
    let model = match (text(&args.bedrock_model), text(&args.model)) {
        (Some(own), Some(other)) if own != other => {
            call.warn("`model` was ignored: `bedrockModel` is the more particular of the two");
            Some(own)
        }
        (own, other) => own.or(other),
    };
    Ok(Account {
        account: Some(ProviderAccount::Bedrock(BedrockAccount {
            region: text(&args.aws_region),
            credentials: aws.credentials()?,
        })),
        model,
        small_model: text(&args.bedrock_small_model),
    })
}

impl Given {
    fn is_empty(&self) -> bool {
        self.id.is_none() && self.key.is_none() && self.token.is_none()
    }

    /// All of it or nothing: half a credential is never filled up with the host's own.
    fn credentials(self) -> Result<Option<AwsCredentials>, Failure> {
        match (self.id, self.key, self.token) {
            (Some(id), Some(key), token) => Ok(Some(AwsCredentials {
                access_key_id: id.expose_secret().to_owned(),
                secret_access_key: key,
                session_token: token,
            })),
            (None, None, None) => Ok(None),
            (id, key, _) => {
                let missing = match (id.is_some(), key.is_some()) {
                    (true, _) => "awsSecretAccessKey is missing",
                    (false, true) => "awsAccessKeyId is missing",
                    (false, false) => "awsAccessKeyId and awsSecretAccessKey are missing",
                };
                Err(Failure::invalid(
                    format!("the AWS credentials are incomplete: {missing}"),
                    "give awsAccessKeyId and awsSecretAccessKey, and awsSessionToken for temporary credentials; or none \
                     of them, to use the AWS configuration of this host",
                ))
            }
        }
    }
}

/// What means something only with Bedrock: a secret that would be of no use is refused, all else is a warning.
fn without_bedrock(args: &Args, aws: &Given, call: &Call) -> Result<(), Failure> {
    if !aws.is_empty() && args.use_bedrock.is_none() {
        return Err(Failure::invalid(
            "AWS credentials are given, and useBedrock is not",
            "give useBedrock: true, or leave awsAccessKeyId, awsSecretAccessKey and awsSessionToken out",
        ));
    }
    let ignored = [
        ("awsRegion", given(args.aws_region.as_deref()).is_some()),
        ("bedrockModel", given(args.bedrock_model.as_deref()).is_some()),
        (
            "bedrockSmallModel",
            given(args.bedrock_small_model.as_deref()).is_some(),
        ),
        ("awsAccessKeyId", aws.id.is_some()),
        ("awsSecretAccessKey", aws.key.is_some()),
        ("awsSessionToken", aws.token.is_some()),
    ];
    for (name, _) in ignored.into_iter().filter(|(_, is_given)| *is_given) {
        call.warn(format!(
            "`{name}` was ignored: it means something only with useBedrock: true"
        ));
    }
    Ok(())
}
