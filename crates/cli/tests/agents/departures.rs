//! Servers that are killed, and clients that go away: nothing is lost, nothing is left, and the next server goes on.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use testkit::model::Script;
use tokio::process::Command;

use super::client::Connection;
use super::world::World;
use super::{Result, test};

/// How long a prompt may take to come to its end after its daemon was killed.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test(
            "without_a_daemon_a_background_prompt_outlives_the_server_that_is_killed",
            || Script::new().hang().say("Thought all the same."),
            killed,
        ),
        test(
            "without_a_daemon_a_background_prompt_outlives_the_client_that_leaves",
            || Script::new().hang().say("Thought all the same."),
            left,
        ),
        test(
            "a_prompt_that_somebody_waits_for_outlives_the_daemon_that_is_killed",
            || Script::new().hang().say("Thought all the same."),
            daemon_killed,
        ),
        test(
            "a_background_prompt_goes_on_when_its_client_leaves",
            || Script::new().hang().say("Thought all the same."),
            left_to_the_daemon,
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
    let server = Connection::open_embedded(world).await?;
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

/// The daemon has the prompt, whatever becomes of the one who gave it; and of the daemon.
async fn left_to_the_daemon(world: Arc<World>) -> Result<()> {
    let server = Connection::open(&world).await?;
    let session = server.session(json!({})).await?;
    let arguments = json!({ "sessionId": session, "prompt": "Think.", "background": true });
    let accepted = server.ok("execute_in_session", arguments).await?;
    let task = json!({ "taskId": accepted["taskId"] });
    world.model.wait_for_conversation(1).await;
    server.leave().await?;
    let server = Connection::open(&world).await?;
    let found = server.ok("get_task", task.clone()).await?;
    assert_eq!(found["status"], "running", "{found}");
    kill_process(daemon(&world).await?, Signal::KILL)?;
    let ended = server.ok("wait_task", task).await?;
    assert_eq!(
        (&ended["status"], &ended["result"]),
        (&json!("succeeded"), &json!("Thought all the same.")),
        "{ended}"
    );
    server
        .ok("destroy_session", json!({ "sessionId": session }))
        .await?;
    server.leave().await
}

/// Whoever waited sees the end: their command starts another daemon, which goes on with the turn.
async fn daemon_killed(world: Arc<World>) -> Result<()> {
    let session = said(&world, &["create", "--empty"]).await?;
    let (out, log) = (world.record("out"), world.record("log"));
    let mut waiting = cofferdam(&world, &["prompt", &session, "Think."])
        .stdout(std::fs::File::create(&out)?)
        .stderr(std::fs::File::create(&log)?)
        .spawn()?;
    world.model.wait_for_conversation(1).await;
    let first = daemon(&world).await?;
    kill_process(first, Signal::KILL)?;
    world.model.wait_for_conversation(2).await;
    let status = tokio::time::timeout(PATIENCE, waiting.wait()).await??;
    let (out, log) = (std::fs::read_to_string(out)?, std::fs::read_to_string(log)?);
    assert!(status.success(), "{out}\n{log}");
    assert_eq!(out.trim(), "Thought all the same.", "{log}");
    assert_ne!(daemon(&world).await?, first);
    let turns: Vec<_> = said(&world, &["logs", &session, "--json"])
        .await?
        .lines()
        .filter(|line| line.contains("\"turn_finished\""))
        .map(str::to_owned)
        .collect();
    assert_eq!(turns.len(), 1, "it ran once: {turns:?}");
    said(&world, &["rm", &session]).await.map(drop)
}

async fn daemon(world: &World) -> Result<Pid> {
    let info: Value = serde_json::from_str(&said(world, &["health", "--json"]).await?)?;
    let pid = info["pid"].as_i64().ok_or("a daemon has a process")?;
    Ok(Pid::from_raw(i32::try_from(pid)?).ok_or("it is a process")?)
}

/// Runs `cofferdam`, which has to succeed; its standard output.
async fn said(world: &World, args: &[&str]) -> Result<String> {
    let output = cofferdam(world, args).output().await?;
    if !output.status.success() {
        return Err(format!("{args:?} failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn cofferdam(world: &World, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cofferdam"));
    command
        .args(args)
        .env_clear()
        .envs(world.environment())
        .current_dir("/")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}
