//! Streamable HTTP: who comes in, and what is bounded.

use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, StatusCode};
use mcp_frontend::{HttpOptions, McpServer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::fake::Shared;
use crate::support::options;
use crate::support::site::{PING, Site, TOKEN, bearer};

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
