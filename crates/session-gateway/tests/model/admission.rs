//! What does not pass is answered here, in the provider's shape, and the provider never hears of it.

use std::time::Duration;

use bytes::Bytes;
use hyper::Request;
use session_core::id::SessionId;
use session_gateway::GatewayErrorKind;
use session_gateway::model::Limits;

use crate::support::{
    Fixture, Provider, TOKEN, connect, credential, error_of, full, json, messages, pieces, prompt, read,
};

#[tokio::test]
async fn a_token_is_worth_nothing_elsewhere() {
    let provider = Provider::start(async |_| json(200, "{}")).await;
    let fixture = Fixture::new(&provider.base).await;
    let other = SessionId::new();
    fixture
        .register(other, "another-token-0123456789", None)
        .await
        .unwrap();
    for token in [
        "",
        "x",
        "another-token-0123456789",
        "session-token-012345678",
        "session-token-01234567890",
    ] {
        let mut request = prompt();
        request.headers_mut().insert("x-api-key", token.parse().unwrap());
        let (status, kind, _) = error_of(fixture.send(request).await).await;
        assert_eq!(
            (status, kind.as_str()),
            (401, "authentication_error"),
            "{token:?}"
        );
    }
    let mut request = prompt();
    request.headers_mut().remove("x-api-key");
    assert_eq!(error_of(fixture.send(request).await).await.0, 401);
    assert!(provider.seen().is_empty());
    assert_eq!(fixture.proxy.usage(&fixture.session).unwrap().refused_requests, 6);
}

#[tokio::test]
async fn without_a_credential_the_agent_is_told_and_the_next_one_is_used() {
    let provider = Provider::start(async |_| json(200, "{}")).await;
    let fixture = Fixture::new(&provider.base).await;
    let mut connection = fixture.connect().await;
    let mut send = async |request| {
        connection.ready().await.unwrap();
        connection.send_request(request).await.unwrap()
    };

    fixture.credential.rotate(None);
    let response = send(prompt()).await;
    assert_eq!(response.headers()["x-cofferdam-refusal"], "no_credential");
    let (status, kind, message) = error_of(response).await;
    assert_eq!((status, kind.as_str()), (401, "authentication_error"));
    assert!(
        message.contains("operator must set ANTHROPIC_API_KEY"),
        "{message}"
    );
    assert!(provider.seen().is_empty());

    // The same connection, no restart of anything.
    fixture.credential.rotate(Some(credential("rotated-key-1")));
    read(send(prompt()).await).await;
    fixture
        .register(fixture.session, TOKEN, Some("session-s-own-key"))
        .await
        .unwrap();
    read(send(prompt()).await).await;
    let keys: Vec<_> = provider
        .seen()
        .iter()
        .map(|seen| seen.headers["x-api-key"].clone())
        .collect();
    assert_eq!(keys, ["rotated-key-1", "session-s-own-key"]);
}

#[tokio::test]
async fn a_replaced_token_is_worth_nothing() {
    let provider = Provider::start(async |_| json(200, "{}")).await;
    let fixture = Fixture::new(&provider.base).await;
    let mut connection = fixture.connect().await;
    read(connection.send_request(prompt()).await.unwrap()).await;
    fixture
        .register(fixture.session, "new-token-0123456789", None)
        .await
        .unwrap();
    connection.ready().await.unwrap();
    assert_eq!(connection.send_request(prompt()).await.unwrap().status(), 401);
    assert_eq!(
        fixture.proxy.usage(&fixture.session).unwrap().requests,
        1,
        "the account goes on"
    );
}

#[tokio::test]
async fn targets_with_two_readings_go_nowhere() {
    let provider = Provider::start(async |_| json(200, "{}")).await;
    let fixture = Fixture::new(&provider.base).await;
    for (target, status) in [
        ("http://evil.example/v1/messages", "403"),
        ("https://api.anthropic.com/v1/messages", "403"),
        ("//evil.example/v1/messages", "403"),
        ("/v1/../v1/messages", "403"),
        ("/v1/%2e%2e/messages", "403"),
        ("/v1/messages%2fbatches", "403"),
        ("/@evil.example/v1/messages", "403"),
        ("/v1/messages/batches", "404"),
        ("/api/event_logging/batch", "404"),
    ] {
        let request =
            format!("POST {target} HTTP/1.1\r\nhost: x\r\nx-api-key: {TOKEN}\r\ncontent-length: 0\r\n\r\n");
        let answer = fixture.send_raw(request.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{target}: {answer}"
        );
        assert!(answer.contains("\"type\":\"error\""), "{target}: {answer}");
    }
    for method in [
        "CONNECT evil.example:443",
        "CONNECT /v1/messages",
        "OPTIONS *",
        "PUT /v1/messages",
        "GET evil",
    ] {
        let request = format!("{method} HTTP/1.1\r\nhost: x\r\nx-api-key: {TOKEN}\r\n\r\n");
        let answer = fixture.send_raw(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{method}: {answer}");
    }
    assert!(provider.seen().is_empty());
}

#[tokio::test]
async fn requests_with_two_lengths_never_become_two_requests() {
    let provider = Provider::start(async |_| json(200, "{}")).await;
    let fixture = Fixture::new(&provider.base).await;
    let head = format!("POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {TOKEN}\r\n");
    let smuggled = "GET /v1/organizations/api_keys HTTP/1.1\r\n\r\n";
    for lengths in [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "content-length: 0\r\ncontent-length: 44\r\n\r\n",
        "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        "content-length: +3\r\n\r\nabc",
    ] {
        fixture
            .send_raw(format!("{head}{lengths}{smuggled}").as_bytes())
            .await;
    }
    assert!(
        provider.seen().iter().all(|seen| seen.uri == "/v1/messages"),
        "{:?}",
        provider.seen()
    );
}

#[tokio::test]
async fn a_probe_is_answered_here() {
    let provider = Provider::start(async |_| json(200, "{}")).await;
    let fixture = Fixture::new(&provider.base).await;
    for method in ["GET", "HEAD"] {
        let request = Request::builder()
            .method(method)
            .uri("/")
            .header("x-api-key", TOKEN)
            .body(full(""))
            .unwrap();
        assert_eq!(fixture.send(request).await.status(), 200);
    }
    assert!(provider.seen().is_empty());
}

#[tokio::test]
async fn a_body_is_bounded_however_it_is_framed() {
    let provider = Provider::start(async |request: Request<_>| {
        let body = http_body_util::BodyExt::collect(request.into_body()).await;
        if body.is_ok() {
            json(200, "{}")
        } else {
            json(400, "{}")
        }
    })
    .await;
    let fixture = Fixture::with_limits(
        &provider.base,
        Limits {
            max_request_body: 1000,
            ..Limits::default()
        },
    )
    .await;
    assert_eq!(fixture.send(messages(full(vec![b'a'; 1000]))).await.status(), 200);
    let (status, kind, _) = error_of(fixture.send(messages(full(vec![b'a'; 1001]))).await).await;
    assert_eq!((status, kind.as_str()), (413, "request_too_large"));
    assert_eq!(provider.seen().len(), 1);

    let (sender, body) = pieces();
    let send = fixture.send(messages(body));
    let pieces = async {
        for _ in 0..3 {
            // The receiver goes away when the limit is reached.
            drop(sender.send(Ok(Bytes::from(vec![b'a'; 400]))).await);
        }
        drop(sender);
    };
    let (response, ()) = tokio::join!(send, pieces);
    assert_eq!(error_of(response).await.0, 413);
}

#[tokio::test]
async fn a_refused_client_may_finish_its_body_and_then_reads_why() {
    let provider = Provider::start(async |_| json(200, "{}")).await;
    let fixture = Fixture::new(&provider.base).await;
    fixture.credential.rotate(None);
    let body = vec![b'a'; 4 * 1024 * 1024];
    assert_eq!(error_of(fixture.send(messages(full(body))).await).await.0, 401);
}

#[tokio::test]
async fn a_body_that_stalls_is_given_up() {
    let provider = Provider::start(async |request: Request<_>| {
        drop(http_body_util::BodyExt::collect(request.into_body()).await);
        json(200, "{}")
    })
    .await;
    let limits = Limits {
        stall_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let fixture = Fixture::with_limits(&provider.base, limits).await;
    let (_sender, body) = pieces();
    assert_eq!(error_of(fixture.send(messages(body)).await).await.0, 408);
}

#[tokio::test]
async fn requests_at_once_are_bounded() {
    let (sender, body) = pieces();
    let body = std::sync::Mutex::new(Some(body));
    let provider = Provider::start(move |_| {
        let body = body.lock().unwrap().take();
        async move { body.map_or_else(|| json(200, "{}"), hyper::Response::new) }
    })
    .await;
    let fixture = Fixture::with_limits(
        &provider.base,
        Limits {
            max_concurrent_requests: 1,
            ..Limits::default()
        },
    )
    .await;
    let first = fixture.send(prompt()).await;
    assert_eq!(fixture.proxy.usage(&fixture.session).unwrap().in_flight, 1);
    let second = fixture.send(prompt()).await;
    assert_eq!(second.headers()["retry-after"], "1");
    assert_eq!(error_of(second).await.0, 429);
    drop(sender);
    read(first).await;
    assert_eq!(fixture.send(prompt()).await.status(), 200);
}

#[tokio::test]
async fn connections_are_bounded() {
    let provider = Provider::start(async |_| json(200, "{}")).await;
    let fixture = Fixture::with_limits(
        &provider.base,
        Limits {
            max_connections: 1,
            ..Limits::default()
        },
    )
    .await;
    let mut first = fixture.connect().await;
    read(first.send_request(prompt()).await.unwrap()).await;
    let (_inside, outside) = tokio::io::duplex(64);
    let error = fixture
        .proxy
        .serve(&fixture.session, outside, std::future::pending())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), GatewayErrorKind::TooManyConnections);
}

#[tokio::test]
async fn heads_are_bounded_in_size_number_and_time() {
    let provider = Provider::start(async |_| json(200, "{}")).await;
    let limits = Limits {
        max_buffer: 8192,
        max_headers: 20,
        head_timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    let fixture = Fixture::with_limits(&provider.base, limits).await;
    let start = format!("POST /v1/messages HTTP/1.1\r\nx-api-key: {TOKEN}\r\n");
    for head in [
        format!("{start}x-long: {}\r\n\r\n", "a".repeat(10_000)),
        format!("{start}{}\r\n", "x-more: 1\r\n".repeat(30)),
    ] {
        let answer = fixture.send_raw(head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    let mut slow = fixture.dial();
    tokio::io::AsyncWriteExt::write_all(&mut slow, start.as_bytes())
        .await
        .unwrap();
    let mut answer = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut slow, &mut answer)
        .await
        .unwrap();
    assert!(provider.seen().is_empty());
}

#[tokio::test]
async fn registration_refuses_a_token_that_could_be_guessed() {
    let provider = Provider::start(async |_| json(200, "{}")).await;
    let fixture = Fixture::new(&provider.base).await;
    for token in ["", "fifteen-bytes-x"] {
        let error = fixture.register(SessionId::new(), token, None).await.unwrap_err();
        assert_eq!(error.kind(), GatewayErrorKind::InvalidToken);
    }
    let (inside, outside) = tokio::io::duplex(64);
    let error = fixture
        .proxy
        .serve(&SessionId::new(), outside, std::future::pending())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), GatewayErrorKind::UnknownSession);
    drop(connect(inside));
}
