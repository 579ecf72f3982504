//! Vertex: the host has Google's token, the session sees a project and a region.

use std::path::PathBuf;
use std::time::Duration;

use hyper::{Request, Response};
use serde_json::{Value, json};
use session_core::gateway::ModelApi;
use session_gateway::model::{GoogleSources, ModelProxyConfig, ProviderConfig, VertexConfig};
use testkit::model::{GoogleGate, ModelServer, Script, Surface};

use crate::support::{Fixture, ONCE, TOKEN, full, read};

const PLACE: &str = "/v1/projects/proj-1/locations/europe-west1/publishers/anthropic/models";
const LOGIN: &str = "canary-refresh-token";

async fn vertex() -> (ModelServer, GoogleGate) {
    let gate = GoogleGate::new("proj-1", "europe-west1").login(LOGIN);
    let script = Script::new().say("hello from the model").forever();
    let server = ModelServer::start_as(Surface::Vertex(gate.clone()), script)
        .await
        .unwrap();
    (server, gate)
}

/// The file that `gcloud auth application-default login` writes, with the scripted token endpoint in it.
struct Login {
    dir: tempfile::TempDir,
}

impl Login {
    fn new(server: &ModelServer) -> Self {
        let login = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        login.write(&json!({
            "type": "authorized_user",
            "client_id": "id.apps.googleusercontent.com",
            "client_secret": "canary-client-secret",
            "refresh_token": LOGIN,
            "token_uri": format!("{}/token", server.url()),
        }));
        login
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("application_default_credentials.json")
    }

    fn write(&self, file: &Value) {
        std::fs::write(self.path(), file.to_string()).unwrap();
    }

    fn sources(&self) -> GoogleSources {
        GoogleSources {
            user_file: Some(self.path()),
            ..GoogleSources::default()
        }
    }
}

fn config(server: &ModelServer, sources: GoogleSources) -> ModelProxyConfig {
    let vertex = VertexConfig {
        project: "proj-1".to_owned(),
        region: "europe-west1".to_owned(),
        base_url: Some(format!("{}/v1", server.url()).parse().unwrap()),
        sources,
    };
    ModelProxyConfig {
        providers: vec![ProviderConfig::vertex("vertex", vertex)],
        retry: ONCE,
        ..ModelProxyConfig::default()
    }
}

/// A request as the agent makes it in Vertex mode.
fn predict(path: &str) -> Request<crate::support::TestBody> {
    let body = r#"{"anthropic_version":"vertex-2023-10-16","max_tokens":64,"messages":[{"role":"user","content":"hi"}]}"#;
    Request::post(path)
        .header("host", "127.0.0.1:9101")
        .header("x-api-key", TOKEN)
        .header("anthropic-beta", "a,b")
        .header("content-type", "application/json")
        .body(full(body))
        .unwrap()
}

fn stream() -> Request<crate::support::TestBody> {
    predict(&format!("{PLACE}/claude-opus-5-5:streamRawPredict"))
}

async fn error_of(response: Response<hyper::body::Incoming>) -> (u16, String, String) {
    let status = response.status().as_u16();
    let body: Value = serde_json::from_slice(&read(response).await).unwrap();
    assert!(body["error"]["code"].is_u64());
    let text = |name: &str| body["error"][name].as_str().unwrap().to_owned();
    (status, text("status"), text("message"))
}

#[tokio::test]
async fn a_login_s_token_takes_the_session_s_place() {
    let (server, gate) = vertex().await;
    let login = Login::new(&server);
    let fixture = Fixture::with(config(&server, login.sources()), None).await;
    assert_eq!(
        fixture.api,
        ModelApi::Vertex {
            region: "europe-west1".to_owned(),
            project: "proj-1".to_owned()
        }
    );
    assert_eq!(gate.given(), 0, "not before it is needed");
    for _ in 0..3 {
        let response = fixture.send(stream()).await;
        assert_eq!(response.status(), 200);
        assert!(read(response).await.starts_with(b"event: message_start\n"));
    }
    let counted = fixture
        .send(predict(&format!("{PLACE}/count-tokens:rawPredict")))
        .await;
    assert_eq!(counted.status(), 200);
    read(counted).await;
    assert_eq!(gate.given(), 1, "one token for all");
    let usage = fixture.proxy.usage(&fixture.session).unwrap();
    assert_eq!(
        (usage.requests, usage.input_tokens, usage.output_tokens),
        (4, 300, 30)
    );
    let seen = server.conversation();
    assert_eq!(seen[0].header("anthropic-beta"), Some("a,b"));
    assert_eq!(seen[0].header("x-api-key"), None);
    assert!(!format!("{seen:?}").contains(TOKEN));
}

#[tokio::test]
async fn another_project_or_publisher_is_refused_here() {
    let (server, _) = vertex().await;
    let login = Login::new(&server);
    let fixture = Fixture::with(config(&server, login.sources()), None).await;
    for (path, status) in [
        (PLACE.replace("proj-1", "other"), 403),
        (PLACE.replace("europe-west1", "us-east5"), 403),
        (PLACE.replace("anthropic", "google"), 404),
    ] {
        let (got, kind, _) = error_of(fixture.send(predict(&format!("{path}/m:rawPredict"))).await).await;
        assert_eq!(got, status, "{path}");
        assert!(matches!(kind.as_str(), "PERMISSION_DENIED" | "NOT_FOUND"));
    }
    let mut request = stream();
    request
        .headers_mut()
        .insert("x-goog-user-project", "somebody-else".parse().unwrap());
    assert_eq!(fixture.send(request).await.status(), 200);
    assert_eq!(server.conversation()[0].header("x-goog-user-project"), None);
    assert_eq!(server.conversation_count(), 1);
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_and_never_shown() {
    let (server, gate) = vertex().await;
    let login = Login::new(&server);
    let fixture = Fixture::with(config(&server, login.sources()), None).await;
    assert_eq!(fixture.send(stream()).await.status(), 200);

    gate.revoke_tokens();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(fixture.send(stream()).await.status(), 200);
    assert_eq!(gate.given(), 2);

    // Just replaced, so it is not replaced again; the provider's complaint repeats it.
    gate.revoke_tokens();
    let response = fixture.send(stream()).await;
    assert_eq!(response.headers()["x-should-retry"], "false");
    let (status, _, message) = error_of(response).await;
    // The agent would ask again after a 401 of Vertex's, whatever is said of it.
    assert_eq!(status, 403);
    assert!(
        message.contains("(****") && !message.contains("canary"),
        "{message}"
    );
}

#[tokio::test]
async fn what_is_wrong_with_the_login_is_told() {
    let (server, gate) = vertex().await;
    let login = Login::new(&server);
    gate.revoke_login();
    let fixture = Fixture::with(config(&server, login.sources()), None).await;
    let refusal = async || {
        let response = fixture.send(stream()).await;
        let refusal = response.headers()["x-cofferdam-refusal"]
            .to_str()
            .unwrap()
            .to_owned();
        let (status, kind, message) = error_of(response).await;
        assert_eq!((status, kind.as_str()), (403, "PERMISSION_DENIED"));
        assert!(message.contains("gcloud auth application-default"), "{message}");
        assert!(!message.contains("canary"), "{message}");
        refusal
    };
    assert_eq!(refusal().await, "credential_expired");

    // A new login is used without a restart.
    login.write(&json!({ "type": "authorized_user" }));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(refusal().await, "credential_unusable");
    std::fs::remove_file(login.path()).unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(refusal().await, "no_credential");
    let gate_again = gate.clone().login(LOGIN);
    let again = Login::new(&server);
    std::fs::copy(again.path(), login.path()).unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(fixture.send(stream()).await.status(), 200);
    assert_eq!(gate_again.given(), 1);
}

#[tokio::test]
async fn the_machine_s_account_is_asked_for_last() {
    let (server, gate) = vertex().await;
    let sources = GoogleSources {
        machine_account: true,
        metadata_endpoint: Some(server.url()),
        ..GoogleSources::default()
    };
    let fixture = Fixture::with(config(&server, sources), None).await;
    assert_eq!(fixture.send(stream()).await.status(), 200);
    assert_eq!(gate.given(), 1);
}
