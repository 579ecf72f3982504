//! The clouds' guises against requests that are right, and against the same with one thing wrong.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_eventstream::frame::read_message_from;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Buf;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::{AwsGate, GoogleGate, ModelServer, Script, Surface};

const BODY: &str = r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;

async fn send(request: Request<String>) -> Response<bytes::Bytes> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<bytes::Bytes>>();
    let (parts, body) = request.into_parts();
    let answer = client
        .request(Request::from_parts(parts, Full::from(body)))
        .await
        .unwrap();
    let (parts, body) = answer.into_parts();
    Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}

/// A request signed for `region` with this secret.
fn signed(server: &ModelServer, secret: &str, token: Option<&str>, region: &str) -> Request<String> {
    let uri = format!("{}/model/a.b-v1%3A0/invoke-with-response-stream", server.url());
    let mut request = Request::post(&uri)
        .header("host", server.address().to_string())
        .header("content-type", "application/json")
        .body(BODY.to_owned())
        .unwrap();
    let identity = Credentials::new("AKIDEXAMPLE", secret, token.map(str::to_owned), None, "test").into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("bedrock")
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let headers: Vec<(String, String)> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    let headers = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let signable = SignableRequest::new("POST", &uri, headers, SignableBody::Bytes(BODY.as_bytes())).unwrap();
    let (signed, _) = sign(signable, &params).unwrap().into_parts();
    signed.apply_to_request_http1x(&mut request);
    request
}

async fn bedrock() -> (ModelServer, AwsGate) {
    let gate = AwsGate::new("eu-west-1").accept("AKIDEXAMPLE", "the-secret", Some("the-token"));
    let server = ModelServer::start_as(
        Surface::Bedrock(gate.clone()),
        Script::new().say("hello").forever(),
    )
    .await
    .unwrap();
    (server, gate)
}

#[tokio::test]
async fn a_right_signature_gets_frames_that_aws_s_own_decoder_reads() {
    let (server, _) = bedrock().await;
    let answer = send(signed(&server, "the-secret", Some("the-token"), "eu-west-1")).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.headers()["content-type"],
        "application/vnd.amazon.eventstream"
    );
    let mut rest = answer.into_body();
    let mut kinds = Vec::new();
    while rest.has_remaining() {
        let length = usize::try_from(u32::from_be_bytes(rest[..4].try_into().unwrap())).unwrap();
        let message = read_message_from(rest.split_to(length)).unwrap();
        let payload: Value = serde_json::from_slice(message.payload()).unwrap();
        let event = BASE64_STANDARD
            .decode(payload["bytes"].as_str().unwrap())
            .unwrap();
        let event: Value = serde_json::from_slice(&event).unwrap();
        kinds.push(event["type"].as_str().unwrap().to_owned());
    }
    assert_eq!(kinds.first().unwrap(), "message_start");
    assert_eq!(kinds.last().unwrap(), "message_stop");
    assert_eq!(server.conversation()[0].model(), "a.b-v1:0");
}

#[tokio::test]
async fn one_thing_wrong_in_a_signed_request_is_refused() {
    let (server, gate) = bedrock().await;
    let good = || signed(&server, "the-secret", Some("the-token"), "eu-west-1");
    let mut other_body = good();
    *other_body.body_mut() = BODY.replace("hi", "ho");
    let mut other_path = good();
    *other_path.uri_mut() = other_path
        .uri()
        .to_string()
        .replace("a.b", "a.c")
        .parse()
        .unwrap();
    let mut other_date = good();
    other_date
        .headers_mut()
        .insert("x-amz-date", "20200101T000000Z".parse().unwrap());
    let mut other_type = good();
    other_type
        .headers_mut()
        .insert("content-type", "text/plain".parse().unwrap());
    let mut unsigned = good();
    unsigned.headers_mut().remove("authorization");
    for wrong in [
        signed(&server, "another-secret", Some("the-token"), "eu-west-1"),
        signed(&server, "the-secret", Some("another-token"), "eu-west-1"),
        signed(&server, "the-secret", None, "eu-west-1"),
        signed(&server, "the-secret", Some("the-token"), "us-east-1"),
        other_body,
        other_path,
        other_date,
        other_type,
        unsigned,
    ] {
        let answer = send(wrong).await;
        assert_eq!(answer.status(), 403);
        assert_eq!(answer.headers()["x-amzn-errortype"], "AccessDeniedException");
        let body: Value = serde_json::from_slice(answer.body()).unwrap();
        assert!(body["message"].as_str().unwrap().len() > 10);
    }
    assert_eq!(server.conversation_count(), 0);
    assert_eq!(send(good()).await.status(), 200);
    gate.revoke("AKIDEXAMPLE");
    assert_eq!(send(good()).await.status(), 403);
}

#[tokio::test]
async fn tokens_of_google_s_are_given_out_and_come_back() {
    let gate = GoogleGate::new("proj", "europe-west1").login("a-refresh-token");
    let server = ModelServer::start_as(
        Surface::Vertex(gate.clone()),
        Script::new().say("hello").forever(),
    )
    .await
    .unwrap();
    let token = async |refresh: &str| {
        let body = json!({ "grant_type": "refresh_token", "refresh_token": refresh }).to_string();
        let request = Request::post(format!("{}/token", server.url()))
            .body(body)
            .unwrap();
        let answer = send(request).await;
        let status = answer.status();
        (status, serde_json::from_slice::<Value>(answer.body()).unwrap())
    };
    let (status, body) = token("another").await;
    assert_eq!(
        (status.as_u16(), body["error"].as_str()),
        (400, Some("invalid_grant"))
    );
    let (status, body) = token("a-refresh-token").await;
    assert_eq!(status, 200);

    let ask = async |token: &str, project: &str| {
        let path = format!(
            "/v1/projects/{project}/locations/europe-west1/publishers/anthropic/models/claude-x:streamRawPredict"
        );
        let request = Request::post(format!("{}{path}", server.url()))
            .header("authorization", format!("Bearer {token}"))
            .body(BODY.to_owned())
            .unwrap();
        send(request).await.status().as_u16()
    };
    let good = body["access_token"].as_str().unwrap();
    assert_eq!(ask("another", "proj").await, 401);
    assert_eq!(ask(good, "other").await, 403);
    assert_eq!(ask(good, "proj").await, 200);
    assert_eq!(server.conversation()[0].model(), "claude-x");
    gate.revoke_tokens();
    assert_eq!(ask(good, "proj").await, 401);
}
