//! What is left of tasks when the server is killed.

use std::collections::BTreeMap;

use http_frontend::caller::Scope;
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
async fn tasks_that_waited_are_done_once_by_the_next_process_in_their_order() {
    let house = House::set(|compat| compat.max_concurrent_tasks = 1).await;
    house.project("thing", &[]);
    let alice = house.token("alice", Scope::Use);
    let gate = hold(&house);
    let running = house.begin("thing", "running", "low").await;
    house.site.memory.agents().wait_for_prompts(1).await;
    let mut ids = Vec::new();
    for (what, priority) in [("low", "low"), ("high", "high"), ("critical", "critical")] {
        ids.push(house.begin("thing", what, priority).await);
    }
    let body = json!({ "task_description": "high of alice", "project_path": "thing", "priority": "high",
        "context": ["a"], "wait": false });
    let accepted = house
        .ask(&alice, "POST", "/claude-code/execute", &[], Some(body))
        .await;
    assert_eq!(accepted.status, 202, "{}", accepted.body);
    ids.push(accepted.body["task_id"].as_str().unwrap().to_owned());
    let before = house.task(&ids[3]).await;
    house.until_files(5).await;

    // Twice, so that what is written down in between is read again too.
    let house = house.restart().await.restart().await;
    let status = house.get("/claude-code/status").await.body;
    assert_eq!(status["tasks"]["queued"], 4, "{status}");
    assert_eq!(status["tasks"]["running"], 5, "{status}");
    let after = house.task(&ids[3]).await;
    for field in [
        "task_id",
        "task_description",
        "project_path",
        "context",
        "priority",
        "phase",
        "started_at",
    ] {
        assert_eq!(after[field], before[field], "{field}");
    }
    let path = format!("/claude-code/task/{}", ids[3]);
    assert_eq!(house.ask(&alice, "GET", &path, &[], None).await.status, 200);
    let others = format!("/claude-code/task/{}", ids[2]);
    assert_eq!(house.ask(&alice, "GET", &others, &[], None).await.status, 404);

    gate.open();
    for id in ids.iter().chain([&running]) {
        let ended = house.ended(id).await;
        assert_eq!(ended["status"], "completed", "{ended}");
    }
    house.cleared().await;
    house.until_files(0).await;
    let prompts = house.site.memory.agents().prompts();
    let order: Vec<&str> = prompts
        .iter()
        .map(|prompt| prompt.text.lines().next().unwrap_or_default())
        .collect();
    assert_eq!(order, ["running", "critical", "high", "high of alice", "low"]);
    let theirs = SessionFilter {
        all: true,
        owner: Some("alice".to_owned()),
        ..SessionFilter::default()
    };
    assert_eq!(house.manager().list(theirs).await.unwrap().len(), 1);

    // And nothing of it comes again.
    let house = house.restart().await;
    let status = house.get("/claude-code/status").await.body;
    assert_eq!(status["tasks"]["running"], 0, "{status}");
    assert_eq!(status["tasks"]["completed"], 5, "{status}");
    assert_eq!(house.site.memory.agents().prompts().len(), 5);
}

#[tokio::test]
async fn a_task_that_waited_says_why_it_cannot_be_done_any_more() {
    let house = House::set(|compat| compat.max_concurrent_tasks = 1).await;
    house.project("thing", &[]);
    house.project("gone", &[]);
    let gate = hold(&house);
    house.begin("thing", "running", "low").await;
    house.site.memory.agents().wait_for_prompts(1).await;
    let id = house.begin("gone", "waits", "low").await;
    std::fs::remove_dir(house.projects.join("gone")).unwrap();
    let house = house.restart().await;
    gate.open();
    let ended = house.ended(&id).await;
    assert_eq!(ended["status"], "failed", "{ended}");
    assert_eq!(ended["error"], "project_path does not exist: gone");
    house.until_files(0).await;
}

#[tokio::test]
async fn a_file_that_cannot_be_read_stops_nothing_and_is_kept_aside() {
    let house = House::set(|compat| compat.max_concurrent_tasks = 1).await;
    house.project("thing", &[]);
    let gate = hold(&house);
    house.begin("thing", "running", "low").await;
    house.site.memory.agents().wait_for_prompts(1).await;
    let spoiled = house.begin("thing", "spoiled", "critical").await;
    let good = house.begin("thing", "good", "low").await;
    let is_of = |file: &std::path::PathBuf| file.to_string_lossy().contains(&spoiled);
    let file = house.files().into_iter().find(is_of).unwrap();
    let written = std::fs::read(&file).unwrap();
    std::fs::write(&file, &written[..written.len() / 2]).unwrap();

    let house = house.restart().await;
    let path = format!("/claude-code/task/{spoiled}");
    assert_eq!(house.get(&path).await.status, 404);
    gate.open();
    assert_eq!(house.ended(&good).await["status"], "completed");
    house.until_files(1).await;
    let aside = &house.files()[0];
    assert!(
        is_of(aside) && aside.extension().unwrap() == "unreadable",
        "{aside:?}"
    );
    assert_eq!(std::fs::read(aside).unwrap(), written[..written.len() / 2]);
}

#[tokio::test]
async fn the_session_of_an_analysis_that_was_broken_off_is_put_away() {
    let house = House::new().await;
    house.project("thing", &[]);
    house
        .site
        .memory
        .program("/opt/cofferdam/bin/project-analysis", async |_| {
            std::future::pending().await
        });
    let body = json!({ "project_path": "thing" });
    house.post_and_leave("/claude-code/analyze", body).await;
    let begun = tokio::time::Instant::now();
    while house.site.memory.names().is_empty() {
        assert!(begun.elapsed().as_secs() < 20);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(house.files().len(), 1);
    let house = house.restart().await;
    house.cleared().await;
    house.until_files(0).await;
}

/// Anybody can give a session any label.
#[tokio::test]
async fn sessions_of_others_are_left_alone_whatever_their_labels_say() {
    let house = House::new().await;
    house.project("thing", &[]);
    let gate = hold(&house);
    let id = house.begin("thing", "ours", "low").await;
    house.site.memory.agents().wait_for_prompts(1).await;
    let ours = house.manager().list(SessionFilter::default()).await.unwrap();
    let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    let mut others = Vec::new();
    for labels in [
        labels(&[("compat.cofferdam/kind", "analysis")]),
        labels(&[("compat.cofferdam/kind", "task")]),
        labels(&[
            ("compat.cofferdam/kind", "task"),
            ("compat.cofferdam/task", "6c7a4c6e-0000-4000-8000-000000000001"),
        ]),
        // Those of a task that runs, word for word.
        ours[0].labels.clone(),
    ] {
        let request = CreateSession {
            labels,
            ..CreateSession::default()
        };
        others.push(house.manager().create(request).await.unwrap().id);
    }
    let house = house.restart().await;
    let status = house.get("/claude-code/status").await.body;
    assert_eq!(status["tasks"]["total"], 1, "{status}");
    gate.open();
    assert_eq!(house.ended(&id).await["status"], "completed");
    house.until_files(0).await;
    // Once more, when nothing of ours is left.
    let house = house.restart().await;
    house.get("/claude-code/status").await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let left = house.manager().list(SessionFilter::default()).await.unwrap();
    let mut left: Vec<_> = left.iter().map(|session| session.id).collect();
    left.sort_unstable();
    others.sort_unstable();
    assert_eq!(left, others);
}
