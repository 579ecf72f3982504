//! Tasks.

use serde_json::json;
use session_core::api::SessionApi;
use session_core::session::{SessionFilter, WorkspaceSource};
use testkit::memory::AgentTurn;

use crate::support::{House, hold, is_time};

#[tokio::test]
async fn a_task_is_waited_for_and_works_in_the_project_itself() {
    let house = House::new().await;
    let project = house.project("thing", &[("a.txt", "before\n")]);
    let turn = AgentTurn::new()
        .write("/workspace/a.txt", "after\n")
        .say("Changed a.txt.");
    house.site.memory.agents().then(turn);
    let body = json!({ "task_description": "Change it", "project_path": "thing" });
    let reply = house.post("/claude-code/execute", body).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(reply.body["status"], "completed");
    assert_eq!(reply.body["task_description"], "Change it");
    assert_eq!(reply.body["project_path"], "thing");
    assert!(is_time(&reply.body["timestamp"]));
    let results = &reply.body["results"];
    assert_eq!(results["text"], "Changed a.txt.");
    assert_eq!(results["workspace"], "mount");
    assert_eq!(results["usage"]["output"], 10);
    assert!(results["session_id"].is_string() && results["cost_usd"].is_number());
    assert_eq!(std::fs::read_to_string(project.join("a.txt")).unwrap(), "after\n");

    let id = reply.body["task_id"].as_str().unwrap();
    let task = house.task(id).await;
    assert_eq!(task["task_id"], id);
    assert_eq!(task["status"], "completed");
    assert_eq!(task["priority"], "medium");
    assert_eq!(task["context"], json!(null));
    assert_eq!(task["results"], *results);
    for time in ["started_at", "completed_at", "timestamp"] {
        assert!(is_time(&task[time]), "{time}: {task}");
    }
    assert!(task.get("error").is_none() && task.get("failed_at").is_none());
    house.cleared().await;
    let status = house.get("/claude-code/status").await.body;
    assert_eq!(
        status["tasks"],
        json!({ "total": 1, "running": 0, "queued": 0, "completed": 1, "failed": 0 })
    );
}

#[tokio::test]
async fn a_project_that_the_user_inside_cannot_write_stays_as_it_is() {
    use std::os::unix::fs::PermissionsExt;
    let house = House::new().await;
    let project = house.project("thing", &[("a.txt", "before\n")]);
    // To its owner too: sessions work as the owner of what they mount, unless that is root.
    std::fs::set_permissions(&project, std::fs::Permissions::from_mode(0o555)).unwrap();
    let turn = AgentTurn::new()
        .write("/workspace/a.txt", "after\n")
        .say("Changed a.txt.");
    house.site.memory.agents().then(turn);
    let body = json!({ "task_description": "Change it", "project_path": "thing" });
    let reply = house.post("/claude-code/execute", body).await;
    std::fs::set_permissions(&project, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.body);
    let results = &reply.body["results"];
    assert_eq!(results["workspace"], "copy");
    assert_eq!(
        std::fs::read_to_string(project.join("a.txt")).unwrap(),
        "before\n"
    );
    let id = results["session_id"].as_str().unwrap().parse().unwrap();
    let session = house.manager().session(&id).await.unwrap();
    assert_eq!(session.workspace, WorkspaceSource::Copy { path: project });
    assert_eq!(results["text"], "Changed a.txt.", "the agent did its work there");
}

#[tokio::test]
async fn a_task_that_is_not_waited_for_is_watched_by_its_id() {
    let house = House::new().await;
    house.project("thing", &[]);
    let gate = hold(&house);
    let body = json!({ "task_description": "Look", "project_path": "thing", "context": { "why": ["so"] },
        "priority": "high", "wait": false });
    let first = house.post("/claude-code/execute", body.clone()).await;
    let mut preferred = body;
    preferred["wait"] = json!(null);
    let second = house
        .post_with(
            "/claude-code/execute",
            &[("prefer", "wait=3, respond-async")],
            preferred,
        )
        .await;
    for reply in [&first, &second] {
        assert_eq!(reply.status, 202, "{}", reply.body);
        let task = house.task(reply.body["task_id"].as_str().unwrap()).await;
        assert_eq!(task["status"], "running");
        assert_eq!(task["priority"], "high");
        assert_eq!(task["context"], json!({ "why": ["so"] }));
        assert!(is_time(&task["started_at"]));
        assert!(task.get("completed_at").is_none() && task.get("results").is_none());
    }
    house.site.memory.agents().wait_for_prompts(2).await;
    assert_eq!(house.get("/health").await.body["active_tasks"], 2);
    gate.open();
    for reply in [&first, &second] {
        let task = house.ended(reply.body["task_id"].as_str().unwrap()).await;
        assert_eq!(task["status"], "completed", "{task}");
        let text = task["results"]["text"].as_str().unwrap();
        assert!(
            text.starts_with("Look") && text.contains(r#"{"why":["so"]}"#),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_task_goes_on_when_its_client_leaves() {
    let house = House::new().await;
    house.project("thing", &[]);
    let gate = hold(&house);
    let body = json!({ "task_description": "Stay", "project_path": "thing" });
    house.post_and_leave("/claude-code/execute", body).await;
    house.site.memory.agents().wait_for_prompts(1).await;
    gate.open();
    house.site.memory.agents().wait_for_ends(1).await;
    house.completed(1).await;
    house.cleared().await;
}

#[tokio::test]
async fn a_task_that_fails_says_why_and_only_some_of_its_sessions_are_kept() {
    let house = House::set(|compat| compat.keep_failed = 2).await;
    house.project("thing", &[]);
    let mut kept = Vec::new();
    for _ in 0..4 {
        house.site.memory.agents().then(AgentTurn::new().exit(1));
        let body = json!({ "task_description": "Break", "project_path": "thing" });
        let reply = house.post("/claude-code/execute", body).await;
        assert_eq!(reply.status, 500, "{}", reply.body);
        assert_eq!(reply.body["status"], "error");
        assert!(reply.body["error"].is_string() && is_time(&reply.body["timestamp"]));
        let task = house.task(reply.body["task_id"].as_str().unwrap()).await;
        assert_eq!(task["status"], "failed");
        assert_eq!(task["error"], reply.body["error"]);
        assert!(is_time(&task["failed_at"]) && task.get("completed_at").is_none());
        kept.push(task["session_id"].as_str().unwrap().to_owned());
    }
    let left = house.manager().list(SessionFilter::default()).await.unwrap();
    let mut left: Vec<String> = left.iter().map(|session| session.id.to_string()).collect();
    left.reverse();
    assert_eq!(left, kept[2..]);
    assert_eq!(house.get("/claude-code/status").await.body["tasks"]["failed"], 4);
}

#[tokio::test]
async fn a_task_has_so_much_time() {
    let house = House::set(|compat| compat.timeout = std::time::Duration::from_millis(300)).await;
    house.project("thing", &[]);
    house.site.memory.agents().then(AgentTurn::new().hang());
    let body = json!({ "task_description": "Hang", "project_path": "thing" });
    let reply = house.post("/claude-code/execute", body).await;
    assert_eq!(reply.status, 500, "{}", reply.body);
}
