//! What the agent is told in Bedrock's shape when nothing comes of a request.

use hyper::Request;
use session_core::gateway::{BedrockAccount, ProviderAccount};
use session_gateway::model::{AwsSources, Limits};

use super::{MODEL, SESSION, bedrock, config, error_of, host_keys, invoke, keys};
use crate::support::{Fixture, TOKEN, full};

#[tokio::test]
async fn a_refused_signature_is_told_once_and_without_the_token() {
    let (server, gate) = bedrock().await;
    gate.add("ASIACANARYOWN", "the secret that AWS knows", Some(SESSION));
    let own = BedrockAccount {
        region: None,
        credentials: Some(keys("ASIACANARYOWN", "the-secret-of-yesterday", Some(SESSION))),
    };
    let fixture = Fixture::with(config(&server, host_keys()), Some(ProviderAccount::Bedrock(own))).await;
    let response = fixture.send(invoke(MODEL, "invoke")).await;
    assert_eq!(response.headers()["x-should-retry"], "false");
    assert!(
        !response.headers().contains_key("x-cofferdam-refusal"),
        "AWS's own words"
    );
    let (status, kind, message) = error_of(response).await;
    // The agent would ask again after a 403 of Bedrock's, whatever is said of it.
    assert_eq!((status, kind.as_str()), (401, "AccessDeniedException"));
    assert!(message.contains("x-amz-security-token:***"), "{message}");
    assert!(!message.contains(SESSION));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn without_credentials_the_agent_is_told_in_bedrock_s_shape() {
    let (server, _) = bedrock().await;
    let fixture = Fixture::with(config(&server, AwsSources::default()), None).await;
    let response = fixture.send(invoke(MODEL, "invoke-with-response-stream")).await;
    assert_eq!(response.headers()["x-cofferdam-refusal"], "no_credential");
    assert_eq!(response.headers()["x-should-retry"], "false");
    let (status, kind, message) = error_of(response).await;
    assert_eq!((status, kind.as_str()), (401, "AccessDeniedException"));
    assert!(message.contains("aws sso login"), "{message}");
    assert!(server.requests().is_empty());
    assert_eq!(fixture.proxy.usage(&fixture.session).unwrap().refused_requests, 1);
}

#[tokio::test]
async fn what_is_not_offered_is_refused_in_bedrock_s_shape() {
    let (server, _) = bedrock().await;
    let fixture = Fixture::with(config(&server, host_keys()), None).await;
    for (method, path, status) in [
        ("GET", "/inference-profiles?type=SYSTEM_DEFINED", 404),
        ("POST", "/model/a/converse", 404),
        ("POST", "/v1/messages", 404),
        ("GET", "/model/a/invoke", 405),
        ("POST", "/model/a/invoke?X-Amz-Algorithm=x", 401),
        ("POST", "http://169.254.169.254/model/a/invoke", 401),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {TOKEN}"))
            .body(full(""))
            .unwrap();
        assert_eq!(
            error_of(fixture.send(request).await).await.0,
            status,
            "{method} {path}"
        );
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_body_that_cannot_be_signed_is_refused() {
    let (server, _) = bedrock().await;
    let mut config = config(&server, host_keys());
    config.limits = Limits {
        max_held_in_all: 0,
        ..Limits::default()
    };
    let fixture = Fixture::with(config.clone(), None).await;
    let response = fixture.send(invoke(MODEL, "invoke")).await;
    assert_eq!(response.headers()["x-cofferdam-refusal"], "no_memory");
    assert_eq!(response.headers()["x-should-retry"], "true");

    config.limits = Limits {
        max_request_body: 100_000_000,
        ..Limits::default()
    };
    let fixture = Fixture::with(config, None).await;
    let mut request = invoke(MODEL, "invoke");
    *request.body_mut() = full(vec![b' '; 25_000_001]);
    let response = fixture.send(request).await;
    assert_eq!(response.headers()["x-cofferdam-refusal"], "body_too_large");
    assert_eq!(error_of(response).await.0, 413);
    assert!(server.requests().is_empty());
}
