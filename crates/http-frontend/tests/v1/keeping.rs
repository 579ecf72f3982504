//! Leases, checkpoints, keys of commands, and the audit log.

use axum::body::Body;
use axum::http::{Method, Request};
use http_frontend::caller::Scope;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::files::{archive, cat, upload};
use crate::support::{Asker, House};

async fn lines(admin: &Asker) -> Vec<Value> {
    let read = admin.get("/v1/audit").await;
    assert_eq!(read.status, 200, "{read:?}");
    read.json().as_array().unwrap().clone()
}

fn of<'a>(lines: &'a [Value], action: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["action"] == action).collect()
}

#[tokio::test]
async fn a_lease_is_renewed_and_bounds_are_kept() {
    let house = House::new().await;
    let body = json!({"lifetime": {"lease_ms": 600_000, "keep_on_failure": true}, "on_interrupt": "resume"});
    let made = house.admin.post("/v1/sessions", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    assert_eq!(
        made["lifetime"],
        json!({"lease_ms": 600_000, "keep_on_failure": true})
    );
    assert_eq!(made["on_interrupt"], "resume");
    let until = |info: &Value| {
        info["lease_until"]
            .as_str()
            .unwrap()
            .parse::<Timestamp>()
            .unwrap()
    };
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let path = format!("/v1/sessions/{}/lease", made["id"].as_str().unwrap());
    let renewed = house.admin.poke(&path).await;
    assert_eq!(renewed.status, 200, "{renewed:?}");
    assert!(until(&renewed.json()) > until(&made));
    let eye = house.asker("eye", Scope::Read);
    assert_eq!(eye.poke(&path).await.status, 403);

    for bad in [
        json!({"idle_ms": 0}),
        json!({"max_ms": 315_360_000_001_u64}),
        json!({"idle": 1}),
    ] {
        let refused = house.admin.post("/v1/sessions", json!({ "lifetime": bad })).await;
        assert_eq!(refused.status, 400, "{refused:?}");
    }
    let refused = house
        .admin
        .post("/v1/sessions", json!({"on_interrupt": "go"}))
        .await;
    assert_eq!(refused.status, 400, "{refused:?}");
}

#[tokio::test]
async fn work_is_kept_read_and_brought_back() {
    let house = House::new().await;
    house.site.memory.add_git();
    let id = house.session().await;
    let checkpoints = format!("/v1/sessions/{id}/checkpoints");
    let nothing = house.admin.poke(&checkpoints).await;
    assert_eq!(nothing.status, 204, "{nothing:?}");
    let sent = archive(&[("note.txt", b"hello\n")]);
    let wrote = upload(&house.admin, &id, ".", "application/x-tar", sent).await;
    assert_eq!(wrote.status, 200, "{wrote:?}");
    let taken = house.admin.poke(&checkpoints).await;
    assert_eq!(taken.status, 201, "{taken:?}");
    assert_eq!(
        (&taken.json()["cause"], &taken.json()["files"]),
        (&json!("asked"), &json!(1))
    );

    let location = taken.headers["location"].to_str().unwrap().to_owned();
    let patch = house.admin.get(&location).await;
    assert_eq!(
        (
            patch.status.as_u16(),
            patch.headers["content-type"].to_str().unwrap()
        ),
        (200, "text/x-diff")
    );
    assert!(
        String::from_utf8_lossy(&patch.body).contains("+hello"),
        "{patch:?}"
    );
    let stranger = house.asker("stranger", Scope::Use);
    assert_eq!(stranger.get(&location).await.status, 404);
    assert_eq!(
        stranger.poke(&format!("/v1/sessions/{id}/restore")).await.status,
        404
    );

    assert_eq!(
        house.admin.delete(&format!("/v1/sessions/{id}")).await.status,
        204
    );
    let kept = house.admin.get(&checkpoints).await;
    assert_eq!(kept.json().as_array().map(Vec::len), Some(1), "{kept:?}");
    let restore = async || {
        house
            .admin
            .post_with(
                &format!("/v1/sessions/{id}/restore"),
                json!({}),
                &[("idempotency-key", "once")],
            )
            .await
    };
    let restored = restore().await;
    assert_eq!(restored.status, 201, "{restored:?}");
    let new = restored.json()["id"].as_str().unwrap().to_owned();
    assert_ne!(new, id.to_string());
    assert_eq!(restored.headers["location"], format!("/v1/sessions/{new}"));
    assert_eq!(
        restore().await.json()["id"],
        new,
        "the same key gives the same session"
    );
    let new = new.parse().unwrap();
    assert_eq!(cat(&house, &new, "note.txt").await["stdout"], "hello\n");
}

#[tokio::test]
async fn a_key_is_for_commands_that_can_be_come_back_to_and_bring_no_input() {
    let house = House::new().await;
    let id = house.session().await;
    let commands = format!("/v1/sessions/{id}/commands");
    for bad in [
        json!({"argv": ["true"], "idempotency_key": "k"}),
        json!({"argv": ["cat"], "idempotency_key": "k", "detach": true, "stdin": "x"}),
        json!({"argv": ["true"], "idempotency_key": "two words", "detach": true}),
    ] {
        let refused = house.admin.post(&commands, bad).await;
        assert_eq!(refused.status, 400, "{refused:?}");
    }
    let header = [("idempotency-key", "k")];
    let refused = house
        .admin
        .post_with(&commands, json!({"argv": ["true"]}), &header)
        .await;
    assert_eq!(refused.status, 400, "{refused:?}");
}

#[tokio::test]
async fn what_callers_do_and_are_refused_is_written_down() {
    let house = House::new().await;
    let ann = house.asker("ann", Scope::Use);
    let made = ann.post("/v1/sessions", json!({})).await;
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let eye = house.asker("eye", Scope::Read);
    assert_eq!(eye.delete(&format!("/v1/sessions/{id}")).await.status, 403);
    let stranger = house.asker("bob", Scope::Use);
    assert_eq!(stranger.delete(&format!("/v1/sessions/{id}")).await.status, 404);
    assert_eq!(
        house
            .admin
            .post("/v1/tokens", json!({"name": "ci", "scope": "use"}))
            .await
            .status,
        201
    );
    assert_eq!(house.admin.delete("/v1/tokens/ci").await.status, 204);
    assert_eq!(house.admin.delete("/v1/tokens/ci").await.status, 404);
    let nobody: Request<Body> = house
        .admin
        .request(Method::GET, "/v1/sessions")
        .header("x-other", "1")
        .body(Body::empty())
        .unwrap();
    let (mut parts, body) = nobody.into_parts();
    parts.headers.remove("authorization");
    assert_eq!(
        house.admin.send(Request::from_parts(parts, body)).await.status,
        401
    );

    let lines = lines(&house.admin).await;
    let told = |action: &str| -> Vec<(String, String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        of(&lines, action)
            .iter()
            .map(|line| (text(&line["actor"]), text(&line["decision"]), text(&line["rule"])))
            .collect()
    };
    let line =
        |actor: &str, decision: &str, rule: &str| (actor.to_owned(), decision.to_owned(), rule.to_owned());
    assert_eq!(told("create_session"), [line("token ann", "done", "")]);
    assert_eq!(
        told("destroy_session"),
        [line("token bob", "refused", "not_found")]
    );
    assert_eq!(told("create_token"), [line("token admin", "done", "")]);
    assert_eq!(
        told("revoke_token"),
        [
            line("token admin", "done", ""),
            line("token admin", "refused", "not_found")
        ]
    );
    assert_eq!(
        told("make_request"),
        [
            line("token eye", "refused", "forbidden"),
            line("address 127.0.0.1", "refused", "token")
        ]
    );
    assert_eq!(
        of(&lines, "make_request")[0]["detail"],
        "DELETE /v1/sessions/{session}"
    );

    let only = house
        .admin
        .get(&format!("/v1/audit?session={id}&tail=true&limit=1"))
        .await;
    assert_eq!(only.json()[0]["session"], id.as_str());
    let verdict = house.admin.get("/v1/audit/verify").await;
    assert_eq!(verdict.json()["broken_at"], Value::Null, "{verdict:?}");
    assert_eq!(verdict.json()["lines"], lines.len());
    for path in ["/v1/audit", "/v1/audit/verify"] {
        assert_eq!(ann.get(path).await.status, 403, "{path}");
    }
    for bad in ["limit=0", "limit=10001", "after=-1", "session=x", "x=1"] {
        assert_eq!(
            house.admin.get(&format!("/v1/audit?{bad}")).await.status,
            400,
            "{bad}"
        );
    }
}

#[tokio::test]
async fn garbage_is_the_operators() {
    let house = House::new().await;
    let ann = house.asker("ann", Scope::Use);
    assert_eq!(
        ann.post("/v1/server/gc", json!({"dry_run": true})).await.status,
        403
    );
    // As its description says: nothing, in either way to write it.
    assert_eq!(house.admin.post("/v1/server/gc", json!(null)).await.status, 200);
    let unknown = house.admin.post("/v1/server/gc", json!({"dry": true})).await;
    assert_eq!(unknown.status, 400, "a typing error removes nothing");
}
