//! Streamable HTTP: what a client can do, and how it is told.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::{Method, StatusCode};
use serde_json::json;
use session_core::state::SessionState;

use crate::support::log::Log;
use crate::support::script::{Act, says};
use crate::support::site::{PING, Site, TOKEN, bearer};

#[tokio::test]
async fn a_client_works_as_over_stdio() {
    let site = Site::new().await;
    let talk = site.open().await;
    let made = talk.call("create_session", json!({ "apiKey": "sk-1" })).await;
    let id = made["structuredContent"]["sessionId"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(site.fake.created()[0].account.is_some(), "arguments come through");
    let done = talk
        .call("execute_in_session", json!({ "sessionId": id, "prompt": "x" }))
        .await;
    assert_eq!(done["structuredContent"]["result"], "done");
    let text = talk.call("create_session", json!({ "pids": "x" })).await;
    assert_eq!(text["isError"], true);
    site.end().await;
}

#[tokio::test]
async fn i3_secrets_and_the_token_reach_no_log() {
    const CANARY: &str = "canary-77ab";
    let (log, _guard) = Log::everything();
    let site = Site::new().await;
    let talk = site.open().await;
    talk.call("create_session", json!({ "apiKey": CANARY })).await;
    talk.call("create_session", json!({ "apiKey": { CANARY: CANARY } }))
        .await;
    let odd = json!({ "jsonrpc": "2.0", "id": 6, "method": "tools/call", "params": { "name": 5, "arguments": [CANARY] } });
    talk.post(&odd).await;
    let bearer = bearer();
    site.post(
        &[("authorization", bearer.as_str())],
        &format!(r#"{{"apiKey": "{CANARY}""#),
    )
    .await;
    site.post(&[("authorization", "Bearer wrong-canary")], PING).await;
    site.end().await;
    let log = log.text();
    assert!(
        log.contains("received request"),
        "the library's own log is looked at"
    );
    assert_eq!(
        log.lines()
            .find(|line| line.contains("canary") || line.contains(TOKEN)),
        None
    );
}

#[tokio::test]
async fn progress_comes_on_the_stream_of_its_call() {
    let site = Site::new().await;
    let talk = site.open().await;
    let id = site.fake.plant(&[]).to_string();
    site.fake.next_prompt([
        says("looking"),
        Act::Sleep(Duration::from_millis(900)),
        says("done looking"),
    ]);
    let message = json!({
        "jsonrpc": "2.0", "id": 9, "method": "tools/call",
        "params": {
            "name": "execute_in_session", "arguments": { "sessionId": id, "prompt": "x" }, "_meta": { "progressToken": "p" },
        },
    });
    let (_, events) = talk.post(&message).await;
    assert!(events.len() >= 3, "{events:?}");
    assert!(
        events[..events.len() - 1]
            .iter()
            .all(|event| event["method"] == "notifications/progress"),
        "{events:?}"
    );
    assert_eq!(events.last().unwrap()["id"], 9);
    site.end().await;
}

#[tokio::test]
async fn the_newest_revision_needs_no_session_and_its_disconnect_interrupts() {
    let site = Site::new().await;
    let id = site.fake.plant(&[]).to_string();
    site.fake.next_prompt([Act::Hang]);
    let message = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {
            "name": "execute_in_session", "arguments": { "sessionId": id, "prompt": "x" },
            "_meta": {
                "progressToken": "p",
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": { "name": "t", "version": "1" },
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    });
    let headers = [
        ("authorization", bearer()),
        ("mcp-protocol-version", "2026-07-28".to_owned()),
        ("mcp-method", "tools/call".to_owned()),
        ("mcp-name", "execute_in_session".to_owned()),
    ];
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let response = site
        .send(site.request(Method::POST, &headers, &message.to_string()))
        .await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.headers().get("mcp-session-id").is_none());
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(site.fake.session_state(&id), SessionState::Busy);
    drop(body);
    for _ in 0..200 {
        if site.fake.session_state(&id) == SessionState::Ready {
            return site.end().await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the agent was not interrupted");
}

#[tokio::test]
async fn a_shutdown_ends_open_streams() {
    let site = Site::new().await;
    let talk = site.open().await;
    let headers = talk.headers();
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let stream = site.send(site.request(Method::GET, &headers, "")).await;
    assert_eq!(stream.status(), StatusCode::OK);
    let id = site.fake.plant(&[]).to_string();
    site.fake.next_prompt([Act::Hang]);
    let message = json!({
        "jsonrpc": "2.0", "id": 9, "method": "tools/call",
        "params": { "name": "execute_in_session", "arguments": { "sessionId": id, "prompt": "x" } },
    });
    let waiting = site.send(talk.request(&message)).await;
    while site.fake.session_state(&id) != SessionState::Busy {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let fake = site.fake.clone();
    tokio::time::timeout(Duration::from_secs(8), site.end())
        .await
        .expect("it ends");
    assert_eq!(fake.count("interrupt_turn"), 1);
    drop((stream, waiting));
}
