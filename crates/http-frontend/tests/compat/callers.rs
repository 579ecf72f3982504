//! Tokens with less than everything.

use http_frontend::caller::Scope;
use serde_json::json;
use session_core::api::SessionApi;
use session_core::session::SessionFilter;
use testkit::memory::AgentTurn;

use crate::support::House;

#[tokio::test]
async fn tasks_of_others_look_like_none() {
    let house = House::new().await;
    house.project("thing", &[]);
    let (alice, bob) = (house.token("alice", Scope::Use), house.token("bob", Scope::Use));
    let body = json!({ "task_description": "mine", "project_path": "thing" });
    let made = house
        .ask(&alice, "POST", "/claude-code/execute", &[], Some(body))
        .await;
    assert_eq!(made.status, 200, "{}", made.body);
    let path = format!("/claude-code/task/{}", made.body["task_id"].as_str().unwrap());
    assert_eq!(house.ask(&alice, "GET", &path, &[], None).await.status, 200);
    let theirs = house.ask(&bob, "GET", &path, &[], None).await;
    assert_eq!((theirs.status, &theirs.body["error"]), (404, &json!("Not Found")));
    for (token, total) in [(&alice, 1), (&bob, 0)] {
        let status = house.ask(token, "GET", "/claude-code/status", &[], None).await;
        assert_eq!(status.body["tasks"]["total"], total);
    }
    let all = SessionFilter {
        all: true,
        ..SessionFilter::default()
    };
    let sessions = house.manager().list(all).await.unwrap();
    assert_eq!(sessions[0].owner.as_deref(), Some("alice"));
}

#[tokio::test]
async fn who_may_only_look_begins_nothing() {
    let house = House::new().await;
    house.project("thing", &[]);
    let reader = house.token("reader", Scope::Read);
    for (path, body) in [
        (
            "/claude-code/execute",
            json!({ "task_description": "x", "project_path": "thing" }),
        ),
        ("/claude-code/analyze", json!({ "project_path": "thing" })),
    ] {
        let reply = house.ask(&reader, "POST", path, &[], Some(body)).await;
        assert_eq!(reply.status, 403, "{}", reply.body);
    }
    let nobody = house.ask("cfd_nothing", "GET", "/health", &[], None).await;
    assert_eq!(nobody.status, 401);
    assert!(house.site.memory.names().is_empty());
}

#[tokio::test]
async fn sessions_of_failed_tasks_are_bounded_whoever_made_them() {
    let house = House::set(|compat| compat.keep_failed = 2).await;
    house.project("thing", &[]);
    let (alice, bob) = (house.token("alice", Scope::Use), house.token("bob", Scope::Use));
    for token in [&alice, &alice, &bob, &bob, &alice] {
        house.site.memory.agents().then(AgentTurn::new().exit(1));
        let body = json!({ "task_description": "Break", "project_path": "thing" });
        let reply = house
            .ask(token, "POST", "/claude-code/execute", &[], Some(body))
            .await;
        assert_eq!(reply.status, 500, "{}", reply.body);
    }
    let left = house.manager().list(SessionFilter::default()).await.unwrap();
    let owners: Vec<_> = left
        .iter()
        .filter_map(|session| session.owner.as_deref())
        .collect();
    assert_eq!(owners, ["alice", "bob"], "the newest two");
}
