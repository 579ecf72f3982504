//! What is about the server, about tokens, and about all sessions at once.

use std::sync::atomic::Ordering;

use http_frontend::caller::Scope;
use serde_json::json;
use session_core::id::SessionId;

use crate::support::House;

#[tokio::test]
async fn the_server_says_what_it_is_and_stops_for_those_who_may_do_everything() {
    let house = House::new().await;
    let user = house.asker("user", Scope::Use);
    let info = user.get("/v1/server").await;
    assert_eq!(info.json()["pid"], 7);
    assert_eq!(info.json()["started_at"], "1970-01-01T00:00:00Z");
    assert_eq!(user.poke("/v1/server/stop").await.status, 403);
    assert_eq!(house.control.stops.load(Ordering::Relaxed), 0);
    assert_eq!(house.admin.poke("/v1/server/stop").await.status, 202);
    assert_eq!(house.control.stops.load(Ordering::Relaxed), 1);
    // As its description says: nothing, in either way to write it.
    let nothing = house.admin.post("/v1/server/stop", json!(null)).await;
    assert_eq!(
        (
            nothing.status.as_u16(),
            house.control.stops.load(Ordering::Relaxed)
        ),
        (202, 2)
    );
    for other in [json!([]), json!([true]), json!("now"), json!(1)] {
        assert_eq!(house.admin.post("/v1/server/stop", other).await.status, 400);
    }
}

#[tokio::test]
async fn it_stops_on_condition_when_nothing_is_under_way_and_begins_nothing_after() {
    let house = House::new().await;
    let (session, stops) = (house.session().await, || {
        house.control.stops.load(Ordering::Relaxed)
    });
    let stop = async || {
        house
            .admin
            .post("/v1/server/stop", json!({ "if_idle": true }))
            .await
    };
    let refused = stop().await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (409, "busy"));
    house.control.idle.store(true, Ordering::Relaxed);
    // Somebody has come to start a command, and has not said which one.
    let path = format!("/v1/sessions/{session}/commands/stream");
    let command = house.admin.socket(&path).await.unwrap();
    assert_eq!((stop().await.status.as_u16(), stops()), (409, 0));
    drop(command);
    let mut stopped = stop().await;
    while stopped.status == 409 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        stopped = stop().await;
    }
    assert_eq!((stopped.status.as_u16(), stops()), (202, 1));
    let late = house.admin.post("/v1/sessions", json!({})).await;
    assert_eq!((late.status.as_u16(), late.code().as_str()), (503, "link_lost"));
    assert_eq!(late.json()["retryable"], true);
    let unknown = house
        .admin
        .post("/v1/server/stop", json!({ "if_idel": true }))
        .await;
    assert_ne!(unknown.status, 202);
}

#[tokio::test]
async fn tokens_are_made_listed_and_revoked_by_those_who_may_do_everything() {
    let house = House::new().await;
    let made = house
        .admin
        .post(
            "/v1/tokens",
            json!({"name": "ci", "scope": "use", "expires_in_s": 60}),
        )
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.header("location"), Some("/v1/tokens/ci"));
    assert_eq!(made.header("cache-control"), Some("no-store"));
    let secret = made.json()["token"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("cfd_"));
    let list = house.admin.get("/v1/tokens").await;
    assert!(!String::from_utf8_lossy(&list.body).contains(&secret));
    let ci = list
        .json()
        .as_array()
        .unwrap()
        .iter()
        .find(|token| token["name"] == "ci")
        .cloned()
        .unwrap();
    assert_eq!(ci["scope"], "use");
    assert!(ci["expires_at"].is_string());

    for body in [
        json!({"name": "x y", "scope": "use"}),
        json!({"name": "x", "scope": "root"}),
        json!({"name": "x", "scope": "use", "expires_in_s": 0}),
        json!({"name": "x", "scope": "use", "expires_in_s": u64::MAX}),
        json!({"name": "x", "scope": "read", "all_sessions": true}),
    ] {
        assert_eq!(
            house.admin.post("/v1/tokens", body.clone()).await.status,
            400,
            "{body}"
        );
    }
    let again = house
        .admin
        .post("/v1/tokens", json!({"name": "ci", "scope": "use"}))
        .await;
    assert_eq!(again.status, 409);
    let user = house.asker("user", Scope::Use);
    assert_eq!(user.get("/v1/tokens").await.status, 403);
    assert_eq!(
        user.post("/v1/tokens", json!({"name": "y", "scope": "admin"}))
            .await
            .status,
        403
    );
    assert_eq!(user.delete("/v1/tokens/ci").await.status, 403);
    assert_eq!(house.admin.delete("/v1/tokens/ci").await.status, 204);
    assert_eq!(house.admin.delete("/v1/tokens/ci").await.status, 404);
}

#[tokio::test]
async fn hosts_usage_and_servers_are_about_one_session_or_about_all() {
    let house = House::new().await;
    let id = house.session().await;
    let decided = house
        .admin
        .post(
            "/v1/egress/decisions",
            json!({"rule": "a.example", "allow": true}),
        )
        .await;
    assert_eq!(decided.status, 200, "{decided:?}");
    let body = json!({"rule": "*.b.example:8443", "allow": false, "session": id});
    assert_eq!(
        house.admin.post("/v1/egress/decisions", body).await.json()["rule"],
        "*.b.example:8443"
    );
    let decisions = house
        .admin
        .get(&format!("/v1/egress/decisions?session={id}"))
        .await
        .json();
    assert_eq!(decisions.as_array().unwrap().len(), 2);
    assert_eq!(house.admin.get("/v1/egress/requests").await.json(), json!([]));
    assert_eq!(house.admin.get("/v1/usage").await.json()["today"]["requests"], 0);
    assert_eq!(
        house.admin.get(&format!("/v1/usage?session={id}")).await.status,
        200
    );
    assert!(house.admin.get("/v1/mcp/servers").await.json()["servers"].is_array());
    let user = house.asker("user", Scope::Use);
    assert_eq!(
        user.get("/v1/usage").await.status,
        403,
        "what all used tells of others"
    );
    let for_all = user
        .post(
            "/v1/egress/decisions",
            json!({"rule": "c.example", "allow": true}),
        )
        .await;
    assert_eq!(for_all.status, 403);
    let never = SessionId::new();
    for path in ["egress/requests", "egress/decisions", "usage", "mcp/servers"] {
        for id in [id, never] {
            let refused = user.get(&format!("/v1/{path}?session={id}")).await;
            assert_eq!(refused.code(), "not_found", "{path}");
        }
    }
}
