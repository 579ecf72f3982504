//! What passes, passes unchanged and at once.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use crate::support::{Fixture, KEY, Provider, TOKEN, error_of, full, json, messages, pieces, prompt, read};
use session_gateway::model::Limits;

#[tokio::test]
async fn the_key_takes_the_token_s_place_and_the_rest_passes() {
    let provider = Provider::start(async |request: Request<_>| {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::builder()
            .header("request-id", "req_1")
            .header("x-of-tomorrow", "1")
            .body(full(body))
            .unwrap()
    })
    .await;
    let fixture = Fixture::new(&provider.base).await;

    let mut request = messages(full("{\"unknown_field\": [1,2] }"));
    let headers = request.headers_mut();
    headers.append("anthropic-beta", "one,two".parse().unwrap());
    headers.append("x-unknown", "kept".parse().unwrap());
    headers.append("connection", "x-hop".parse().unwrap());
    headers.append("x-hop", "dropped".parse().unwrap());
    headers.append("accept-encoding", "gzip".parse().unwrap());
    headers.append("authorization", "Bearer placeholder".parse().unwrap());
    let response = fixture.send(request).await;

    assert_eq!(response.headers()["request-id"], "req_1");
    assert_eq!(response.headers()["x-of-tomorrow"], "1");
    assert_eq!(read(response).await, "{\"unknown_field\": [1,2] }");

    let seen = &provider.seen()[0];
    assert_eq!(seen.uri, "/v1/messages?beta=true");
    assert_eq!(seen.method, "POST");
    let value = |name: &str| seen.headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!(value("x-api-key"), Some(KEY));
    assert_eq!(value("authorization"), None);
    assert_eq!(
        value("host").map(|host| format!("http://{host}")),
        Some(provider.base.to_string())
    );
    assert_eq!(value("anthropic-beta"), Some("one,two"));
    assert_eq!(value("anthropic-version"), Some("2023-06-01"));
    assert_eq!(value("x-unknown"), Some("kept"));
    assert_eq!(value("x-hop"), None);
    assert_eq!(value("accept-encoding"), Some("identity"));
    assert_eq!(value("content-length"), Some("25"));
    assert!(!format!("{seen:?}").contains(TOKEN));
}

#[tokio::test]
async fn answers_stream() {
    let (sender, body) = pieces();
    let body = std::sync::Mutex::new(Some(body));
    let provider = Provider::start(move |_| {
        let body = body.lock().unwrap().take().unwrap();
        async move {
            Response::builder()
                .header("content-type", "text/event-stream")
                .body(body)
                .unwrap()
        }
    })
    .await;
    let fixture = Fixture::new(&provider.base).await;
    let mut answer = fixture.send(prompt()).await.into_body();
    for piece in ["event: ping\n", "data: {}\n\n", "data: sk-\n\n"] {
        sender.send(Ok(Bytes::from(piece))).await.unwrap();
        let mut got = Vec::new();
        while got.len() < piece.len() {
            got.extend_from_slice(&answer.frame().await.unwrap().unwrap().into_data().unwrap());
        }
        assert_eq!(got, piece.as_bytes());
    }
    drop(sender);
    assert!(answer.frame().await.is_none());
}

#[tokio::test]
async fn requests_stream() {
    let (first_seen, first) = oneshot::channel();
    let first_seen = std::sync::Mutex::new(Some(first_seen));
    let provider = Provider::start(move |request: Request<hyper::body::Incoming>| {
        let first_seen = first_seen.lock().unwrap().take().unwrap();
        async move {
            let mut body = request.into_body();
            let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
            first_seen.send(piece).unwrap();
            let rest = body.collect().await.unwrap().to_bytes();
            Response::new(full(rest))
        }
    })
    .await;
    let fixture = Fixture::new(&provider.base).await;
    let (sender, body) = pieces();
    let answer = tokio::spawn(async move { fixture.send(messages(body)).await });
    sender.send(Ok(Bytes::from("one"))).await.unwrap();
    assert_eq!(first.await.unwrap(), "one");
    sender.send(Ok(Bytes::from("two"))).await.unwrap();
    drop(sender);
    assert_eq!(read(answer.await.unwrap()).await, "two");
}

#[tokio::test]
async fn errors_of_the_provider_pass_unchanged() {
    const BODY: &str =
        r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow","new":1},"request_id":"r"}"#;
    for status in [400, 401, 403, 404, 413, 429, 500, 529] {
        let provider = Provider::start(move |_| {
            let mut answer = json(status, BODY);
            answer.headers_mut().insert("retry-after", "7".parse().unwrap());
            async { answer }
        })
        .await;
        let fixture = Fixture::new(&provider.base).await;
        let response = fixture.send(prompt()).await;
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.headers()["retry-after"], "7");
        assert!(!response.headers().contains_key("x-cofferdam-refusal"));
        assert_eq!(read(response).await, BODY);
        assert_eq!(fixture.proxy.usage(&fixture.session).unwrap().failed_requests, 1);
    }
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request() {
    let provider = Provider::start(async |_| json(200, "{}")).await;
    let fixture = Fixture::new(&provider.base).await;
    let mut connection = fixture.connect().await;
    for path in ["/v1/models?limit=5", "/v1/models/claude", "/v1/models"] {
        connection.ready().await.unwrap();
        let request = Request::get(path)
            .header("authorization", format!("Bearer {TOKEN}"))
            .body(full(""))
            .unwrap();
        let response = connection.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        read(response).await;
    }
    let paths: Vec<_> = provider.seen().iter().map(|seen| seen.uri.to_string()).collect();
    assert_eq!(paths, ["/v1/models?limit=5", "/v1/models/claude", "/v1/models"]);
}

/// An address that refuses connections; the socket keeps other tests from listening there.
pub(crate) fn port_without_a_server() -> (tokio::net::TcpSocket, std::net::SocketAddr) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_said_to_be() {
    let (_reserved, address) = port_without_a_server();
    let fixture = Fixture::new(&format!("http://{address}").parse().unwrap()).await;
    let response = fixture.send(prompt()).await;
    assert_eq!(response.headers()["x-should-retry"], "true");
    let (status, kind, message) = error_of(response).await;
    assert_eq!((status, kind.as_str()), (502, "api_error"));
    assert!(
        message.contains("the connection was refused") && message.contains("ANTHROPIC_BASE_URL"),
        "{message}"
    );
    assert!(
        !message.contains(&address.to_string()),
        "addresses of the host stay there: {message}"
    );
    let usage = fixture.proxy.usage(&fixture.session).unwrap();
    assert_eq!(
        (usage.requests, usage.failed_requests, usage.in_flight),
        (1, 1, 0)
    );
}

#[tokio::test]
async fn a_large_request_reads_why_it_failed() {
    let (_reserved, address) = port_without_a_server();
    let fixture = Fixture::new(&format!("http://{address}").parse().unwrap()).await;
    // Written in full before anything is read, as some clients do: it must be taken to its end.
    let length = 4 * 1024 * 1024;
    let head =
        format!("POST /v1/messages HTTP/1.1\r\nx-api-key: {TOKEN}\r\ncontent-length: {length}\r\n\r\n");
    let answer = fixture
        .send_raw(&[head.into_bytes(), vec![b'a'; length]].concat())
        .await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}

#[tokio::test]
async fn a_server_that_does_not_prove_who_it_is_gets_no_key() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("https://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let impostor = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.unwrap();
        got
    });
    let (status, _, message) = error_of(Fixture::new(&base).await.send(prompt()).await).await;
    assert_eq!(status, 502, "{message}");
    assert!(message.contains("TLS"), "{message}");
    let got = impostor.await.unwrap();
    assert!(!got.windows(KEY.len()).any(|window| window == KEY.as_bytes()));
}

#[tokio::test]
async fn an_upstream_that_says_nothing_is_given_up() {
    let provider = Provider::start(async |_| std::future::pending().await).await;
    let limits = Limits {
        response_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let fixture = Fixture::with_limits(&provider.base, limits).await;
    let (status, kind, _) = error_of(fixture.send(prompt()).await).await;
    assert_eq!((status, kind.as_str()), (504, "timeout_error"));
}

#[tokio::test]
async fn garbage_and_a_closed_connection_are_a_bad_gateway() {
    for writes in [
        vec![],
        vec![b"SSH-2.0-OpenSSH\r\n".to_vec()],
        vec![b"HTTP/1.1 101 Switching\r\n\r\n".to_vec()],
    ] {
        let provider = Provider::start_raw(writes).await;
        let (status, kind, _) = error_of(Fixture::new(&provider.base).await.send(prompt()).await).await;
        assert_eq!((status, kind.as_str()), (502, "api_error"));
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_inside_too() {
    let write = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_vec();
    let provider = Provider::start_raw(vec![write]).await;
    let fixture = Fixture::new(&provider.base).await;
    let response = fixture.send(prompt()).await;
    assert!(response.into_body().collect().await.is_err());
    let usage = fixture.proxy.usage(&fixture.session).unwrap();
    assert_eq!((usage.failed_requests, usage.in_flight), (1, 0));
}

#[tokio::test]
async fn an_answer_that_stalls_is_cut() {
    let (sender, body) = pieces();
    let body = std::sync::Mutex::new(Some(body));
    let provider = Provider::start(move |_| {
        let body = body.lock().unwrap().take().unwrap();
        async move { Response::new(body) }
    })
    .await;
    let limits = Limits {
        stall_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let fixture = Fixture::with_limits(&provider.base, limits).await;
    let answer = fixture.send(prompt()).await;
    sender.send(Ok(Bytes::from("a"))).await.unwrap();
    assert!(answer.into_body().collect().await.is_err());
}

#[tokio::test]
async fn a_request_goes_below_the_prefix_of_the_base() {
    let provider = Provider::start(async |_| json(200, "{}")).await;
    let base = format!("{}/gate/anthropic/", provider.base).parse().unwrap();
    Fixture::new(&base).await.send(prompt()).await;
    assert_eq!(provider.seen()[0].uri, "/gate/anthropic/v1/messages?beta=true");
}
