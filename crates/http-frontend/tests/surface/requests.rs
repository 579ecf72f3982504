//! Requests that are not what they seem, or too much of what they are.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::House;
use crate::support::client::{get, request};

/// Ends a connection's first request, and asks for something else behind it.
const SMUGGLED: &str = "GET /t/list HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// How many answers there are in what came back.
fn answers(reply: &crate::support::client::Reply) -> usize {
    1 + reply.body.matches("HTTP/1.1 ").count()
}

#[tokio::test]
async fn no_request_hides_behind_two_lengths() {
    let house = House::new().await;
    let head = "POST /t/sink HTTP/1.1\r\nhost: localhost\r\n";
    let chunked = format!("{head}transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n{SMUGGLED}");
    let swapped = format!("{head}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}");
    for text in [chunked, swapped] {
        let reply = house.send_local(text.as_bytes()).await;
        assert_eq!(answers(&reply), 1, "{reply:?}");
        assert_eq!(reply.header("connection"), Some("close"), "{reply:?}");
    }
    house.ended().await;
}

#[tokio::test]
async fn requests_that_two_parsers_could_read_in_two_ways_are_refused() {
    let house = House::new().await;
    for headers in [
        "content-length: 4\r\ncontent-length: 5\r\n",
        "content-length: 4, 5\r\n",
        "content-length: +4\r\n",
        "content-length: -1\r\n",
        "content-length: 0x4\r\n",
        "content-length: 99999999999999999999999\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: identity\r\n",
        "x-folded: one\r\n two\r\n",
        "content-length : 4\r\n",
        " content-length: 4\r\n",
        "bad\0name: x\r\n",
        "x: bad\0value\r\n",
        "no colon\r\n",
    ] {
        let text = format!("POST /t/sink HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
        let reply = house.send_local(format!("{text}abcd{SMUGGLED}").as_bytes()).await;
        assert_eq!(
            (reply.status, answers(&reply)),
            (400, 1),
            "{headers:?}: {reply:?}"
        );
    }
    for chunk in [
        "4;\r\nabcd\r\n0x0\r\n\r\n",
        "-1\r\n\r\n",
        "fffffffffffffffff\r\n",
        "4\r\nabcdX\r\n0\r\n\r\n",
    ] {
        let text = format!(
            "POST /t/sink HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n{chunk}{SMUGGLED}"
        );
        let reply = house.send_local(text.as_bytes()).await;
        assert_eq!((reply.status, answers(&reply)), (400, 1), "{chunk:?}: {reply:?}");
    }
    let old = format!(
        "POST /t/sink HTTP/1.0\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}"
    );
    assert_eq!(house.send_local(old.as_bytes()).await.status, 400);
    house.ended().await;
}

#[tokio::test]
async fn headers_have_bounds_in_number_and_size() {
    let house = House::new().await;
    let many: String = (0..100).map(|n| format!("x-{n}: y\r\n")).collect();
    let text = format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\n{many}\r\n");
    assert_eq!(house.send_local(text.as_bytes()).await.status, 431);
    let long = "y".repeat(200 << 10);
    let text = request("GET /healthz", &[("host", "localhost"), ("x", &long)], b"");
    assert_eq!(house.send_local(&text).await.status, 431);
    let path = format!("/healthz?{}", "a".repeat(200 << 10));
    let reply = house.send_local(&get(&path)).await;
    assert!(matches!(reply.status, 414 | 431), "{reply:?}");
    let enough = "y".repeat(32 << 10);
    let text = request("GET /healthz", &[("host", "localhost"), ("x", &enough)], b"");
    assert_eq!(house.send_local(&text).await.status, 200);
    house.ended().await;
}

#[tokio::test]
async fn what_is_no_http_is_told_so_and_closed() {
    let house = House::new().await;
    for text in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on\r\n\r\n"[..],
        b"GET /healthz\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\nhost: localhost\r\n\r\n",
    ] {
        let reply = house.send_local(text).await;
        assert!(matches!(reply.status, 400 | 505), "{text:?}: {reply:?}");
    }
    let mut stream = house.unix().await;
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(
        answer, b"",
        "who begins with HTTP/2 would not read an answer of HTTP/1.1"
    );
    house.ended().await;
}

#[tokio::test]
async fn other_paths_and_methods_are_problems() {
    let house = House::new().await;
    let none = house.ask("GET /v1/nothing").await;
    assert_eq!((none.status, none.code().as_str()), (404, "no_such_path"));
    let none = house.ask("GET /nothing").await;
    assert_eq!((none.status, none.code().as_str()), (404, "no_such_path"));
    let other = house.ask("DELETE /healthz").await;
    assert_eq!((other.status, other.code().as_str()), (405, "method_not_allowed"));
    assert_eq!(other.header("allow"), Some("GET,HEAD"));
    house.ended().await;
}

#[tokio::test]
async fn a_defect_is_an_answer_and_the_server_goes_on() {
    let house = House::new().await;
    let reply = house.ask("GET /t/panic").await;
    assert_eq!((reply.status, reply.code().as_str()), (500, "internal"));
    assert!(!reply.body.contains("on purpose"), "{reply:?}");
    assert_eq!(house.ask("GET /healthz").await.status, 200);
    house.ended().await;
}
