//! Prompts, waiting for them, and taking them back.

use serde_json::json;
use testkit::memory::AgentTurn;

use crate::support::House;

#[tokio::test]
async fn a_prompt_is_accepted_at_once_and_found_again() {
    let house = House::new().await;
    let id = house.session().await;
    let turns = format!("/v1/sessions/{id}/turns");
    let accepted = house.admin.post(&turns, json!({"prompt": "hello"})).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let address = accepted.header("location").unwrap().to_owned();
    assert_eq!(
        address,
        format!("{turns}/{}", accepted.json()["id"].as_str().unwrap())
    );
    assert_eq!(accepted.header("preference-applied"), None);
    assert_eq!(house.admin.get(&address).await.json()["prompt"], "hello");
    assert_eq!(house.admin.get(&turns).await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn whoever_prefers_to_wait_gets_the_outcome() {
    let house = House::new().await;
    let id = house.session().await;
    let turns = format!("/v1/sessions/{id}/turns");
    let body = || json!({"prompt": "hello"});
    let waited = house
        .admin
        .post_with(&turns, body(), &[("prefer", "wait=20")])
        .await;
    assert_eq!(waited.status, 200, "{waited:?}");
    assert_eq!(waited.json()["outcome"]["status"], "succeeded");
    assert_eq!(waited.header("preference-applied"), Some("wait=20"));
    let waited = house.admin.post(&format!("{turns}?wait_ms=20000"), body()).await;
    assert_eq!(waited.status, 200, "{waited:?}");
    let not = house
        .admin
        .post_with(&turns, body(), &[("prefer", "respond-async")])
        .await;
    assert_eq!(not.status, 202);
    assert_eq!(not.header("preference-applied"), Some("respond-async"));
}

#[tokio::test]
async fn a_wait_ends_before_a_turn_that_does_not() {
    let house = House::new().await;
    let id = house.session().await;
    house.site.memory.agents().then(AgentTurn::new().hang());
    let turns = format!("/v1/sessions/{id}/turns");
    let waited = house
        .admin
        .post(&format!("{turns}?wait_ms=50"), json!({"prompt": "x"}))
        .await;
    assert_eq!(waited.status, 202, "{waited:?}");
    let address = waited.header("location").unwrap().to_owned();
    let taken = house.admin.poke(&format!("{address}/interrupt")).await;
    assert_eq!(taken.json(), json!({"interrupted": true}));
    let mut events = house
        .admin
        .follow(&format!("/v1/sessions/{id}/events/stream"), None)
        .await;
    while events.next().await.unwrap().name != "turn_finished" {}
    assert_eq!(house.admin.get(&address).await.json()["status"], "interrupted");
    let again = house.admin.poke(&format!("{address}/interrupt")).await;
    assert_eq!(again.json(), json!({"interrupted": false}));
}

#[tokio::test]
async fn the_same_key_gives_the_same_turn() {
    let house = House::new().await;
    let id = house.session().await;
    let turns = format!("/v1/sessions/{id}/turns");
    let ask = async |prompt: &str| {
        let body = json!({"prompt": prompt});
        house
            .admin
            .post_with(&turns, body, &[("idempotency-key", "k")])
            .await
    };
    let first = ask("x").await.json();
    assert_eq!(ask("x").await.json()["id"], first["id"]);
    assert_eq!(ask("y").await.code(), "idempotency_mismatch");
    assert_eq!(house.admin.get(&turns).await.json().as_array().unwrap().len(), 1);
}
