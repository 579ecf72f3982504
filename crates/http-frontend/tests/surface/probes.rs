//! What those see who watch the server.

use http_frontend::caller::Scope;

use crate::support::House;
use crate::support::client::get;

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
