//! What is left of tasks when the server is killed.

use std::collections::BTreeMap;

use serde_json::json;
use session_core::api::SessionApi;
use session_core::session::{CreateSession, SessionFilter};
use testkit::memory::AgentTurn;

use crate::support::{House, hold};

#[tokio::test]
async fn a_task_that_runs_is_found_again_and_ends_in_the_next_process() {
    let house = House::new().await;
    house.project("thing", &[]);
    let gate = hold(&house);
    let body = json!({ "task_description": "Go on", "project_path": "thing", "context": { "a": 1 },
        "priority": "critical", "wait": false });
    let begun = house.post("/claude-code/execute", body).await;
    let id = begun.body["task_id"].as_str().unwrap().to_owned();
    house.site.memory.agents().wait_for_prompts(1).await;
    let before = house.until(&id, |task| task["phase"] == "working").await;

    let house = house.restart().await;
    let status = house.get("/claude-code/status").await.body;
    assert_eq!(status["tasks"]["running"], 1, "{status}");
    let after = house.task(&id).await;
    for field in [
        "task_id",
        "task_description",
        "project_path",
        "context",
        "priority",
        "status",
        "started_at",
    ] {
        assert_eq!(after[field], before[field], "{field}");
    }
    gate.open();
    let ended = house.ended(&id).await;
    assert_eq!(ended["status"], "completed", "{ended}");
    assert!(ended["results"]["text"].as_str().unwrap().starts_with("Go on"));
    house.cleared().await;
    assert_eq!(house.site.memory.agents().prompts().len(), 1, "it ran once");
}

#[tokio::test]
async fn tasks_that_ended_are_still_told_and_counted() {
    let house = House::new().await;
    house.project("thing", &[]);
    let body = json!({ "task_description": "One", "project_path": "thing", "context": "because" });
    let good = house.post("/claude-code/execute", body).await;
    house.site.memory.agents().then(AgentTurn::new().exit(1));
    let body = json!({ "task_description": "Two", "project_path": "thing" });
    let bad = house.post("/claude-code/execute", body).await;
    let ids = [good.body["task_id"].clone(), bad.body["task_id"].clone()];
    let ids = ids.map(|id| id.as_str().unwrap().to_owned());

    let house = house.restart().await;
    let one = house.task(&ids[0]).await;
    assert_eq!(one["status"], "completed");
    assert_eq!(one["task_description"], "One");
    assert_eq!(one["context"], "because");
    assert_eq!(one["results"]["text"], good.body["results"]["text"]);
    let two = house.task(&ids[1]).await;
    assert_eq!(two["status"], "failed");
    assert_eq!(two["error"], bad.body["error"]);
    let status = house.get("/claude-code/status").await.body;
    assert_eq!(
        status["tasks"],
        json!({ "total": 2, "running": 0, "queued": 0, "completed": 1, "failed": 1 })
    );
    // The session of the failed one is still there to be looked at.
    let left = house.manager().list(SessionFilter::default()).await.unwrap();
    assert_eq!(left.len(), 1);
}

#[tokio::test]
async fn sessions_that_nobody_waits_for_any_more_are_put_away() {
    let house = House::new().await;
    // Whoever answers this has looked for what was left before.
    house.get("/claude-code/status").await;
    for labels in [
        vec![("compat.cofferdam/kind", "analysis")],
        vec![
            ("compat.cofferdam/kind", "task"),
            ("compat.cofferdam/task", "6c7a4c6e-0000-4000-8000-000000000001"),
        ],
    ] {
        let labels: BTreeMap<String, String> = labels
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let request = CreateSession {
            labels,
            ..CreateSession::default()
        };
        house.manager().create(request).await.unwrap();
    }
    let other = house.manager().create(CreateSession::default()).await.unwrap();

    let house = house.restart().await;
    let begun = tokio::time::Instant::now();
    loop {
        let left = house.manager().list(SessionFilter::default()).await.unwrap();
        if left.len() == 1 {
            assert_eq!(left[0].id, other.id);
            break;
        }
        assert!(begun.elapsed().as_secs() < 20, "{left:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let task = house.task("6c7a4c6e-0000-4000-8000-000000000001").await;
    assert_eq!(task["status"], "failed", "{task}");
}
