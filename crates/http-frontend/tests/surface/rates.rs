//! How often somebody may ask, and somebody may be wrong.

use std::time::Duration;

use http_frontend::Rate;
use http_frontend::caller::Scope;

use crate::support::House;
use crate::support::client::{get, request};

#[tokio::test]
async fn a_token_that_asks_too_often_has_to_wait_and_no_other_has() {
    let house = House::with(|options| {
        options.rate = Rate {
            requests: 3,
            window: Duration::from_secs(300),
        };
    })
    .await;
    for left in ["2", "1", "0"] {
        let reply = house.ask("GET /healthz").await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("ratelimit-limit"), Some("3"));
        assert_eq!(reply.header("ratelimit-remaining"), Some(left));
        assert_eq!(reply.header("ratelimit-policy"), Some("3;w=300"));
    }
    let reply = house.ask("GET /healthz").await;
    assert_eq!((reply.status, reply.code().as_str()), (429, "too_many_requests"));
    let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((90..=100).contains(&wait), "{wait}");
    assert_eq!(reply.header("ratelimit-remaining"), Some("0"));
    let other = house.token("other", Scope::Read);
    assert_eq!(house.ask_as(&other, "GET /healthz").await.status, 200);
    for _ in 0..10 {
        assert_eq!(
            house.send_local(&get("/healthz")).await.status,
            200,
            "none over the socket"
        );
    }
    house.ended().await;
}

#[tokio::test]
async fn the_older_interface_has_a_limit_of_its_own() {
    let house = House::with(|options| {
        options.compat_rate = Rate {
            requests: 1,
            window: Duration::from_secs(900),
        };
    })
    .await;
    assert_ne!(house.ask("GET /health").await.status, 429);
    let reply = house.ask("GET /claude-code/status").await;
    assert_eq!(reply.status, 429);
    assert_eq!(reply.header("ratelimit-limit"), Some("1"));
    assert_eq!(house.ask("GET /healthz").await.status, 200);
    house.ended().await;
}

#[tokio::test]
async fn who_guesses_has_to_wait_and_locks_nobody_out_who_has_a_token() {
    const KEY: &str = "0123456789abcdef0123456789abcdef";
    let house = House::with(|options| {
        options.operator_key = Some(("MCP_API_KEY".to_owned(), KEY.into()));
        options.failure_rate = Rate {
            requests: 3,
            window: Duration::from_secs(300),
        };
    })
    .await;
    assert_eq!(house.ask_as(KEY, "GET /healthz").await.status, 200);
    for _ in 0..3 {
        assert_eq!(house.ask_as("a guess", "GET /healthz").await.status, 401);
    }
    let reply = house.ask_as("another", "GET /healthz").await;
    assert_eq!(reply.status, 429);
    assert!(reply.header("retry-after").is_some());
    for token in [KEY, &house.admin] {
        assert_eq!(house.ask_as(token, "GET /healthz").await.status, 200);
    }
    assert_eq!(house.ask_as("a third", "GET /healthz").await.status, 429);
    let none = request("GET /healthz", &[("host", "localhost")], b"");
    assert_eq!(
        house.send(&none).await.status,
        401,
        "who presents nothing guesses nothing"
    );
    house.ended().await;
}
