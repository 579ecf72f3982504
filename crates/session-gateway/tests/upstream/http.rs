//! Servers over HTTP: what requests bear, where they go, and what may come back.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use mcp_catalog::{ServerDefinition, Transport};
use rmcp::service::ServiceError;
use serde_json::{Value, json};
use session_gateway::mcp::upstream::never_left;
use session_gateway::mcp::{FailureCause, Network};
use testkit::mcp::{HttpServer, Mode, Options};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::addresses::named;
use crate::scripted::{Scripted, answer, handshake};
use crate::support::{CANARY, Lab, call, soon, start_within};

crate::trials![
    false;
    a_server_is_called_and_its_session_is_ended,
    a_server_without_sessions_is_called,
    headers_hold_secrets_as_they_are_at_each_request,
    a_server_that_refuses_the_credential_is_said_so,
    a_session_that_is_lost_ends_the_connection_and_the_call_never_left,
    what_is_too_long_ends_where_it_is,
    a_server_that_says_no_is_told_apart,
    a_server_that_prints_its_credential_is_masked,
    nobody_there_is_said_so,
    a_server_that_hangs_is_silent,
    a_server_that_hangs_at_what_it_does_not_know_is_greeted_again,
    answers_twice_and_wrong_ids_over_http,
    certificates_count,
];

/// As it is declared, and also as it cannot be: what is refused there is refused here, too.
pub(crate) fn http(url: &str, more: Value) -> ServerDefinition {
    let part = |name: &str| more.get(name).cloned();
    let transport = Transport::Http {
        url: url.to_owned(),
        headers: part("headers")
            .map(|headers| serde_json::from_value(headers).unwrap())
            .unwrap_or_default(),
        oauth: part("oauth").map(|oauth| serde_json::from_value(oauth).unwrap()),
        private: part("private").is_none_or(|private| private == true),
    };
    start_within(ServerDefinition::new(transport), 10_000)
}

async fn a_server_is_called_and_its_session_is_ended() {
    let server = HttpServer::start(Options::default()).await.unwrap();
    let lab = Lab::new();
    let connection = lab.connect("kit", http(&server.url(), json!({}))).await.unwrap();
    assert_eq!(
        call(&connection, "echo", json!({ "text": "hello" }))
            .await
            .unwrap(),
        "hello"
    );
    let flood = call(&connection, "flood", json!({ "messages": 300 }));
    timeout(Duration::from_secs(10), flood).await.unwrap().unwrap();
    assert_eq!(server.sessions(), 1);
    let ended = connection.ended();
    connection.close(Duration::from_secs(5)).await;
    assert_eq!(ended.await.cause, FailureCause::Ended);
    assert_eq!(server.sessions(), 0);
}

async fn a_server_without_sessions_is_called() {
    let options = Options {
        stateless: true,
        ..Options::default()
    };
    let server = HttpServer::start(options).await.unwrap();
    let connection = Lab::new()
        .connect("kit", http(&server.url(), json!({})))
        .await
        .unwrap();
    assert_eq!(
        call(&connection, "echo", json!({ "text": "hello" }))
            .await
            .unwrap(),
        "hello"
    );
}

fn bearer(token: &str) -> Options {
    Options {
        bearer: Some(token.to_owned()),
        ..Options::default()
    }
}

async fn headers_hold_secrets_as_they_are_at_each_request() {
    let server = HttpServer::start(Options::default()).await.unwrap();
    let lab = Lab::new().secret("DOCS_TOKEN", CANARY);
    let headers = json!({ "headers": { "Authorization": { "prefix": "Bearer ", "env": "DOCS_TOKEN" } } });
    let connection = lab.connect("docs", http(&server.url(), headers)).await.unwrap();
    let other = HttpServer::start(Options::default()).await.unwrap();
    let plain = lab.connect("plain", http(&other.url(), json!({}))).await.unwrap();
    lab.rotate("DOCS_TOKEN", "rotated-canary-9c1d");
    call(&connection, "echo", json!({ "text": "x" })).await.unwrap();
    call(&plain, "echo", json!({ "text": "x" })).await.unwrap();
    let given = server.authorizations();
    assert_eq!(given.first().unwrap(), &format!("Bearer {CANARY}"));
    assert_eq!(given.last().unwrap(), "Bearer rotated-canary-9c1d");
    assert!(
        other.authorizations().iter().all(String::is_empty),
        "{:?}",
        other.authorizations()
    );
}

async fn a_server_that_refuses_the_credential_is_said_so() {
    let server = HttpServer::start(bearer("right-token-1234")).await.unwrap();
    let lab = Lab::new().secret("DOCS_TOKEN", "wrong-token-1234");
    let headers = json!({ "headers": { "Authorization": { "prefix": "Bearer ", "env": "DOCS_TOKEN" } } });
    for wanted in [
        http(&server.url(), json!({})),
        http(&server.url(), headers.clone()),
    ] {
        let failure = lab.connect("docs", wanted).await.unwrap_err();
        assert_eq!(failure.cause, FailureCause::Unauthorized, "{failure:?}");
        assert!(!failure.detail.contains("wrong-token"));
    }
    lab.rotate("DOCS_TOKEN", "right-token-1234");
    let connection = lab.connect("docs", http(&server.url(), headers)).await.unwrap();
    lab.rotate("DOCS_TOKEN", "wrong-token-1234");
    let error = call(&connection, "echo", json!({ "text": "x" }))
        .await
        .unwrap_err();
    assert!(never_left(&error), "{error:?}");
    assert_eq!(connection.ended().await.cause, FailureCause::Unauthorized);
    let missing = json!({ "headers": { "X-Key": { "env": "NOT_SET" } } });
    let failure = lab
        .connect("docs", http(&server.url(), missing))
        .await
        .unwrap_err();
    assert_eq!(failure.cause, FailureCause::SecretMissing, "{failure:?}");
    for name in ["Host", "Mcp-Session-Id", "Content-Length"] {
        let ours = json!({ "headers": { name: "x" } });
        let failure = lab.connect("docs", http(&server.url(), ours)).await.unwrap_err();
        assert_eq!(failure.cause, FailureCause::Unavailable, "{failure:?}");
    }
}

async fn a_session_that_is_lost_ends_the_connection_and_the_call_never_left() {
    let server = HttpServer::start(Options::default()).await.unwrap();
    let lab = Lab::new();
    let connection = lab.connect("kit", http(&server.url(), json!({}))).await.unwrap();
    server.forget_sessions();
    let calls = server.calls();
    let error = call(&connection, "echo", json!({ "text": "x" }))
        .await
        .unwrap_err();
    assert!(never_left(&error), "{error:?}");
    assert_eq!(server.calls(), calls);
    let failure = connection.ended().await;
    assert_eq!(failure.cause, FailureCause::Ended);
    assert!(failure.detail.contains("session"), "{failure:?}");
}

async fn what_is_too_long_ends_where_it_is() {
    let server = HttpServer::start(Options::default()).await.unwrap();
    let lab = Lab::new();
    let connection = lab.connect("kit", http(&server.url(), json!({}))).await.unwrap();
    let error = call(&connection, "big", json!({ "bytes": 2 << 20 }))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ServiceError::McpError(error) if error.message.contains("longer")),
        "{error:?}"
    );
    assert_eq!(
        call(&connection, "echo", json!({ "text": "x" })).await.unwrap(),
        "x"
    );
    // An event without an end takes the connection with it: nobody knows whose it was.
    let server = Scripted::start(|_, body| {
        handshake(body)
            .unwrap_or_else(|| answer(200, "text/event-stream", format!("data: {}", "x".repeat(3 << 20))))
    });
    let server = server.await;
    let connection = lab
        .connect("long", http(&server.url("/mcp"), json!({})))
        .await
        .unwrap();
    let waiting = timeout(Duration::from_secs(10), call(&connection, "x", json!({})));
    let error = waiting.await.unwrap().unwrap_err();
    assert!(!never_left(&error), "{error:?}");
    assert_eq!(connection.ended().await.cause, FailureCause::Broken);
    let head = "x".repeat(200 << 10);
    let server = Scripted::start(move |_, _| {
        Response::builder()
            .header("x-long", &head)
            .body(Full::default())
            .unwrap()
    });
    let server = server.await;
    let failure = lab
        .connect("head", http(&server.url("/mcp"), json!({})))
        .await
        .unwrap_err();
    assert_eq!(failure.cause, FailureCause::Ended, "{failure:?}");
}

async fn a_server_that_says_no_is_told_apart() {
    let lab = Lab::new();
    for (status, cause) in [
        (401, FailureCause::Unauthorized),
        (403, FailureCause::Unauthorized),
        (404, FailureCause::Missing),
        (405, FailureCause::Missing),
        (429, FailureCause::Ended),
        (500, FailureCause::Ended),
        (503, FailureCause::Ended),
    ] {
        let server =
            Scripted::start(move |_, _| answer(status, "text/html", "<html>secret words</html>")).await;
        let failure = lab
            .connect("no", http(&server.url("/mcp"), json!({})))
            .await
            .unwrap_err();
        assert_eq!(failure.cause, cause, "{status}: {failure:?}");
        assert!(!failure.detail.contains("secret words"), "{failure:?}");
    }
    for (kind, body) in [
        ("text/html", "<html>"),
        ("application/json", "{}"),
        ("application/json", "[1"),
        ("text/event-stream", "data: nonsense\n\n"),
        ("text/event-stream", ""),
    ] {
        let server = Scripted::start(move |_, _| answer(200, kind, body)).await;
        let failure = lab
            .connect("odd", http(&server.url("/mcp"), json!({})))
            .await
            .unwrap_err();
        let expected = [FailureCause::Broken, FailureCause::Ended];
        assert!(expected.contains(&failure.cause), "{kind} {body}: {failure:?}");
    }
    // A failing server that works again.
    let server = HttpServer::start(Options::default()).await.unwrap();
    let connection = lab.connect("kit", http(&server.url(), json!({}))).await.unwrap();
    server.fail_with(Some(503));
    let error = call(&connection, "echo", json!({ "text": "x" }))
        .await
        .unwrap_err();
    assert!(!never_left(&error), "it may have run: {error:?}");
    server.fail_with(None);
    assert_eq!(
        call(&connection, "echo", json!({ "text": "x" })).await.unwrap(),
        "x"
    );
}

async fn a_server_that_prints_its_credential_is_masked() {
    let lab = Lab::new().secret("DOCS_TOKEN", CANARY);
    let headers = json!({ "headers": { "X-Key": { "env": "DOCS_TOKEN" } } });
    for events in [false, true] {
        let server = Scripted::start(move |request, body| {
            handshake(body).unwrap_or_else(|| {
                let request_body: Value = serde_json::from_slice(body).unwrap_or_default();
                let key = request
                    .headers()
                    .get("x-key")
                    .map_or("none", |key| key.to_str().unwrap());
                let content = json!([{ "type": "text", "text": format!("key={key}") }]);
                let said =
                    json!({ "jsonrpc": "2.0", "id": request_body["id"], "result": { "content": content } });
                if events {
                    answer(
                        200,
                        "text/event-stream",
                        format!("event: message\ndata: {said}\n\n"),
                    )
                } else {
                    answer(200, "application/json", said.to_string())
                }
            })
        });
        let server = server.await;
        let connection = lab
            .connect("docs", http(&server.url("/mcp"), headers.clone()))
            .await
            .unwrap();
        let printed = call(&connection, "x", json!({})).await.unwrap();
        assert_eq!(printed, format!("key={}", "*".repeat(CANARY.len())));
    }
}

async fn nobody_there_is_said_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let lab = Lab::new();
    let url = format!("http://{address}/mcp");
    let failure = lab.connect("gone", http(&url, json!({}))).await.unwrap_err();
    assert_eq!(failure.cause, FailureCause::Ended, "{failure:?}");
    assert!(failure.detail.contains("refused"), "{failure:?}");
    let mut server = HttpServer::start(Options::default()).await.unwrap();
    let connection = lab.connect("kit", http(&server.url(), json!({}))).await.unwrap();
    let crashed = call(&connection, "crash", json!({})).await.unwrap_err();
    assert!(!never_left(&crashed), "{crashed:?}");
    server.crashed().await;
    // One of the connections that it had may have to find out first.
    let mut error = call(&connection, "echo", json!({ "text": "x" }))
        .await
        .unwrap_err();
    for _ in 0..5 {
        if never_left(&error) {
            break;
        }
        error = call(&connection, "echo", json!({ "text": "x" }))
            .await
            .unwrap_err();
    }
    assert!(never_left(&error), "{error:?}");
    assert_eq!(connection.ended().await.cause, FailureCause::Ended);
}

async fn a_server_that_hangs_is_silent() {
    let server = HttpServer::start(Options::going_wrong(Mode::HangInitialize))
        .await
        .unwrap();
    let mut wanted = http(&server.url(), json!({}));
    wanted.times.start_ms = 400;
    let failure = Lab::new().connect("silent", wanted).await.unwrap_err();
    assert_eq!(failure.cause, FailureCause::Silent, "{failure:?}");
}

async fn a_server_that_hangs_at_what_it_does_not_know_is_greeted_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(async |request: Request<Incoming>| {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                if body.windows(8).any(|part| part == b"discover") {
                    std::future::pending::<()>().await;
                }
                Ok::<_, Infallible>(handshake(&body).unwrap_or_else(|| answer(405, "text/plain", "")))
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    let wanted = start_within(http(&url, json!({})), 3000);
    let connection = Lab::new().connect("old", wanted).await.unwrap();
    assert!(connection.info().protocol_version.has_initialize());
    task.abort();
}

async fn answers_twice_and_wrong_ids_over_http() {
    let lab = Lab::new();
    let server = HttpServer::start(Options::going_wrong(Mode::AnswerTwice))
        .await
        .unwrap();
    let connection = lab
        .connect("twice", http(&server.url(), json!({})))
        .await
        .unwrap();
    for round in 0..100 {
        let text = format!("round {round}");
        assert_eq!(
            call(&connection, "echo", json!({ "text": text })).await.unwrap(),
            text
        );
    }
    let server = HttpServer::start(Options::going_wrong(Mode::WrongIds))
        .await
        .unwrap();
    let connection = lab
        .connect("wrong", http(&server.url(), json!({})))
        .await
        .unwrap();
    let waiting = timeout(
        Duration::from_millis(500),
        call(&connection, "echo", json!({ "text": "x" })),
    )
    .await;
    assert!(
        !matches!(waiting, Ok(Ok(_))),
        "the answer is nobody's: {waiting:?}"
    );
}

async fn certificates_count() {
    let key = rcgen::generate_simple_self_signed(vec!["docs.example.com".to_owned()]).unwrap();
    let certificate = key.cert.der().clone();
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.clone()],
                key.signing_key.serialize_der().try_into().unwrap(),
            )
            .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let service = service_fn(async |request: Request<Incoming>| {
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let refused = || answer(405, "text/plain", "");
                    Ok::<_, Infallible>(handshake(&body).unwrap_or_else(refused))
                });
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    let names = [
        ("docs.example.com", "127.0.0.1"),
        ("other.example.com", "127.0.0.1"),
    ];
    let mut authorities = rustls::RootCertStore::empty();
    authorities.add(certificate).unwrap();
    let mut lab = Lab::new();
    lab.config.network = Network {
        authorities: Some(authorities),
        ..named(&names)
    };
    let url = |name: &str| format!("https://{name}:{port}/mcp");
    let connection = lab
        .connect("docs", http(&url("docs.example.com"), json!({})))
        .await
        .unwrap();
    assert!(connection.info().protocol_version.has_initialize());
    let failure = lab
        .connect("other", http(&url("other.example.com"), json!({})))
        .await
        .unwrap_err();
    assert!(failure.detail.contains("certificate"), "{failure:?}");
    let mut lab = Lab::new();
    lab.config.network = Network {
        authorities: Some(rustls::RootCertStore::empty()),
        ..named(&names)
    };
    let failure = lab
        .connect("docs", http(&url("docs.example.com"), json!({})))
        .await
        .unwrap_err();
    assert!(failure.detail.contains("certificate"), "{failure:?}");
    task.abort();
    drop(connection);
    soon("it is over", || task.is_finished()).await;
}
