//! Sessions that end by themselves, come back, and whose work is kept.

use serde_json::json;
use session_core::checkpoint::Checkpoint;
use session_core::id::SessionId;
use session_core::lifetime::{Lifetime, OnInterrupt};
use session_core::state::{InterruptCause, SessionState};

use crate::support::World;

const CHECKPOINT: &str = "0e0e0e0e-1111-4222-8333-444455556666";

fn checkpoint(session: &str) -> Checkpoint {
    serde_json::from_value(json!({
        "id": CHECKPOINT,
        "session": session,
        "cause": "destroy",
        "at": "2026-05-01T10:00:00Z",
        "base": "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
        "sha256": "00",
        "bytes": 2048,
        "files": 3,
    }))
    .unwrap()
}

#[tokio::test]
async fn a_session_says_when_it_ends_and_whether_it_comes_back() {
    let mut world = World::new().await;
    let asked = json!({
        "idleTimeoutSeconds": 1800,
        "maxLifeSeconds": 28_800.0,
        "keepOnFailure": true,
        "onInterrupt": "resume",
    });
    world.client.ok("create_session", asked).await;
    world.client.ok("create_session", json!({})).await;
    let created = world.fake.created();
    let lifetime = Lifetime {
        idle_ms: Some(1_800_000),
        max_ms: Some(28_800_000),
        lease_ms: None,
        keep_on_failure: true,
    };
    assert_eq!(
        (created[0].lifetime, created[0].on_interrupt),
        (lifetime, OnInterrupt::Resume)
    );
    assert_eq!(
        (created[1].lifetime, created[1].on_interrupt),
        (Lifetime::default(), OnInterrupt::Stop)
    );
    for bad in [json!({"idleTimeoutSeconds": 0}), json!({"onInterrupt": "again"})] {
        let text = world.client.err("create_session", bad).await;
        assert!(text.starts_with("invalid_argument"), "{text}");
    }
    world.end().await;
}

#[tokio::test]
async fn an_interrupted_session_comes_back() {
    let (mut world, id) = World::with_session().await;
    let session: SessionId = id.parse().unwrap();
    let lost = SessionState::Interrupted {
        cause: InterruptCause::OutOfMemory,
    };
    world.fake.set_state(&session, lost);
    let back = world
        .client
        .ok("resume_session", json!({ "sessionId": id }))
        .await;
    assert_eq!(back["sessionId"], id);
    assert_eq!(world.fake.session_state(&id), SessionState::Ready);
    assert!(back["message"].as_str().unwrap().contains("not run again"));
    world.end().await;
}

#[tokio::test]
async fn work_is_listed_and_brought_back_also_of_a_session_that_is_gone() {
    let (mut world, id) = World::with_session().await;
    world.fake.keep(vec![checkpoint(&id)]);
    let listed = world
        .client
        .ok("list_checkpoints", json!({ "sessionId": id }))
        .await;
    let first = &listed["checkpoints"][0];
    assert_eq!(
        (&first["checkpointId"], &first["files"], &first["cause"]),
        (&json!(CHECKPOINT), &json!(3), &json!("destroy"))
    );
    let same = world
        .client
        .ok("restore_session", json!({ "sessionId": id }))
        .await;
    assert_eq!((&same["sessionId"], &same["isNew"]), (&json!(id), &json!(false)));
    world
        .client
        .ok("destroy_session", json!({ "sessionId": id }))
        .await;
    let new = world
        .client
        .ok(
            "restore_session",
            json!({ "sessionId": id, "checkpointId": CHECKPOINT }),
        )
        .await;
    assert_ne!(new["sessionId"], id.as_str());
    assert_eq!(new["isNew"], true);
    let calls = world.fake.calls();
    assert!(
        calls
            .iter()
            .any(|call| call.starts_with("restore") && call.contains(CHECKPOINT)),
        "{calls:?}"
    );
    let text = world
        .client
        .err(
            "restore_session",
            json!({ "sessionId": id, "checkpointId": "../x" }),
        )
        .await;
    assert!(text.starts_with("invalid_argument"), "{text}");
    world.end().await;
}
