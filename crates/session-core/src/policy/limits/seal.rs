//! What a session may reach and spend, and as whom: allow-lists, budgets and accounts at a provider.
//!
//! No value of a credential ever appears in an error.

use secrecy::{ExposeSecret, SecretString};

use super::{at_most, bad, shown};
use crate::budget::Budget;
use crate::egress::AllowEntry;
use crate::error::Result;
use crate::gateway::{AwsCredentials, BedrockAccount, ProviderAccount};
use crate::runtime::NetworkMode;

/// The most entries of a session's allow-list.
pub const MAX_ALLOW_ENTRIES: usize = 256;

const MAX_CREDENTIAL_BYTES: usize = 16 << 10;
const MAX_REGION_BYTES: usize = 64;
const MAX_ACCESS_KEY_ID_BYTES: usize = 128;

pub(super) fn validate_allow(allow: &[AllowEntry], network: NetworkMode) -> Result<()> {
    if !allow.is_empty() && network == NetworkMode::Open {
        return Err(
            bad("hosts are allowed to a session that has a network of its own").with_hint(
                "leave the open network out, so that these hosts are the only ones; or leave them out",
            ),
        );
    }
    if allow.len() > MAX_ALLOW_ENTRIES {
        return Err(bad("there are too many allowed hosts")
            .with_context("entries", allow.len())
            .with_context("limit", MAX_ALLOW_ENTRIES)
            .with_hint("use a wildcard such as *.example.com, or a preset, instead of single hosts"));
    }
    Ok(())
}

pub(super) fn validate_budget(budget: &Budget) -> Result<()> {
    let limits = [
        ("cost_microusd", budget.cost_microusd),
        ("tokens", budget.tokens),
        ("requests", budget.requests),
        ("model_ms", budget.model_ms),
    ];
    match limits.into_iter().find(|(_, limit)| *limit == Some(0)) {
        None => Ok(()),
        Some((name, _)) => Err(bad("a budget of nothing is spent before the first request")
            .with_context("limit", name)
            .with_hint("leave the limit away for none")),
    }
}

pub(super) fn validate_account(account: &ProviderAccount) -> Result<()> {
    match account {
        ProviderAccount::ApiKey(key) => validate_secret(key),
        ProviderAccount::Bedrock(BedrockAccount { region, credentials }) => {
            region.as_deref().map_or(Ok(()), validate_region)?;
            credentials.as_ref().map_or(Ok(()), validate_aws)
        }
    }
}

/// A region becomes part of a host's name.
fn validate_region(region: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fine = region.starts_with(|c: char| c.is_ascii_lowercase())
        && !region.ends_with('-')
        && region.bytes().all(allowed)
        && region.len() <= MAX_REGION_BYTES;
    if fine {
        return Ok(());
    }
    Err(bad("this is not the name of a region")
        .with_context("region", shown(region))
        .with_hint("for example eu-central-1"))
}

fn validate_aws(credentials: &AwsCredentials) -> Result<()> {
    let id = &credentials.access_key_id;
    if id.is_empty()
        || id.len() > MAX_ACCESS_KEY_ID_BYTES
        || !id.bytes().all(|byte| byte.is_ascii_alphanumeric())
    {
        // Somebody may have put the key itself here, so it is not shown.
        return Err(bad("this is not the id of an AWS access key")
            .with_hint("it has 20 letters and digits and begins with AKIA or ASIA"));
    }
    validate_secret(&credentials.secret_access_key)?;
    credentials.session_token.as_ref().map_or(Ok(()), validate_secret)
}

/// A credential becomes the value of an HTTP header, or signs one.
fn validate_secret(secret: &SecretString) -> Result<()> {
    let secret = secret.expose_secret();
    if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(
            bad("the credential is empty or has characters that a key cannot have")
                .with_hint("look for a line end or a quote that was copied along"),
        );
    }
    at_most("the credential", secret.len(), MAX_CREDENTIAL_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn refused(outcome: Result<()>) -> String {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.hint().is_some());
        format!("{error} {error:?}")
    }

    #[test]
    fn allowed_hosts_are_bounded_and_of_sealed_sessions() {
        let rules = |count: usize| -> Vec<AllowEntry> {
            (0..count)
                .map(|number| format!("h{number}.example").parse().unwrap())
                .collect()
        };
        validate_allow(&rules(MAX_ALLOW_ENTRIES), NetworkMode::Sealed).unwrap();
        validate_allow(&[], NetworkMode::Open).unwrap();
        refused(validate_allow(&rules(MAX_ALLOW_ENTRIES + 1), NetworkMode::Sealed));
        refused(validate_allow(&rules(1), NetworkMode::Open));
    }

    #[test]
    fn a_budget_leaves_room_for_something() {
        validate_budget(&Budget::default()).unwrap();
        let one = Some(1);
        validate_budget(&Budget {
            cost_microusd: one,
            tokens: one,
            requests: one,
            model_ms: one,
        })
        .unwrap();
        for (name, budget) in [
            (
                "cost_microusd",
                Budget {
                    cost_microusd: Some(0),
                    ..Budget::default()
                },
            ),
            (
                "tokens",
                Budget {
                    tokens: Some(0),
                    ..Budget::default()
                },
            ),
            (
                "requests",
                Budget {
                    requests: Some(0),
                    ..Budget::default()
                },
            ),
            (
                "model_ms",
                Budget {
                    model_ms: Some(0),
                    ..Budget::default()
                },
            ),
        ] {
            assert!(refused(validate_budget(&budget)).contains(name));
        }
    }

    fn bedrock(region: &str, id: &str, key: &str, token: Option<&str>) -> ProviderAccount {
        ProviderAccount::Bedrock(BedrockAccount {
            region: Some(region.to_owned()),
            credentials: Some(AwsCredentials {
                access_key_id: id.to_owned(),
                secret_access_key: SecretString::from(key),
                session_token: token.map(SecretString::from),
            }),
        })
    }

    #[test]
    fn an_account_that_cannot_be_one_is_refused_without_a_value_of_it() {
        let id = "AKIAIOSFODNN7EXAMPLE";
        validate_account(&bedrock("eu-central-1", id, "a+/b=", Some("t"))).unwrap();
        validate_account(&ProviderAccount::Bedrock(BedrockAccount::default())).unwrap();
        for region in [
            "",
            "EU",
            "eu central",
            "eu.evil.example",
            "-eu",
            "eu-",
            "eu/",
            "1eu",
            &"e".repeat(65),
        ] {
            refused(validate_account(&bedrock(region, id, "k", None)));
        }
        for (id, key, token) in [
            ("", "canary", None),
            ("canary key", "canary", None),
            (id, "", None),
            (id, "canary\n", None),
            (id, "canary", Some("canary canary")),
        ] {
            let said = refused(validate_account(&bedrock("eu-central-1", id, key, token)));
            assert!(!said.contains("canary"), "{said}");
        }
    }
}
