//! The protocol's own tasks, for clients that declare them.

use std::time::Duration;

use serde_json::{Value, json};
use session_core::turn::TurnFailureCause;

use crate::support::script::{Act, answers, fails};
use crate::support::{World, options};

async fn world() -> World {
    let mut world = World::silent(options());
    let capabilities = json!({ "extensions": { "io.modelcontextprotocol/tasks": {} } });
    world.client.initialize_as("2025-11-25", capabilities).await;
    world
}

async fn prompt(world: &mut World, id: &str) -> Value {
    let call = json!({ "name": "execute_in_session", "arguments": { "sessionId": id, "prompt": "x" } });
    world.client.request("tools/call", call).await["result"].clone()
}

async fn get(world: &mut World, task: &Value) -> Value {
    world.client.request("tasks/get", json!({ "taskId": task })).await["result"].clone()
}

async fn ended(world: &mut World, task: &Value) -> Value {
    loop {
        let now = get(world, task).await;
        if now["status"] != "working" {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_prompt_becomes_a_task_and_its_result_is_the_tools() {
    let mut world = world().await;
    let id = world.client.session().await;
    world
        .fake
        .next_prompt([Act::Sleep(Duration::from_millis(50)), answers("42")]);
    let created = prompt(&mut world, &id).await;
    assert_eq!(
        (&created["resultType"], &created["status"]),
        (&json!("task"), &json!("working")),
        "{created}"
    );
    let done = ended(&mut world, &created["taskId"]).await;
    assert_eq!(done["status"], "completed", "{done}");
    assert_eq!(done["result"]["structuredContent"]["result"], "42");
    assert_eq!(done["result"]["isError"], false);
    // The same task by our own tools.
    let same = world.client.task(&created["taskId"]).await;
    assert_eq!(same["result"], "42");
    world.end().await;
}

#[tokio::test]
async fn failures_and_cancellation_are_told_apart() {
    let mut world = world().await;
    let id = world.client.session().await;
    world
        .fake
        .next_prompt([fails(TurnFailureCause::ModelOverloaded, "busy")]);
    let created = prompt(&mut world, &id).await;
    let done = ended(&mut world, &created["taskId"]).await;
    assert_eq!(
        (&done["status"], &done["result"]["isError"]),
        (&json!("completed"), &json!(true))
    );
    world.fake.next_prompt([Act::Hang]);
    let created = prompt(&mut world, &id).await;
    let acknowledged = world
        .client
        .request("tasks/cancel", json!({ "taskId": created["taskId"] }))
        .await;
    assert!(acknowledged["error"].is_null(), "{acknowledged}");
    assert_eq!(ended(&mut world, &created["taskId"]).await["status"], "cancelled");
    world.end().await;
}

#[tokio::test]
async fn a_background_prompt_is_a_handle_for_the_model() {
    let mut world = world().await;
    let id = world.client.session().await;
    let handle = world
        .client
        .ok(
            "execute_in_session",
            json!({ "sessionId": id, "prompt": "x", "background": true }),
        )
        .await;
    assert_eq!(handle["status"], "queued");
    world.end().await;
}

#[tokio::test]
async fn tasks_that_are_not_there_are_protocol_errors() {
    let mut world = world().await;
    let id = world.client.session().await;
    let nobody = format!("turn:{id}:00000000-0000-4000-8000-000000000000");
    for method in ["tasks/get", "tasks/cancel"] {
        for task in [nobody.as_str(), "nonsense"] {
            let answer = world.client.request(method, json!({ "taskId": task })).await;
            assert_eq!(answer["error"]["code"], -32602, "{method} {task}: {answer}");
        }
    }
    world.end().await;
}

#[tokio::test]
async fn a_client_that_did_not_declare_them_waits() {
    let (mut world, id) = World::with_session().await;
    let done = world.client.prompt(&id, "x").await;
    assert_eq!(done["result"], "done");
    let refused = world
        .client
        .request("tasks/get", json!({ "taskId": done["taskId"] }))
        .await;
    assert_eq!(refused["error"]["code"], -32021, "{refused}");
    world.end().await;
}
