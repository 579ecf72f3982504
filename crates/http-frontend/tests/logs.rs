//! What is logged of requests. A program of its own: what is collected is what anybody in the process logs.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

#[expect(dead_code, reason = "the surface's tests need more of it")]
#[path = "surface/support/mod.rs"]
mod support;

#[path = "surface/support/log.rs"]
mod log;

use crate::log::Log;
use crate::support::House;
use crate::support::client::request;

#[tokio::test]
async fn one_line_tells_of_each_request_and_no_secret() {
    let (log, _guard) = Log::everything();
    let house = House::new().await;
    let session = house.session(None).await;
    let bearer = format!("Bearer {}", house.admin);
    let headers = [
        ("host", "localhost"),
        ("authorization", bearer.as_str()),
        ("x-request-id", "mine\u{9b}31m\" forged=\"yes"),
    ];
    let head = format!("GET /v1/sessions/{session}?secret=canary-in-query");
    let reply = house.send(&request(&head, &headers, b"")).await;
    let id = reply.header("x-request-id").unwrap().to_owned();
    assert_eq!(id.len(), 32);
    let wrong = [
        ("host", "localhost"),
        ("authorization", "Bearer canary-wrong-token"),
    ];
    house.send(&request("GET /healthz", &wrong, b"")).await;
    house.send(&request("GET /%0Aforged", &headers, b"")).await;
    let admin = house.admin.clone();
    house.ended().await;
    let text = log.text();
    let lines: Vec<_> = text.lines().filter(|line| line.contains("answered")).collect();
    assert_eq!(lines.len(), 3, "{text}");
    let line = lines.iter().find(|line| line.contains(&id)).unwrap();
    for part in [
        "method=\"GET\"",
        "ms=",
        "bytes=",
        "token=\"admin\"",
        &format!("session={session}"),
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(line.contains("u{9b}31m"), "{line}");
    assert!(!line.contains("\" forged=\"yes"), "{line}");
    assert!(
        lines.iter().any(|line| line.contains("refused=\"token\"")),
        "{lines:?}"
    );
    for secret in ["canary", admin.as_str(), "\nforged", "\u{9b}"] {
        assert!(!text.contains(secret), "{secret:?}");
    }
}
