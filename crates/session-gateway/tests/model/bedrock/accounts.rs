//! Whose account signs: a session's own, or the host's. An API key does without a signature.

use session_core::gateway::{BedrockAccount, ModelApi, ProviderAccount};
use session_core::id::SessionId;
use session_gateway::GatewayErrorKind;
use session_gateway::model::{AwsSources, ModelProxy, ModelProxyConfig};
use testkit::ledger::MemoryLedger;

use super::{MODEL, REGION, SECRET, SESSION, bedrock, config, host_keys, invoke, keys};
use crate::support::{Fixture, TOKEN, access};

#[tokio::test]
async fn a_session_s_own_account_signs_for_its_own_region() {
    let (server, gate) = bedrock().await;
    gate.add("ASIACANARYOWN", "another/secret", Some(SESSION));
    let own = BedrockAccount {
        region: None,
        credentials: Some(keys("ASIACANARYOWN", "another/secret", Some(SESSION))),
    };
    let fixture = Fixture::with(config(&server, host_keys()), Some(ProviderAccount::Bedrock(own))).await;
    assert_eq!(fixture.send(invoke(MODEL, "invoke")).await.status(), 200);
    let seen = server.requests();
    assert_eq!(seen[0].header("x-amz-security-token"), Some(SESSION));
    assert!(seen[0].header("authorization").unwrap().contains("ASIACANARYOWN"));

    // Without an account of the host's, and without Bedrock among its providers.
    let account = BedrockAccount {
        region: Some("ap-southeast-2".to_owned()),
        credentials: Some(keys("ASIACANARYOWN", "another/secret", None)),
    };
    let fixture = Fixture::with(
        ModelProxyConfig::default(),
        Some(ProviderAccount::Bedrock(account)),
    )
    .await;
    let region = "ap-southeast-2".to_owned();
    assert_eq!(fixture.api, ModelApi::Bedrock { region });
}

#[tokio::test]
async fn what_cannot_be_an_account_is_no_session() {
    let proxy = ModelProxy::new(ModelProxyConfig::default());
    for (region, credentials, kind) in [
        (None, None, GatewayErrorKind::InvalidProvider),
        (Some("eu-west-1/x"), None, GatewayErrorKind::InvalidProvider),
        (
            Some(REGION),
            Some(keys("", "canary", None)),
            GatewayErrorKind::InvalidCredential,
        ),
        (
            Some(REGION),
            Some(keys("AKIACANARY", "can ary key", None)),
            GatewayErrorKind::InvalidCredential,
        ),
        (
            Some(REGION),
            Some(keys("AKIACANARY", SECRET, Some("a\nb"))),
            GatewayErrorKind::InvalidCredential,
        ),
    ] {
        let account = ProviderAccount::Bedrock(BedrockAccount {
            region: region.map(str::to_owned),
            credentials,
        });
        let access = access(TOKEN, Some(account), &MemoryLedger::default());
        let error = proxy.register(SessionId::new(), access).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.hint().is_some());
        assert!(!format!("{error} {error:?}").to_lowercase().contains("canary"));
    }
}

#[tokio::test]
async fn an_api_key_of_bedrock_s_takes_the_place_of_signatures() {
    let (server, gate) = bedrock().await;
    gate.accept_bearer("canary-bedrock-api-key");
    let sources = AwsSources {
        bearer_token: Some("canary-bedrock-api-key".into()),
        ..AwsSources::default()
    };
    let fixture = Fixture::with(config(&server, sources), None).await;
    assert_eq!(fixture.send(invoke(MODEL, "invoke")).await.status(), 200);
}
