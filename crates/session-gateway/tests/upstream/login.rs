//! Logins: a person's part, renewal, and where tokens go.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{Empty, Full};
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use mcp_catalog::ServerDefinition;
use serde_json::{Value, json};
use session_gateway::mcp::{Failure, FailureCause, LoggedIn};

use crate::http::http;
use crate::scripted::{Scripted, answer, handshake};
use crate::support::{Lab, call};

crate::trials![
    false;
    a_person_logs_in_and_requests_bear_the_token,
    without_a_login_nobody_is_asked,
    a_token_is_renewed_before_it_expires_by_one_of_all,
    a_token_that_is_refused_is_renewed_once,
    a_login_that_cannot_be_renewed_is_needed_again,
    the_redirect_of_somebody_else_is_refused,
    a_login_that_is_refused_says_so,
    a_client_of_the_operators_is_not_registered,
    a_token_goes_to_the_endpoint_it_was_made_for,
];

/// A server with its authorization server on one port.
struct Provider {
    server: Scripted,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// What requests have to bear now.
    token: Mutex<String>,
    refresh: Mutex<String>,
    issued: AtomicUsize,
    refreshed: AtomicUsize,
    registered: AtomicUsize,
    /// In seconds; what is issued expires at once when 0.
    expires: AtomicUsize,
    without_refresh: AtomicBool,
    refuses_refresh: AtomicBool,
    challenge: Mutex<String>,
    basic: Mutex<Option<String>>,
}

impl State {
    fn issue(&self) -> Response<Full<Bytes>> {
        let number = self.issued.fetch_add(1, Ordering::SeqCst);
        let token = format!("canary-access-{number}");
        let refresh = format!("canary-refresh-{number}");
        let mut said = json!({
            "access_token": token, "token_type": "Bearer", "expires_in": self.expires.load(Ordering::SeqCst),
            "scope": "read write",
        });
        if !self.without_refresh.load(Ordering::SeqCst) {
            said["refresh_token"] = json!(refresh);
        }
        *self.token.lock().unwrap() = token;
        *self.refresh.lock().unwrap() = refresh;
        answer(200, "application/json", said.to_string())
    }

    fn token(&self, request: &Request<()>, form: &HashMap<String, String>) -> Response<Full<Bytes>> {
        let basic = request
            .headers()
            .get("authorization")
            .map(|value| value.to_str().unwrap().to_owned());
        *self.basic.lock().unwrap() = basic;
        let refused = || answer(400, "application/json", r#"{"error":"invalid_grant"}"#);
        match form["grant_type"].as_str() {
            "authorization_code" => {
                let verifier = rmcp_challenge(&form["code_verifier"]);
                if form["code"] != "the-code" || verifier != *self.challenge.lock().unwrap() {
                    return refused();
                }
                self.issue()
            }
            "refresh_token" => {
                self.refreshed.fetch_add(1, Ordering::SeqCst);
                if self.refuses_refresh.load(Ordering::SeqCst)
                    || form["refresh_token"] != *self.refresh.lock().unwrap()
                {
                    return refused();
                }
                self.issue()
            }
            _ => refused(),
        }
    }
}

/// S256.
fn rmcp_challenge(verifier: &str) -> String {
    use base64::Engine as _;
    use sha2::Digest as _;
    base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(verifier))
}

fn form(text: &str) -> HashMap<String, String> {
    url::form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect()
}

impl Provider {
    async fn start() -> Self {
        let state = Arc::new(State::default());
        state.expires.store(3600, Ordering::SeqCst);
        let shared = Arc::clone(&state);
        let server = Scripted::start(move |request, body| {
            let host = request.headers()["host"].to_str().unwrap().to_owned();
            let base = format!("http://{host}");
            match request.uri().path() {
                "/mcp" => {
                    let given = request
                        .headers()
                        .get("authorization")
                        .map(|value| value.to_str().unwrap());
                    if given != Some(&format!("Bearer {}", shared.token.lock().unwrap())) {
                        let metadata = format!("{base}/.well-known/oauth-protected-resource/mcp");
                        let mut refused = answer(401, "text/plain", "");
                        let challenge = format!("Bearer resource_metadata=\"{metadata}\"");
                        refused
                            .headers_mut()
                            .insert("www-authenticate", challenge.parse().unwrap());
                        return refused;
                    }
                    handshake(body).unwrap_or_else(|| called(body))
                }
                "/.well-known/oauth-protected-resource/mcp" => json_of(&json!({
                    "resource": format!("{base}/mcp"), "authorization_servers": [base], "scopes_supported": ["read", "write"],
                })),
                "/.well-known/oauth-authorization-server" => json_of(&json!({
                    "issuer": base, "authorization_endpoint": format!("{base}/authorize"),
                    "token_endpoint": format!("{base}/token"), "registration_endpoint": format!("{base}/register"),
                    "response_types_supported": ["code"], "code_challenge_methods_supported": ["S256"],
                })),
                "/register" => {
                    shared.registered.fetch_add(1, Ordering::SeqCst);
                    let asked: Value = serde_json::from_slice(body).unwrap();
                    json_of(&json!({ "client_id": "registered", "redirect_uris": asked["redirect_uris"] }))
                }
                "/token" => shared.token(request, &form(std::str::from_utf8(body).unwrap())),
                _ => answer(404, "text/plain", ""),
            }
        });
        let server = server.await;
        Self { server, state }
    }

    fn definition(&self, oauth: Value) -> ServerDefinition {
        http(&self.server.url("/mcp"), json!({ "oauth": oauth }))
    }
}

fn json_of(value: &Value) -> Response<Full<Bytes>> {
    answer(200, "application/json", value.to_string())
}

fn called(body: &[u8]) -> Response<Full<Bytes>> {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    if request["method"] != "tools/call" {
        return answer(405, "text/plain", "");
    }
    let content = json!([{ "type": "text", "text": "called" }]);
    json_of(&json!({ "jsonrpc": "2.0", "id": request["id"], "result": { "content": content } }))
}

/// Opens a URL, and says which status came.
async fn open(url: &str) -> u16 {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    client.get(url.parse().unwrap()).await.unwrap().status().as_u16()
}

/// What the authorization server has the browser do.
fn redirect(url: &str, provider: &State, more: &str) -> String {
    let asked = form(url.split_once('?').unwrap().1);
    assert_eq!(asked["response_type"], "code");
    assert_eq!(asked["code_challenge_method"], "S256");
    assert!(
        asked["redirect_uri"].starts_with("http://127.0.0.1:"),
        "{asked:?}"
    );
    assert!(asked["resource"].ends_with("/mcp"), "{asked:?}");
    *provider.challenge.lock().unwrap() = asked["code_challenge"].clone();
    format!("{}?state={}&{more}", asked["redirect_uri"], asked["state"])
}

async fn log_in(lab: &Lab, provider: &Provider, oauth: Value) -> Result<LoggedIn, Failure> {
    let state = Arc::clone(&provider.state);
    let show = move |url: &str| {
        let back = redirect(url, &state, "code=the-code");
        tokio::spawn(async move { assert_eq!(open(&back).await, 200) });
    };
    let name = "docs".parse().unwrap();
    lab.connector()
        .login(&name, &provider.definition(oauth), show)
        .await
}

async fn a_person_logs_in_and_requests_bear_the_token() {
    let (lab, provider) = (Lab::new(), Provider::start().await);
    let made = log_in(&lab, &provider, json!({})).await.unwrap();
    assert_eq!(made.scopes, ["read", "write"]);
    assert!(made.renewable && made.expires.is_some());
    assert_eq!(provider.state.registered.load(Ordering::SeqCst), 1);
    let path = lab.directory.join("logins/docs.json");
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let connection = lab.connect("docs", provider.definition(json!({}))).await.unwrap();
    assert_eq!(call(&connection, "x", json!({})).await.unwrap(), "called");
    assert!(!format!("{connection:?}{:?}", lab.connector()).contains("canary"));
    let name = "docs".parse().unwrap();
    assert!(lab.connector().logout(&name).await.unwrap());
    assert!(!lab.connector().logout(&name).await.unwrap());
    let _ = call(&connection, "x", json!({})).await.unwrap_err();
    assert_eq!(connection.ended().await.cause, FailureCause::NeedsLogin);
}

async fn without_a_login_nobody_is_asked() {
    let (lab, provider) = (Lab::new(), Provider::start().await);
    let failure = lab
        .connect("docs", provider.definition(json!({})))
        .await
        .unwrap_err();
    assert_eq!(failure.cause, FailureCause::NeedsLogin);
    assert!(failure.detail.contains("cofferdam mcp login docs"), "{failure:?}");
    assert!(provider.server.asked.lock().unwrap().is_empty());
    let undeclared = http(&provider.server.url("/mcp"), json!({}));
    let failure = lab.connect("docs", undeclared).await.unwrap_err();
    assert_eq!(failure.cause, FailureCause::Unauthorized, "{failure:?}");
}

async fn a_token_is_renewed_before_it_expires_by_one_of_all() {
    let (lab, provider) = (Lab::new(), Provider::start().await);
    provider.state.expires.store(30, Ordering::SeqCst);
    log_in(&lab, &provider, json!({})).await.unwrap();
    provider.state.expires.store(3600, Ordering::SeqCst);
    let connecting = (0..20).map(|_| lab.connect("docs", provider.definition(json!({}))));
    for connection in futures::future::join_all(connecting).await {
        assert_eq!(
            call(&connection.unwrap(), "x", json!({})).await.unwrap(),
            "called"
        );
    }
    assert_eq!(provider.state.refreshed.load(Ordering::SeqCst), 1);
}

async fn a_token_that_is_refused_is_renewed_once() {
    let (lab, provider) = (Lab::new(), Provider::start().await);
    log_in(&lab, &provider, json!({})).await.unwrap();
    let connection = lab.connect("docs", provider.definition(json!({}))).await.unwrap();
    *provider.state.token.lock().unwrap() = "revoked".to_owned();
    assert_eq!(call(&connection, "x", json!({})).await.unwrap(), "called");
    assert_eq!(provider.state.refreshed.load(Ordering::SeqCst), 1);
    let kept = std::fs::read_to_string(lab.directory.join("logins/docs.json")).unwrap();
    assert!(kept.contains("canary-refresh-1") && !kept.contains("canary-refresh-0"));
}

async fn a_login_that_cannot_be_renewed_is_needed_again() {
    for without in [true, false] {
        let (lab, provider) = (Lab::new(), Provider::start().await);
        provider.state.without_refresh.store(without, Ordering::SeqCst);
        log_in(&lab, &provider, json!({})).await.unwrap();
        let connection = lab.connect("docs", provider.definition(json!({}))).await.unwrap();
        *provider.state.token.lock().unwrap() = "revoked".to_owned();
        provider.state.refuses_refresh.store(true, Ordering::SeqCst);
        let error = call(&connection, "x", json!({})).await.unwrap_err();
        assert!(session_gateway::mcp::upstream::never_left(&error), "{error:?}");
        let failure = connection.ended().await;
        assert_eq!(failure.cause, FailureCause::NeedsLogin, "{failure:?}");
        assert!(!failure.detail.contains("canary"));
    }
}

async fn the_redirect_of_somebody_else_is_refused() {
    let (lab, provider) = (Lab::new(), Provider::start().await);
    let state = Arc::clone(&provider.state);
    let show = move |url: &str| {
        let back = redirect(url, &state, "code=the-code");
        tokio::spawn(async move {
            let (base, query) = back.split_once('?').unwrap();
            assert_eq!(open(&format!("{base}?code=evil&state=guessed")).await, 400);
            assert_eq!(open(&format!("{base}?code=evil")).await, 400);
            assert_eq!(
                open(&format!("{}/other?{query}", base.trim_end_matches("/callback"))).await,
                404
            );
            let elsewhere = back.replace("127.0.0.1", "localhost");
            assert_eq!(
                open(&elsewhere).await,
                404,
                "a name that may lead here by another's will"
            );
            assert_eq!(open(&back).await, 200);
        });
    };
    let name = "docs".parse().unwrap();
    lab.connector()
        .login(&name, &provider.definition(json!({})), show)
        .await
        .unwrap();
}

async fn a_login_that_is_refused_says_so() {
    let (lab, provider) = (Lab::new(), Provider::start().await);
    let state = Arc::clone(&provider.state);
    let show = move |url: &str| {
        let back = redirect(url, &state, "error=access_denied");
        tokio::spawn(async move { open(&back).await });
    };
    let name = "docs".parse().unwrap();
    let failure = lab
        .connector()
        .login(&name, &provider.definition(json!({})), show)
        .await
        .unwrap_err();
    assert!(failure.detail.contains("access_denied"), "{failure:?}");
    assert!(!lab.directory.join("logins/docs.json").exists());
    let stdio = crate::support::shell("true");
    let failure = lab.connector().login(&name, &stdio, |_| ()).await.unwrap_err();
    assert_eq!(failure.cause, FailureCause::Unavailable);
}

async fn a_client_of_the_operators_is_not_registered() {
    let provider = Provider::start().await;
    let lab = Lab::new().secret("CLIENT_SECRET", "canary-client-secret");
    let oauth =
        json!({ "client_id": "ours", "client_secret": { "env": "CLIENT_SECRET" }, "scopes": ["read"] });
    log_in(&lab, &provider, oauth.clone()).await.unwrap();
    assert_eq!(provider.state.registered.load(Ordering::SeqCst), 0);
    assert!(
        provider
            .state
            .basic
            .lock()
            .unwrap()
            .as_ref()
            .unwrap()
            .starts_with("Basic ")
    );
    let kept = std::fs::read_to_string(lab.directory.join("logins/docs.json")).unwrap();
    assert!(!kept.contains("canary-client-secret"));
    *provider.state.token.lock().unwrap() = "revoked".to_owned();
    let connection = lab.connect("docs", provider.definition(oauth)).await.unwrap();
    assert_eq!(call(&connection, "x", json!({})).await.unwrap(), "called");
    assert!(
        provider
            .state
            .basic
            .lock()
            .unwrap()
            .as_ref()
            .unwrap()
            .starts_with("Basic ")
    );
}

async fn a_token_goes_to_the_endpoint_it_was_made_for() {
    let (lab, provider) = (Lab::new(), Provider::start().await);
    log_in(&lab, &provider, json!({})).await.unwrap();
    let evil = Scripted::start(|_, _| answer(401, "text/plain", "")).await;
    let moved = http(&evil.url("/mcp"), json!({ "oauth": {} }));
    let failure = lab.connect("docs", moved).await.unwrap_err();
    assert_eq!(failure.cause, FailureCause::NeedsLogin, "{failure:?}");
    assert!(evil.asked.lock().unwrap().is_empty());
}
