//! Bedrock: the host signs, the session sees a region. The scripted endpoint computes each signature once more with AWS's
//! own crate.

mod accounts;
mod refusals;
mod signing;
mod sources;

use hyper::{Request, Response};
use session_core::gateway::AwsCredentials;
use session_gateway::model::{AwsSources, BedrockConfig, ModelProxyConfig, ProviderConfig};
use testkit::model::{AwsGate, ModelServer, Script, Surface};

use crate::support::{ONCE, TOKEN, TestBody, full, read};

pub(crate) const REGION: &str = "eu-west-1";
pub(crate) const SECRET: &str = "canary/secret+access/key";
const SESSION: &str = "canary-session-token-0123456789";
const MODEL: &str = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0";

/// A scripted Bedrock that knows one account.
async fn bedrock() -> (ModelServer, AwsGate) {
    let gate = AwsGate::new(REGION).accept("AKIACANARYHOST", SECRET, None);
    let script = Script::new().say("hello from the model").forever();
    let server = ModelServer::start_as(Surface::Bedrock(gate.clone()), script)
        .await
        .unwrap();
    (server, gate)
}

fn keys(id: &str, secret: &str, token: Option<&str>) -> AwsCredentials {
    AwsCredentials {
        access_key_id: id.to_owned(),
        secret_access_key: secret.into(),
        session_token: token.map(Into::into),
    }
}

fn config(server: &ModelServer, sources: AwsSources) -> ModelProxyConfig {
    config_at(&server.url(), sources)
}

pub(crate) fn config_at(url: &str, sources: AwsSources) -> ModelProxyConfig {
    let bedrock = BedrockConfig {
        region: Some(REGION.to_owned()),
        base_url: Some(url.parse().unwrap()),
        sources,
    };
    ModelProxyConfig {
        providers: vec![ProviderConfig::bedrock("bedrock", bedrock)],
        retry: ONCE,
        ..ModelProxyConfig::default()
    }
}

fn host_keys() -> AwsSources {
    AwsSources {
        credentials: Some(keys("AKIACANARYHOST", SECRET, None)),
        ..AwsSources::default()
    }
}

/// A request as the agent makes it in Bedrock mode.
pub(crate) fn invoke(model: &str, operation: &str) -> Request<TestBody> {
    let body = r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":64,"messages":[{"role":"user","content":"hi"}]}"#;
    Request::post(format!("/model/{model}/{operation}"))
        .header("host", "127.0.0.1:9101")
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/json")
        .header("user-agent", "curl")
        .body(full(body))
        .unwrap()
}

/// The message of an error of Bedrock's, after a check of its shape.
pub(crate) async fn error_of(response: Response<hyper::body::Incoming>) -> (u16, String, String) {
    let status = response.status().as_u16();
    let kind = response.headers()["x-amzn-errortype"]
        .to_str()
        .unwrap()
        .to_owned();
    let body: serde_json::Value = serde_json::from_slice(&read(response).await).unwrap();
    (status, kind, body["message"].as_str().unwrap().to_owned())
}
