//! One task in a container of its own: always cleaned up.

use std::time::Duration;

use serde_json::json;
use session_core::error::{Error, ErrorKind};
use session_core::session::WorkspaceSource;
use session_core::turn::TurnFailureCause;

use crate::support::script::{Act, answers, fails, says};
use crate::support::{World, options, until};

#[tokio::test]
async fn one_call_does_everything() {
    let mut world = World::new().await;
    world.fake.set_patch("diff --git a/src/a.rs b/src/a.rs\n");
    world.fake.next_prompt([says("hm"), answers("Did it.")]);
    let done = world
        .client
        .ok(
            "spawn_claude_container",
            json!({ "taskDescription": "do it", "projectPath": "/p", "apiKey": "sk-1" }),
        )
        .await;
    assert_eq!(
        (&done["status"], &done["result"], &done["cleanedUp"]),
        (&json!("succeeded"), &json!("Did it."), &json!(true))
    );
    assert_eq!(done["diff"]["files"][0]["path"], "src/a.rs");
    assert!(done["containerName"].is_string());
    let request = world.fake.created().pop().unwrap();
    assert_eq!(request.workspace, WorkspaceSource::Copy { path: "/p".into() });
    assert_eq!(request.limits.unwrap().memory_bytes, 2 << 30);
    assert!(request.account.is_some());
    let limit = world.fake.prompts()[0].time_limit.unwrap();
    assert!(limit <= Duration::from_secs(300) && limit > Duration::from_secs(290));
    assert!(world.fake.alive().is_empty());
    world.end().await;
}

#[tokio::test]
async fn whatever_fails_it_is_cleaned_up() {
    let mut world = World::new().await;
    let failing = |kind| Error::new(kind, "do it", "it went wrong");
    world.fake.fail("prompt", failing(ErrorKind::LinkLost));
    let text = world
        .client
        .err("spawn_claude_container", json!({ "taskDescription": "x" }))
        .await;
    assert!(text.starts_with("link_lost"), "{text}");
    world.fake.fail("diff", failing(ErrorKind::LinkLost));
    world
        .client
        .err("spawn_claude_container", json!({ "taskDescription": "x" }))
        .await;
    world.fake.fail("events", failing(ErrorKind::StoreFailed));
    world
        .client
        .err("spawn_claude_container", json!({ "taskDescription": "x" }))
        .await;
    assert_eq!(world.fake.count("destroy"), 3);
    assert!(world.fake.alive().is_empty());
    world.end().await;
}

#[tokio::test]
async fn a_failed_task_does_not_lose_what_was_changed() {
    let mut world = World::new().await;
    world.fake.set_patch("diff --git half of it\n");
    world
        .fake
        .next_prompt([fails(TurnFailureCause::TimedOut, "too long")]);
    let text = world
        .client
        .err("spawn_claude_container", json!({ "taskDescription": "x" }))
        .await;
    assert!(
        text.contains("cause: timed_out") && text.contains("diff --git half of it"),
        "{text}"
    );
    assert!(world.fake.alive().is_empty());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_cannot_be_removed_is_said() {
    let mut world = World::new().await;
    for _ in 0..3 {
        world.fake.fail(
            "destroy",
            Error::new(ErrorKind::EngineUnavailable, "destroy", "no engine"),
        );
    }
    let done = world
        .client
        .ok("spawn_claude_container", json!({ "taskDescription": "x" }))
        .await;
    assert_eq!(done["cleanedUp"], false);
    assert!(done["warnings"][0].as_str().unwrap().contains("destroy_session"));
    world.end().await;
}

#[tokio::test]
async fn a_cancelled_call_is_cleaned_up() {
    let mut world = World::new().await;
    world.fake.next_prompt([Act::Hang]);
    let call = json!({ "name": "spawn_claude_container", "arguments": { "taskDescription": "x" } });
    let call = world.client.send("tools/call", call).await;
    until(|| world.fake.prompts().len() == 1).await;
    world.client.take_back(call).await;
    until(|| world.fake.alive().is_empty()).await;
    assert_eq!(world.fake.count("destroy"), 1);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_leaves_nothing() {
    let mut world = World::new().await;
    world.fake.next_prompt([Act::Hang]);
    world
        .client
        .begin("spawn_claude_container", json!({ "taskDescription": "x" }))
        .await;
    until(|| world.fake.prompts().len() == 1).await;
    let fake = world.end().await;
    assert!(fake.alive().is_empty());
}

#[tokio::test]
async fn what_cannot_be_asked_for_makes_nothing() {
    let mut world = World::new().await;
    for wrong in [
        json!({ "taskDescription": " " }),
        json!({ "taskDescription": "x", "repositoryUrl": "https://h/r", "projectPath": "/p", "network": "open" }),
        json!({ "taskDescription": "x", "ref": "main" }),
        json!({ "taskDescription": "x", "memory": "lots" }),
        json!({ "taskDescription": "x", "timeoutSeconds": 0 }),
        json!({ "taskDescription": "x", "projectPath": "/p", "workspace": "clone" }),
        json!({}),
    ] {
        let text = world.client.err("spawn_claude_container", wrong.clone()).await;
        assert!(text.starts_with("invalid_argument"), "{wrong}: {text}");
    }
    assert!(world.fake.created().is_empty());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_server_left_is_put_away_by_the_next() {
    let world = World::with(options()).await;
    let label = "mcp.cofferdam/delete-after";
    let old = world.fake.plant(&[(label, "2020-01-01T00:00:00Z")]);
    let later = world.fake.plant(&[(label, "2999-01-01T00:00:00Z")]);
    let foreign = world.fake.plant(&[("other", "2020-01-01T00:00:00Z")]);
    tokio::time::sleep(Duration::from_secs(120)).await;
    let alive = world.fake.alive();
    assert!(!alive.contains(&old) && alive.contains(&later) && alive.contains(&foreign));
    world.end().await;
}
