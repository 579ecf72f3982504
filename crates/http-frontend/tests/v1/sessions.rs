//! Sessions: made, found, paused, ended, and whose they are.

use http_frontend::caller::Scope;
use serde_json::json;
use session_core::id::SessionId;

use testkit::faults::{Fault, FaultPlan, Operation};

use crate::support::House;

#[tokio::test]
async fn a_session_is_made_found_paused_and_ended() {
    let house = House::new().await;
    let body = json!({"name": "one", "labels": {"team": "a=b&c"}, "env": {"X": "1"}});
    let made = house.admin.post("/v1/sessions", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let info = made.json();
    let address = format!("/v1/sessions/{}", info["id"].as_str().unwrap());
    assert_eq!(made.header("location"), Some(address.as_str()));
    assert_eq!(info["name"], "one");
    assert_eq!(info["state"], "ready");
    assert_eq!(info["env"], json!({"X": "1"}));

    assert_eq!(house.admin.get(&address).await.json(), info);
    let details = house.admin.get(&format!("{address}/details")).await;
    assert_eq!(details.status, 200, "{details:?}");
    assert!(details.json()["container"].is_string());

    for (what, state) in [("pause", "paused"), ("resume", "ready")] {
        let changed = house.admin.poke(&format!("{address}/{what}")).await;
        assert_eq!(changed.status, 204, "{changed:?}");
        assert_eq!(house.admin.get(&address).await.json()["state"], state);
    }
    let interrupted = house.admin.poke(&format!("{address}/interrupt")).await;
    assert_eq!(interrupted.json(), json!({"interrupted": false}));

    for _ in 0..2 {
        assert_eq!(house.admin.delete(&address).await.status, 204);
    }
    assert_eq!(house.admin.get(&address).await.json()["state"], "destroyed");
    let refused = house.admin.poke(&format!("{address}/pause")).await;
    assert_eq!(refused.status, 409);
    assert_eq!(refused.code(), "state_conflict");
}

#[tokio::test]
async fn lists_are_filtered_by_labels_and_owners() {
    let house = House::new().await;
    let ids = async |path: &str| -> Vec<String> {
        let list = house.admin.get(path).await;
        assert_eq!(list.status, 200, "{list:?}");
        let list = list.json();
        let names = list
            .as_array()
            .unwrap()
            .iter()
            .map(|info| info["name"].as_str().unwrap().to_owned());
        names.collect()
    };
    for body in [
        json!({"name": "one", "labels": {"team": "a=b&c", "kind": "x"}}),
        json!({"name": "two", "labels": {"team": "a=b&c"}, "owner": "me"}),
        json!({"name": "three"}),
    ] {
        assert_eq!(house.admin.post("/v1/sessions", body).await.status, 201);
    }
    assert_eq!(ids("/v1/sessions").await, ["three", "two", "one"]);
    assert_eq!(ids("/v1/sessions?label=team%3Da%3Db%26c").await, ["two", "one"]);
    assert_eq!(
        ids("/v1/sessions?label=team%3Da%3Db%26c&label=kind%3Dx").await,
        ["one"]
    );
    assert_eq!(ids("/v1/sessions?owner=me").await, ["two"]);
    assert_eq!(ids("/v1/sessions?owner=nobody&all=true").await, [] as [&str; 0]);
}

#[tokio::test]
async fn the_same_key_gives_the_same_session() {
    let house = House::new().await;
    let make = async |body, headers| house.admin.post_with("/v1/sessions", body, headers).await;
    let first = make(json!({"name": "x"}), &[("idempotency-key", "k-1")]).await;
    let again = make(json!({"name": "x", "idempotency_key": "k-1"}), &[]).await;
    assert_eq!(first.json()["id"], again.json()["id"]);
    let other = make(json!({"name": "y"}), &[("idempotency-key", "k-1")]).await;
    assert_eq!(
        (other.status.as_u16(), other.code().as_str()),
        (409, "idempotency_mismatch")
    );
    let both = make(
        json!({"name": "x", "idempotency_key": "k-2"}),
        &[("idempotency-key", "k-1")],
    )
    .await;
    assert_eq!(
        both.json()["id"],
        first.json()["id"],
        "the header goes before the body"
    );
    let twice = make(json!({}), &[("idempotency-key", "a"), ("idempotency-key", "b")]).await;
    assert_eq!(twice.status, 400);
    assert_eq!(
        house
            .admin
            .get("/v1/sessions")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_caller_sees_sessions_of_its_own_and_others_are_as_if_they_were_not() {
    let house = House::new().await;
    let (mine, theirs) = (house.asker("mine", Scope::Use), house.asker("theirs", Scope::Use));
    let made = mine.post("/v1/sessions", json!({"owner": "mine"})).await;
    assert_eq!(made.json()["owner"], "mine");
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let claimed = mine.post("/v1/sessions", json!({"owner": "theirs"})).await;
    assert_eq!(
        (claimed.status.as_u16(), claimed.code().as_str()),
        (403, "forbidden")
    );

    let never = SessionId::new().to_string();
    for path in [
        "",
        "/details",
        "/turns",
        "/events",
        "/events/stream",
        "/terminals",
        "/diff",
        "/files?path=x",
    ] {
        let path = |id: &str| format!("/v1/sessions/{id}{path}");
        let (found, absent) = (theirs.get(&path(&id)).await, theirs.get(&path(&never)).await);
        assert_eq!(found.status, 404, "{found:?}");
        let same =
            |reply: &crate::support::Reply, id: &str| String::from_utf8_lossy(&reply.body).replace(id, "ID");
        assert_eq!(same(&found, &id), same(&absent, &never));
    }
    assert_eq!(theirs.get("/v1/sessions?all=true").await.json(), json!([]));
    assert_eq!(theirs.delete(&format!("/v1/sessions/{id}")).await.status, 404);
    assert_eq!(mine.get(&format!("/v1/sessions/{id}")).await.status, 200);
}

#[tokio::test]
async fn a_token_that_may_only_look_changes_nothing() {
    let house = House::new().await;
    let id = house.session().await;
    let reader = house.asker("reader", Scope::Read);
    assert_eq!(reader.get(&format!("/v1/sessions/{id}")).await.status, 200);
    for path in ["", "/turns", "/commands", "/terminals"] {
        let path = if path.is_empty() {
            "/v1/sessions".to_owned()
        } else {
            format!("/v1/sessions/{id}{path}")
        };
        let refused = reader.post(&path, json!({})).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (403, "forbidden"),
            "{path}"
        );
    }
    for what in ["pause", "resume", "interrupt"] {
        assert_eq!(
            reader.poke(&format!("/v1/sessions/{id}/{what}")).await.status,
            403
        );
    }
    assert_eq!(reader.delete(&format!("/v1/sessions/{id}")).await.status, 403);
    assert_eq!(
        house
            .admin
            .get("/v1/sessions")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_client_that_leaves_does_not_leave_half_a_session() {
    let house = House::new().await;
    let admin = house.admin.clone();
    let late = Fault::Delay(std::time::Duration::from_millis(300));
    house
        .site
        .faulty
        .set_plan(FaultPlan::none().always(Operation::Launch, late));
    let asking = tokio::spawn(async move { admin.post("/v1/sessions", json!({"name": "left"})).await });
    // Until it is recorded; then its client goes.
    loop {
        let list = house.admin.get("/v1/sessions").await.json();
        if list.as_array().unwrap().iter().any(|info| info["name"] == "left") {
            break;
        }
        tokio::task::yield_now().await;
    }
    asking.abort();
    loop {
        let list = house.admin.get("/v1/sessions?all=true").await.json();
        match list[0]["state"].as_str().unwrap() {
            "creating" => tokio::task::yield_now().await,
            state => break assert_eq!(state, "ready"),
        }
    }
}
