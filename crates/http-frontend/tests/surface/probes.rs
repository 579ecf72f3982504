//! What those see who watch the server.

use http_frontend::caller::Scope;

use crate::support::log::Log;
use crate::support::{House, get, request};

#[tokio::test]
async fn a_server_that_lives_may_still_not_be_ready() {
    let house = House::new().await;
    let ready = house.ask("GET /readyz").await;
    assert_eq!(
        (ready.status, ready.json()["status"].as_str()),
        (200, Some("ready"))
    );
    house.control.break_engine();
    let unready = house.ask("GET /readyz").await;
    assert_eq!((unready.status, unready.code().as_str()), (503, "unavailable"));
    assert_eq!(house.ask("GET /healthz").await.json()["status"], "alive");
    assert_eq!(house.send_local(&get("/healthz")).await.status, 200);
    house.ended().await;
}

#[tokio::test]
async fn figures_tell_what_was_done() {
    let house = House::new().await;
    house.session(None).await;
    house.ask("GET /healthz").await;
    house.ask("GET /nothing").await;
    house.send(&get("/healthz")).await;
    let reply = house.ask("GET /metrics").await;
    assert_eq!(reply.status, 200);
    for line in [
        r#"cofferdam_http_requests_total{method="GET",route="/healthz",status="200"} 1"#,
        r#"cofferdam_http_requests_total{method="GET",route="/healthz",status="401"} 1"#,
        r#"cofferdam_http_request_duration_seconds_count{method="GET",route="/healthz"} 2"#,
        r#"cofferdam_http_refused_total{reason="token"} 1"#,
        r#"cofferdam_http_connections{transport="tcp"} 1"#,
        r#"cofferdam_sessions{state="ready"} 1"#,
        r#"cofferdam_sessions{state="busy"} 0"#,
        "cofferdam_turns_total 0",
        r#"cofferdam_model_tokens_total{kind="input"} 0"#,
    ] {
        assert!(
            reply.body.lines().any(|told| told == line),
            "{line}\n{}",
            reply.body
        );
    }
    house.ended().await;
}

#[tokio::test]
async fn figures_about_all_are_not_for_those_who_see_their_own_alone() {
    let house = House::new().await;
    let mine = house.token("ann", Scope::Use);
    let reply = house.ask_as(&mine, "GET /metrics").await;
    assert_eq!((reply.status, reply.code().as_str()), (403, "forbidden"));
    let look = house.token("eye", Scope::Read);
    assert_eq!(house.ask_as(&look, "GET /metrics").await.status, 200);
    house.ended().await;
}

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
