//! Streamable HTTP: who comes in, and what is bounded.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::HeaderMap;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use mcp_frontend::{HttpOptions, McpServer};
use serde_json::{Value, json};
use session_core::state::SessionState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::support::fake::{Fake, Shared};
use crate::support::log::Log;
use crate::support::options;
use crate::support::script::{Act, says};

const TOKEN: &str = "an-unguessable-token-0123";

struct Site {
    fake: Arc<Fake>,
    address: SocketAddr,
    shutdown: CancellationToken,
    served: tokio::task::JoinHandle<session_core::error::Result<()>>,
}

impl Site {
    async fn new() -> Self {
        Self::with(HttpOptions::new(TOKEN.into())).await
    }

    async fn with(http: HttpOptions) -> Self {
        let fake = Arc::new(Fake::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let mut options = options();
        options.max_message = 1 << 20;
        let server = McpServer::new(Arc::new(Shared(fake.clone())), options);
        let served = tokio::spawn(server.serve_http(listener, http, shutdown.clone().cancelled_owned()));
        Self {
            fake,
            address,
            shutdown,
            served,
        }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Response<hyper::body::Incoming> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    }

    fn request(&self, method: Method, headers: &[(&'static str, &str)], body: &str) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(Bytes::from(body.to_owned())));
        *request.method_mut() = method;
        *request.uri_mut() = "/mcp".parse().unwrap();
        let host = self.address.to_string();
        let usual = [
            ("host", host.as_str()),
            ("accept", "application/json, text/event-stream"),
            ("content-type", "application/json"),
        ];
        for (name, value) in usual.iter().chain(headers) {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        request
    }

    async fn post(&self, headers: &[(&'static str, &str)], body: &str) -> (StatusCode, HeaderMap, String) {
        let response = self.send(self.request(Method::POST, headers, body)).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (
            parts.status,
            parts.headers,
            String::from_utf8(body.to_vec()).unwrap(),
        )
    }

    /// A session of the protocol, in a revision that has them.
    async fn open(&self) -> Talk<'_> {
        let init = json!({
            "jsonrpc": "2.0", "id": 0, "method": "initialize",
            "params": { "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } },
        });
        let (status, headers, _) = self
            .post(&[("authorization", &bearer())], &init.to_string())
            .await;
        assert_eq!(status, StatusCode::OK);
        let talk = Talk {
            site: self,
            session: headers["mcp-session-id"].to_str().unwrap().to_owned(),
        };
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(talk.post(&initialized).await.0, StatusCode::ACCEPTED);
        talk
    }

    async fn end(self) {
        self.shutdown.cancel();
        self.served.await.unwrap().unwrap();
    }
}

struct Talk<'a> {
    site: &'a Site,
    session: String,
}

impl Talk<'_> {
    fn headers(&self) -> [(&'static str, String); 3] {
        [
            ("authorization", bearer()),
            ("mcp-session-id", self.session.clone()),
            ("mcp-protocol-version", "2025-11-25".to_owned()),
        ]
    }

    fn request(&self, message: &Value) -> Request<Full<Bytes>> {
        let headers = self.headers();
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        self.site.request(Method::POST, &headers, &message.to_string())
    }

    async fn post(&self, message: &Value) -> (StatusCode, Vec<Value>) {
        let response = self.site.send(self.request(message)).await;
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, events(&String::from_utf8_lossy(&body)))
    }

    async fn call(&self, tool: &str, arguments: Value) -> Value {
        let message = json!({
            "jsonrpc": "2.0", "id": 5, "method": "tools/call",
            "params": { "name": tool, "arguments": arguments, "_meta": { "progressToken": "p" } },
        });
        let (status, mut events) = self.post(&message).await;
        assert_eq!(status, StatusCode::OK);
        events.pop().unwrap()["result"].clone()
    }
}

fn bearer() -> String {
    format!("Bearer {TOKEN}")
}

/// The messages of an event stream.
fn events(text: &str) -> Vec<Value> {
    text.lines()
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?.trim()).ok())
        .collect()
}

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

#[tokio::test]
async fn a_client_works_as_over_stdio() {
    let site = Site::new().await;
    let talk = site.open().await;
    let made = talk.call("create_session", json!({ "apiKey": "sk-1" })).await;
    let id = made["structuredContent"]["sessionId"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(site.fake.created()[0].account.is_some(), "arguments come through");
    let done = talk
        .call("execute_in_session", json!({ "sessionId": id, "prompt": "x" }))
        .await;
    assert_eq!(done["structuredContent"]["result"], "done");
    let text = talk.call("create_session", json!({ "pids": "x" })).await;
    assert_eq!(text["isError"], true);
    site.end().await;
}

#[tokio::test]
async fn i3_secrets_and_the_token_reach_no_log() {
    const CANARY: &str = "canary-77ab";
    let (log, _guard) = Log::everything();
    let site = Site::new().await;
    let talk = site.open().await;
    talk.call("create_session", json!({ "apiKey": CANARY })).await;
    talk.call("create_session", json!({ "apiKey": { CANARY: CANARY } }))
        .await;
    let odd = json!({ "jsonrpc": "2.0", "id": 6, "method": "tools/call", "params": { "name": 5, "arguments": [CANARY] } });
    talk.post(&odd).await;
    let bearer = bearer();
    site.post(
        &[("authorization", bearer.as_str())],
        &format!(r#"{{"apiKey": "{CANARY}""#),
    )
    .await;
    site.post(&[("authorization", "Bearer wrong-canary")], PING).await;
    site.end().await;
    let log = log.text();
    assert!(
        log.contains("received request"),
        "the library's own log is looked at"
    );
    assert_eq!(
        log.lines()
            .find(|line| line.contains("canary") || line.contains(TOKEN)),
        None
    );
}

#[tokio::test]
async fn progress_comes_on_the_stream_of_its_call() {
    let site = Site::new().await;
    let talk = site.open().await;
    let id = site.fake.plant(&[]).to_string();
    site.fake.next_prompt([
        says("looking"),
        Act::Sleep(Duration::from_millis(900)),
        says("done looking"),
    ]);
    let message = json!({
        "jsonrpc": "2.0", "id": 9, "method": "tools/call",
        "params": {
            "name": "execute_in_session", "arguments": { "sessionId": id, "prompt": "x" }, "_meta": { "progressToken": "p" },
        },
    });
    let (_, events) = talk.post(&message).await;
    assert!(events.len() >= 3, "{events:?}");
    assert!(
        events[..events.len() - 1]
            .iter()
            .all(|event| event["method"] == "notifications/progress"),
        "{events:?}"
    );
    assert_eq!(events.last().unwrap()["id"], 9);
    site.end().await;
}

#[tokio::test]
async fn the_newest_revision_needs_no_session_and_its_disconnect_interrupts() {
    let site = Site::new().await;
    let id = site.fake.plant(&[]).to_string();
    site.fake.next_prompt([Act::Hang]);
    let message = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {
            "name": "execute_in_session", "arguments": { "sessionId": id, "prompt": "x" },
            "_meta": {
                "progressToken": "p",
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": { "name": "t", "version": "1" },
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    });
    let headers = [
        ("authorization", bearer()),
        ("mcp-protocol-version", "2026-07-28".to_owned()),
        ("mcp-method", "tools/call".to_owned()),
        ("mcp-name", "execute_in_session".to_owned()),
    ];
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let response = site
        .send(site.request(Method::POST, &headers, &message.to_string()))
        .await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.headers().get("mcp-session-id").is_none());
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(site.fake.session_state(&id), SessionState::Busy);
    drop(body);
    for _ in 0..200 {
        if site.fake.session_state(&id) == SessionState::Ready {
            return site.end().await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the agent was not interrupted");
}

#[tokio::test]
async fn without_token_host_and_origin_there_is_nothing() {
    let site = Site::new().await;
    let bearer = bearer();
    for method in [
        Method::POST,
        Method::GET,
        Method::DELETE,
        Method::PUT,
        Method::OPTIONS,
    ] {
        for (headers, expected) in [
            (vec![], StatusCode::UNAUTHORIZED),
            (
                vec![("authorization", "Bearer wrong-wrong-wrong-wrong-1")],
                StatusCode::UNAUTHORIZED,
            ),
            (
                vec![("authorization", bearer.as_str()), ("host", "evil.example")],
                StatusCode::FORBIDDEN,
            ),
            (
                vec![
                    ("authorization", bearer.as_str()),
                    ("origin", "https://evil.example"),
                ],
                StatusCode::FORBIDDEN,
            ),
            (vec![("host", "evil.example")], StatusCode::FORBIDDEN),
        ] {
            let response = site.send(site.request(method.clone(), &headers, PING)).await;
            assert_eq!(response.status(), expected, "{method} {headers:?}");
            if expected == StatusCode::UNAUTHORIZED {
                assert!(
                    response.headers()["www-authenticate"]
                        .to_str()
                        .unwrap()
                        .starts_with("Bearer")
                );
            }
        }
    }
    assert!(
        site.fake.calls().iter().all(|call| call == "list"),
        "{:?}",
        site.fake.calls()
    );
    site.end().await;
}

#[tokio::test]
async fn only_the_endpoint_answers_and_only_its_methods() {
    let site = Site::new().await;
    let bearer = bearer();
    let mut elsewhere = site.request(Method::POST, &[("authorization", &bearer)], PING);
    *elsewhere.uri_mut() = "/admin".parse().unwrap();
    assert_eq!(site.send(elsewhere).await.status(), StatusCode::NOT_FOUND);
    let put = site.request(Method::PUT, &[("authorization", &bearer)], PING);
    assert_eq!(site.send(put).await.status(), StatusCode::METHOD_NOT_ALLOWED);
    let (status, ..) = site
        .post(&[("authorization", &bearer), ("mcp-session-id", "unknown")], PING)
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    site.end().await;
}

#[tokio::test]
async fn bodies_are_bounded_and_bombs_refused() {
    let site = Site::new().await;
    let bearer = bearer();
    let headers = [("authorization", bearer.as_str())];
    let long = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#, "x".repeat(2 << 20));
    assert_eq!(site.post(&headers, &long).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    for (bad, code) in [("[]", -32600), ("{", -32700), ("", -32700)] {
        let (status, _, body) = site.post(&headers, bad).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
        assert_eq!(
            serde_json::from_str::<Value>(&body).unwrap()["error"]["code"],
            code
        );
    }
    let bomb = format!(r#"{{"a":[{}1]}}"#, "[],".repeat(300_000));
    assert_eq!(site.post(&headers, &bomb).await.0, StatusCode::BAD_REQUEST);
    let (status, ..) = site
        .post(
            &[("authorization", bearer.as_str()), ("content-type", "text/plain")],
            PING,
        )
        .await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    site.open().await;
    site.end().await;
}

#[tokio::test]
async fn slow_and_endless_clients_are_cut() {
    let mut http = HttpOptions::new(TOKEN.into());
    http.body_timeout = Duration::from_millis(200);
    let site = Site::with(http).await;
    let mut slow = TcpStream::connect(site.address).await.unwrap();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nContent-Length: 1000\r\n\r\n{{",
        bearer()
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 64];
    let count = slow.read(&mut answer).await.unwrap();
    assert!(String::from_utf8_lossy(&answer[..count]).starts_with("HTTP/1.1 408"));

    let mut endless = TcpStream::connect(site.address).await.unwrap();
    endless
        .write_all(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n")
        .await
        .unwrap();
    let mut sent = 0;
    while endless
        .write_all(format!("X-{sent}: {}\r\n", "y".repeat(1000)).as_bytes())
        .await
        .is_ok()
    {
        sent += 1;
        assert!(sent < 20_000, "headers without end are taken");
        tokio::task::yield_now().await;
    }
    site.open().await;
    site.end().await;
}

#[tokio::test]
async fn sessions_of_the_protocol_are_bounded() {
    let mut http = HttpOptions::new(TOKEN.into());
    http.max_sessions = 2;
    let site = Site::with(http).await;
    let (first, _second) = (site.open().await, site.open().await);
    let init = json!({
        "jsonrpc": "2.0", "id": 0, "method": "initialize",
        "params": { "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } },
    });
    let (status, headers, _) = site
        .post(&[("authorization", &bearer())], &init.to_string())
        .await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(headers.contains_key("retry-after"));
    let gone = first.headers();
    let gone: Vec<_> = gone.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let closed = site.send(site.request(Method::DELETE, &gone, "")).await;
    assert!(closed.status().is_success(), "{}", closed.status());
    site.open().await;
    site.end().await;
}

#[tokio::test]
async fn a_shutdown_ends_open_streams() {
    let site = Site::new().await;
    let talk = site.open().await;
    let headers = talk.headers();
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let stream = site.send(site.request(Method::GET, &headers, "")).await;
    assert_eq!(stream.status(), StatusCode::OK);
    let id = site.fake.plant(&[]).to_string();
    site.fake.next_prompt([Act::Hang]);
    let message = json!({
        "jsonrpc": "2.0", "id": 9, "method": "tools/call",
        "params": { "name": "execute_in_session", "arguments": { "sessionId": id, "prompt": "x" } },
    });
    let waiting = site.send(talk.request(&message)).await;
    while site.fake.session_state(&id) != SessionState::Busy {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let fake = site.fake.clone();
    tokio::time::timeout(Duration::from_secs(8), site.end())
        .await
        .expect("it ends");
    assert_eq!(fake.count("interrupt_turn"), 1);
    drop((stream, waiting));
}

#[tokio::test]
async fn what_would_be_open_to_the_world_is_not_served() {
    let refused = async |address: &str, http: HttpOptions| {
        let listener = TcpListener::bind(address).await.unwrap();
        let server = McpServer::new(Arc::new(Shared(Arc::default())), options());
        server
            .serve_http(listener, http, async {})
            .await
            .map_err(|error| error.to_string())
    };
    let usual = || HttpOptions::new(TOKEN.into());
    assert!(
        refused("0.0.0.0:0", usual())
            .await
            .unwrap_err()
            .contains("loopback")
    );
    assert!(
        refused("127.0.0.1:0", HttpOptions::new("short".into()))
            .await
            .unwrap_err()
            .contains("token")
    );
    let mut nameless = usual();
    nameless.allowed_hosts.clear();
    assert!(
        refused("127.0.0.1:0", nameless)
            .await
            .unwrap_err()
            .contains("host name")
    );
    let mut remote = usual();
    remote.allow_remote = true;
    refused("0.0.0.0:0", remote).await.unwrap();
}
