//! Bedrock: the host signs, the session sees a region. The scripted endpoint computes each signature once more with AWS's
//! own crate.

use std::path::PathBuf;
use std::time::Duration;

use hyper::{Request, Response};
use session_core::gateway::{AwsCredentials, BedrockAccount, ModelApi, ProviderAccount};
use session_gateway::GatewayErrorKind;
use session_gateway::model::{
    AwsSources, BedrockConfig, Limits, ModelProxy, ModelProxyConfig, ProviderConfig,
};
use testkit::ledger::MemoryLedger;
use testkit::model::{AwsGate, ModelServer, Script, Surface};

use crate::support::{Fixture, ONCE, Provider, TOKEN, access, full, read};

pub(super) const REGION: &str = "eu-west-1";
pub(super) const SECRET: &str = "canary/secret+access/key";
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

pub(super) fn config_at(url: &str, sources: AwsSources) -> ModelProxyConfig {
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
pub(super) fn invoke(model: &str, operation: &str) -> Request<crate::support::TestBody> {
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
pub(super) async fn error_of(response: Response<hyper::body::Incoming>) -> (u16, String, String) {
    let status = response.status().as_u16();
    let kind = response.headers()["x-amzn-errortype"]
        .to_str()
        .unwrap()
        .to_owned();
    let body: serde_json::Value = serde_json::from_slice(&read(response).await).unwrap();
    (status, kind, body["message"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn requests_are_signed_frames_pass_and_tokens_are_counted() {
    let (server, _) = bedrock().await;
    let fixture = Fixture::with(config(&server, host_keys()), None).await;
    let region = REGION.to_owned();
    assert_eq!(fixture.api, ModelApi::Bedrock { region });

    let response = fixture.send(invoke(MODEL, "invoke-with-response-stream")).await;
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers()["content-type"],
        "application/vnd.amazon.eventstream"
    );
    let frames = read(response).await;
    let prelude = usize::try_from(u32::from_be_bytes(frames[..4].try_into().unwrap())).unwrap();
    aws_smithy_eventstream::frame::read_message_from(frames.slice(..prelude)).unwrap();

    let whole = fixture.send(invoke(MODEL, "invoke")).await;
    assert_eq!(whole.status(), 200);
    assert!(read(whole).await.starts_with(b"{"));
    let counted = fixture.send(invoke(MODEL, "count-tokens")).await;
    assert_eq!(counted.status(), 200);
    read(counted).await;

    let usage = fixture.proxy.usage(&fixture.session).unwrap();
    assert_eq!(
        (usage.requests, usage.input_tokens, usage.output_tokens),
        (3, 200, 20)
    );
    for seen in server.requests() {
        assert_eq!(seen.header("host"), Some(server.address().to_string().as_str()));
        assert!(!format!("{seen:?}").contains(TOKEN));
        assert_eq!(seen.model(), MODEL);
    }
}

#[tokio::test]
async fn every_spelling_of_an_id_is_signed_as_it_is_sent() {
    let (server, _) = bedrock().await;
    let fixture = Fixture::with(config(&server, host_keys()), None).await;
    for id in [
        "anthropic.claude-v1%3A0",
        "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile%2Fabc",
        "arn%3Aaws%3Abedrock%3Aeu-west-1%3A123456789012%3Aapplication-inference-profile%2Fabc",
        "eu.anthropic.claude-opus-5-5",
    ] {
        assert_eq!(fixture.send(invoke(id, "invoke")).await.status(), 200, "{id}");
    }
}

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
async fn what_a_session_sends_of_aws_s_fields_is_neither_signed_nor_sent() {
    let (server, _) = bedrock().await;
    let fixture = Fixture::with(config(&server, host_keys()), None).await;
    let mut request = invoke(MODEL, "invoke");
    for (name, value) in [
        ("x-amz-date", "20200101T000000Z"),
        ("x-amz-security-token", "theirs"),
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ("x-api-key", "theirs"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    request
        .headers_mut()
        .insert("x-amzn-bedrock-trace", "ENABLED".parse().unwrap());
    assert_eq!(fixture.send(request).await.status(), 200);
    let seen = &server.requests()[0];
    assert_eq!(seen.header("x-amz-security-token"), None);
    assert_eq!(seen.header("x-amz-content-sha256"), None);
    assert_eq!(seen.header("x-amzn-bedrock-trace"), Some("ENABLED"));
    assert!(
        seen.header("authorization")
            .unwrap()
            .contains("x-amzn-bedrock-trace")
    );
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
        let error = proxy
            .register(session_core::id::SessionId::new(), access)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.hint().is_some());
        assert!(!format!("{error} {error:?}").to_lowercase().contains("canary"));
    }
}

/// A folder like `~/.aws`.
struct Profiles {
    dir: tempfile::TempDir,
}

impl Profiles {
    fn new(config: &str, credentials: &str) -> Self {
        let profiles = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        profiles.write("config", config);
        profiles.write("credentials", credentials);
        profiles
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn sources(&self, profile: &str) -> AwsSources {
        AwsSources {
            profile: Some(profile.to_owned()),
            config_file: Some(self.path("config")),
            credentials_file: Some(self.path("credentials")),
            ..AwsSources::default()
        }
    }
}

fn stored(profile: &str, id: &str, secret: &str) -> String {
    format!("[{profile}]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n")
}

#[tokio::test]
async fn a_profile_gives_the_region_and_the_credentials_and_a_new_one_replaces_a_refused_one() {
    let (server, gate) = bedrock().await;
    let profiles = Profiles::new(
        &format!("[profile work]\nregion = {REGION}\n"),
        &stored("work", "AKIACANARYHOST", SECRET),
    );
    let mut config = config(&server, profiles.sources("work"));
    if let session_gateway::model::ProviderKind::Bedrock(bedrock) = &mut config.providers[0].kind {
        bedrock.region = None;
    }
    let fixture = Fixture::with(config, None).await;
    assert_eq!(
        fixture.api,
        ModelApi::Bedrock {
            region: REGION.to_owned()
        }
    );
    assert_eq!(fixture.send(invoke(MODEL, "invoke")).await.status(), 200);

    // Rotated: AWS knows the new key alone.
    gate.revoke("AKIACANARYHOST");
    gate.add("AKIACANARYNEW", "the/new/secret", None);
    profiles.write("credentials", &stored("work", "AKIACANARYNEW", "the/new/secret"));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(fixture.send(invoke(MODEL, "invoke")).await.status(), 200);
    assert_eq!(server.requests().len(), 3, "refused once, then signed anew");

    // Gone for good: told, and searched for once.
    gate.revoke("AKIACANARYNEW");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(error_of(fixture.send(invoke(MODEL, "invoke")).await).await.0, 401);
    assert_eq!(server.requests().len(), 4);
}

#[tokio::test]
async fn a_profile_that_is_wrong_is_told_apart_from_one_that_is_absent() {
    let (server, _) = bedrock().await;
    for (config_file, refusal) in [
        ("", "no_credential"),
        ("[profile work]\nregion = eu-west-1\n", "no_credential"),
        (
            "[profile work]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = nobody\n",
            "no_credential",
        ),
        ("[profile work\nregion", "credential_unusable"),
        // It would run a program on the host.
        (
            "[profile work]\ncredential_process = /bin/echo canary\n",
            "credential_unusable",
        ),
    ] {
        let profiles = Profiles::new(config_file, "");
        let fixture = Fixture::with(config(&server, profiles.sources("work")), None).await;
        let response = fixture.send(invoke(MODEL, "invoke")).await;
        assert_eq!(
            response.headers()["x-cofferdam-refusal"],
            refusal,
            "{config_file}"
        );
        let (_, _, message) = error_of(response).await;
        assert!(
            !message.contains("canary") && !message.contains("/tmp"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn the_machine_s_role_is_asked_for_last() {
    let (server, _) = bedrock().await;
    let metadata = Provider::start(async |request: Request<_>| {
        let path = request.uri().path().to_owned();
        let answer = match path.as_str() {
            "/latest/api/token" => "metadata-token".to_owned(),
            path if path.ends_with("/security-credentials/") => "the-role".to_owned(),
            path if path.ends_with("/the-role") => format!(
                r#"{{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"AKIACANARYHOST","SecretAccessKey":"{SECRET}",
                "Token":"{SESSION}","LastUpdated":"2026-01-01T00:00:00Z","Expiration":"2099-01-01T00:00:00Z"}}"#
            ),
            _ => return Response::builder().status(404).body(full("")).unwrap(),
        };
        Response::builder()
            .header("x-aws-ec2-metadata-token-ttl-seconds", "600")
            .body(full(answer))
            .unwrap()
    })
    .await;
    let gate = AwsGate::new(REGION).accept("AKIACANARYHOST", SECRET, Some(SESSION));
    drop(server);
    let server = ModelServer::start_as(Surface::Bedrock(gate), Script::new().say("hi").forever())
        .await
        .unwrap();
    let sources = AwsSources {
        machine_role: true,
        metadata_endpoint: Some(metadata.base.to_string()),
        ..AwsSources::default()
    };
    let fixture = Fixture::with(config(&server, sources), None).await;
    for _ in 0..3 {
        assert_eq!(fixture.send(invoke(MODEL, "invoke")).await.status(), 200);
    }
    let asked = metadata
        .seen()
        .iter()
        .filter(|seen| seen.uri.path().ends_with("/the-role"))
        .count();
    assert_eq!(asked, 1, "kept until it ends");
}

#[tokio::test]
async fn a_metadata_service_that_does_not_answer_is_not_waited_for_long() {
    let (server, _) = bedrock().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sources = AwsSources {
        machine_role: true,
        metadata_endpoint: Some(format!("http://{}", silent.local_addr().unwrap())),
        ..AwsSources::default()
    };
    let fixture = Fixture::with(config(&server, sources), None).await;
    let started = std::time::Instant::now();
    let response = fixture.send(invoke(MODEL, "invoke")).await;
    assert_eq!(response.status(), 401);
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_throttled_region_is_asked_again_with_a_new_signature() {
    let (server, _) = bedrock().await;
    server.set_script(
        Script::new()
            .fail(testkit::model::ApiFailure::rate_limited())
            .say("hello"),
    );
    let mut config = config(&server, host_keys());
    config.retry.attempts = 2;
    let fixture = Fixture::with(config, None).await;
    assert_eq!(fixture.send(invoke(MODEL, "invoke")).await.status(), 200);
    assert_eq!(server.conversation_count(), 2);
}

#[tokio::test]
async fn a_body_in_pieces_is_signed_as_one() {
    let (server, _) = bedrock().await;
    let fixture = Fixture::with(config(&server, host_keys()), None).await;
    let (sender, body) = crate::support::pieces();
    let mut request = invoke(MODEL, "invoke");
    *request.body_mut() = body;
    let sending = tokio::spawn(async move {
        for piece in [
            r#"{"messages":"#,
            r#"[{"role":"user","content":"hi"}]"#,
            r#","max_tokens":9}"#,
        ] {
            sender.send(Ok(piece.into())).await.unwrap();
        }
    });
    let response = fixture.send(request).await;
    assert_eq!(response.status(), 200);
    sending.await.unwrap();
    assert_eq!(server.requests()[0].header("content-length"), Some("60"));
}
