//! Servers that are killed, and clients that go away: nothing is lost, nothing is left, and the next server goes on.

use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::json;
use testkit::model::Script;

use super::client::Connection;
use super::world::World;
use super::{Result, test};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test(
            "a_background_prompt_outlives_the_server_that_is_killed",
            || Script::new().hang().say("Thought all the same."),
            killed,
        ),
        test(
            "a_background_prompt_outlives_the_client_that_leaves",
            || Script::new().hang().say("Thought all the same."),
            left,
        ),
        test(
            "a_client_that_leaves_in_the_middle_leaves_a_usable_session",
            || Script::new().hang().say("Still here."),
            left_in_the_middle,
        ),
        test(
            "a_server_that_is_killed_leaves_a_usable_session",
            Script::new,
            killed_between,
        ),
    ]
}

async fn killed(world: Arc<World>) -> Result<()> {
    let (server, session, task) = in_the_background(&world).await?;
    server.kill().await?;
    expect_finished(&world, &session, &task).await
}

async fn left(world: Arc<World>) -> Result<()> {
    let (server, session, task) = in_the_background(&world).await?;
    server.leave().await?;
    expect_finished(&world, &session, &task).await
}

/// A server whose session has a prompt that nobody waits for and whose model has not answered yet.
async fn in_the_background(world: &World) -> Result<(Connection, String, String)> {
    let server = Connection::open(world).await?;
    let session = server.session(json!({})).await?;
    let arguments = json!({ "sessionId": session, "prompt": "Think.", "background": true });
    let accepted = server.ok("execute_in_session", arguments).await?;
    assert_eq!(accepted["status"], "queued");
    let task = accepted["taskId"].as_str().ok_or("a task has an id")?.to_owned();
    world.model.wait_for_conversation(1).await;
    Ok((server, session, task))
}

/// The agent asks its model again, through whoever stayed behind; that one ends with the prompt, and the next server knows.
async fn expect_finished(world: &World, session: &str, task: &str) -> Result<()> {
    world.model.wait_for_conversation(2).await;
    world.wait_for_quiet().await?;
    let server = Connection::open(world).await?;
    let found = server.ok("get_task", json!({ "taskId": task })).await?;
    assert_eq!(
        (&found["status"], &found["result"]),
        (&json!("succeeded"), &json!("Thought all the same.")),
        "{found}"
    );
    server
        .ok("destroy_session", json!({ "sessionId": session }))
        .await?;
    server.leave().await
}

async fn left_in_the_middle(world: Arc<World>) -> Result<()> {
    let server = Connection::open(&world).await?;
    let session = server.session(json!({})).await?;
    let prompt = json!({ "sessionId": session, "prompt": "Think." });
    let _unanswered = server.send("execute_in_session", prompt.clone()).await?;
    world.model.wait_for_conversation(1).await;
    server.leave().await?;

    let server = Connection::open(&world).await?;
    let tasks = server.ok("list_tasks", json!({ "sessionId": session })).await?;
    let task = json!({ "taskId": tasks["tasks"][0]["taskId"] });
    let interrupted = server.ok("wait_task", task).await?;
    assert_eq!(interrupted["status"], "interrupted", "{interrupted}");
    let answered = server.ok("execute_in_session", prompt).await?;
    assert_eq!(answered["result"], "Still here.");
    server
        .ok("destroy_session", json!({ "sessionId": session }))
        .await?;
    server.leave().await
}

async fn killed_between(world: Arc<World>) -> Result<()> {
    let server = Connection::open(&world).await?;
    let session = server
        .session(json!({ "sessionName": "kept", "labels": { "team": "a" } }))
        .await?;
    let write = json!({ "sessionId": session, "command": "echo kept > file" });
    server.ok("execute_command", write).await?;
    server.kill().await?;

    let server = Connection::open(&world).await?;
    let listed = server
        .ok("list_sessions", json!({ "labels": { "team": "a" } }))
        .await?;
    assert_eq!(
        (&listed["total"], &listed["sessions"][0]["sessionId"]),
        (&json!(1), &json!(session)),
        "{listed}"
    );
    let read = server
        .ok(
            "execute_command",
            json!({ "sessionId": session, "argv": ["cat", "file"] }),
        )
        .await?;
    assert_eq!(read["stdout"]["text"], "kept\n");
    server
        .ok("destroy_session", json!({ "sessionId": session }))
        .await?;
    server.leave().await
}
