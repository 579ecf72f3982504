//! JSON bodies: announced as such, bounded in length and depth, and nothing behind them.

use crate::support::House;
use crate::support::client::{Reply, request};

async fn post(house: &House, kind: &str, body: &[u8]) -> Reply {
    let headers = [("host", "localhost"), ("content-type", kind)];
    house
        .send_local(&request("POST /v1/sessions", &headers, body))
        .await
}

#[tokio::test]
async fn what_is_not_announced_as_json_is_not_read() {
    let house = House::new().await;
    for kind in [
        "application/octet-stream",
        "application/x-json",
        "application/json; charset=utf-16",
        "application/json, text/plain",
        "json",
        "",
    ] {
        let reply = post(&house, kind, b"{}").await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (415, "unsupported_media_type"),
            "{kind:?}"
        );
    }
    let none = request("POST /v1/sessions", &[("host", "localhost")], b"{\"a\":1}");
    assert_eq!(house.send_local(&none).await.status, 415);
    assert_eq!(
        post(&house, "application/json; charset=UTF-8", b"{}")
            .await
            .status,
        201
    );
    house.ended().await;
}

#[tokio::test]
async fn what_is_no_json_or_nested_too_deep_is_a_problem() {
    let house = House::new().await;
    let deep = |depth: usize| format!("{{\"mcp_config\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let bodies = [
        "".to_owned(),
        "{".to_owned(),
        "[]".to_owned(),
        "{} {}".to_owned(),
        "{\"nothing_of_this_name\": 1}".to_owned(),
        "{\"name\": \"\\ud800\"}".to_owned(),
        deep(64),
        deep(100_000),
        "[".repeat(1 << 20),
    ];
    for body in bodies {
        let reply = post(&house, "application/json", body.as_bytes()).await;
        assert_eq!(reply.status, 400, "{}", body.chars().take(40).collect::<String>());
        reply.code();
    }
    let bad = post(&house, "application/json", b"{\"name\": \"\xff\xfe\"}").await;
    assert_eq!(bad.status, 400);
    let told = post(&house, "application/json", &deep(64).into_bytes()).await;
    assert!(told.body.contains("deeper than 64"), "{told:?}");
    house.ended().await;
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_before_it_is_read() {
    let house = House::with(|options| options.max_body = 1000).await;
    let head = "POST /v1/sessions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n";
    // Nothing of it is sent: who waits for it, hangs.
    let announced = format!("{head}content-length: 1001\r\n\r\n");
    let reply = house.send_local(announced.as_bytes()).await;
    assert_eq!((reply.status, reply.code().as_str()), (413, "payload_too_large"));
    let huge = format!("{head}content-length: 18446744073709551615\r\n\r\n");
    assert!(matches!(
        house.send_local(huge.as_bytes()).await.status,
        400 | 413 | 431
    ));
    let chunk = "x".repeat(600);
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n258\r\n{chunk}\r\n258\r\n{chunk}\r\n");
    let reply = house.send_local(chunked.as_bytes()).await;
    assert_eq!(reply.status, 413);
    house.ended().await;
}

#[tokio::test]
async fn a_json_body_has_to_come_in_time_as_a_whole() {
    let house = House::with(|options| options.body_timeout = std::time::Duration::from_millis(300)).await;
    let head = "POST /v1/sessions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n";
    let slow = format!("{head}connection: close\r\n\r\n{{");
    let reply = house.send_local(slow.as_bytes()).await;
    assert_eq!((reply.status, reply.code().as_str()), (408, "request_timeout"));
    house.ended().await;
}
