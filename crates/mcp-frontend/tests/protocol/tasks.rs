//! The task tools.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use mcp_frontend::TurnKeeper;
use serde_json::json;
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::TurnId;
use session_core::turn::TurnInfo;

use crate::support::script::{Act, Step, answers, exit, out, says};
use crate::support::{World, options};

#[tokio::test]
async fn a_prompt_is_started_watched_and_read() {
    let (mut world, id) = World::with_session().await;
    world.fake.next_prompt([
        says("one"),
        Act::Sleep(Duration::from_millis(100)),
        says("two"),
        answers("three"),
    ]);
    let task = world.client.start(&id, "count").await;
    assert_eq!(task["kind"], "prompt");
    let done = world.client.wait(&task["taskId"]).await;
    assert_eq!(
        (&done["status"], &done["result"], &done["ended"]),
        (&json!("succeeded"), &json!("three"), &json!(true))
    );
    let texts: Vec<_> = done["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["text"].as_str().unwrap())
        .collect();
    assert!(
        texts.contains(&"count") && texts.contains(&"one") && texts.contains(&"two"),
        "{texts:?}"
    );
    let again = world
        .client
        .ok(
            "wait_task",
            json!({ "taskId": task["taskId"], "cursor": done["cursor"] }),
        )
        .await;
    assert_eq!(again["events"], json!([]));
    let read = world.client.task(&task["taskId"]).await;
    assert_eq!(read["result"], "three");
    assert_eq!(read["prompt"], "count");
    assert_eq!(world.fake.prompts()[0].time_limit, None);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_within_its_limit() {
    let (mut world, id) = World::with_session().await;
    world.fake.next_prompt([says("busy"), Act::Hang]);
    let task = world.client.start(&id, "x").await;
    for (asked, limit) in [(json!(2), 3), (json!(3600), 51), (json!(null), 31)] {
        let begun = tokio::time::Instant::now();
        let now = world
            .client
            .ok(
                "wait_task",
                json!({ "taskId": task["taskId"], "timeoutSeconds": asked }),
            )
            .await;
        assert_eq!(
            (&now["status"], &now["ended"]),
            (&json!("running"), &json!(false))
        );
        assert!(
            begun.elapsed() < Duration::from_secs(limit),
            "{asked}: {:?}",
            begun.elapsed()
        );
        assert!(now["result"].is_null());
    }
    world.end().await;
}

#[tokio::test]
async fn a_task_is_cancelled_by_its_id() {
    let (mut world, id) = World::with_session().await;
    world.fake.next_prompt([Act::Hang]);
    let task = world.client.start(&id, "x").await;
    let cancelled = world
        .client
        .ok("cancel_task", json!({ "taskId": task["taskId"] }))
        .await;
    assert_eq!(
        (&cancelled["cancelled"], &cancelled["status"]),
        (&json!(true), &json!("interrupted"))
    );
    let again = world
        .client
        .ok("cancel_task", json!({ "taskId": task["taskId"] }))
        .await;
    assert_eq!(again["cancelled"], false);
    let read = world.client.task(&task["taskId"]).await;
    assert!(read["failure"].as_str().unwrap().contains("interrupted"));

    world.fake.next_command([out("x"), Step::Hang]);
    let task = world
        .client
        .ok("start_task", json!({ "sessionId": id, "argv": ["sleep", "9"] }))
        .await;
    assert_eq!(task["kind"], "command");
    let cancelled = world
        .client
        .ok("cancel_task", json!({ "taskId": task["taskId"] }))
        .await;
    assert_eq!(
        (&cancelled["cancelled"], &cancelled["status"]),
        (&json!(true), &json!("exited"))
    );
    let read = world.client.task(&task["taskId"]).await;
    assert_eq!(
        (&read["cause"], &read["signal"]),
        (&json!("cancelled"), &json!(9))
    );
    world.end().await;
}

#[tokio::test]
async fn cancelling_a_task_that_waits_leaves_those_before_and_behind_it() {
    let (mut world, id) = World::with_session().await;
    let mut tasks = Vec::new();
    for act in [Act::Sleep(Duration::from_millis(300)), Act::Hang, says("third")] {
        world.fake.next_prompt([act, answers("done")]);
        let task = world.client.start(&id, "x").await;
        tasks.push(task["taskId"].clone());
    }
    let cancelled = world
        .client
        .ok("cancel_task", json!({ "taskId": tasks[1] }))
        .await;
    assert_eq!(
        (&cancelled["cancelled"], &cancelled["status"]),
        (&json!(true), &json!("interrupted"))
    );
    for task in [&tasks[0], &tasks[2]] {
        let done = world.client.wait(&task).await;
        assert_eq!(
            (&done["status"], &done["result"]),
            (&json!("succeeded"), &json!("done"))
        );
    }
    world.end().await;
}

#[tokio::test]
async fn a_command_is_watched_while_it_runs() {
    let (mut world, id) = World::with_session().await;
    world.fake.next_command([
        out("first\n"),
        Step::Sleep(Duration::from_millis(300)),
        out("second\n"),
        exit(4),
    ]);
    let task = world
        .client
        .ok(
            "start_task",
            json!({ "sessionId": id, "command": "build", "timeoutSeconds": 60 }),
        )
        .await;
    assert_eq!(world.fake.commands()[0].time_limit, Some(Duration::from_secs(60)));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let now = world.client.task(&task["taskId"]).await;
    assert_eq!(
        (&now["status"], &now["stdout"]["text"], &now["nextOffset"]),
        (&json!("running"), &json!("first\n"), &json!(6))
    );
    let done = world
        .client
        .ok(
            "wait_task",
            json!({ "taskId": task["taskId"], "offset": now["nextOffset"] }),
        )
        .await;
    assert_eq!(
        (&done["stdout"]["text"], &done["exitCode"]),
        (&json!("second\n"), &json!(4))
    );
    world.end().await;
}

#[tokio::test]
async fn a_task_is_one_thing() {
    let (mut world, id) = World::with_session().await;
    for wrong in [
        json!({ "prompt": "x", "command": "y" }),
        json!({ "prompt": "x", "argv": ["y"] }),
        json!({}),
    ] {
        let mut arguments = wrong;
        arguments["sessionId"] = json!(id);
        let text = world.client.err("start_task", arguments).await;
        assert!(text.starts_with("invalid_argument"), "{text}");
    }
    world.end().await;
}

#[tokio::test]
async fn tasks_that_nobody_has_are_not_found() {
    let (mut world, id) = World::with_session().await;
    let nobody = "00000000-0000-4000-8000-000000000000";
    for tool in ["get_task", "wait_task", "cancel_task"] {
        for task in [
            format!("turn:{id}:{nobody}"),
            format!("command:{id}:{nobody}"),
            format!("turn:{nobody}:{nobody}"),
        ] {
            let text = world.client.err(tool, json!({ "taskId": task })).await;
            assert!(text.starts_with("not_found"), "{tool} {task}: {text}");
        }
        for task in ["", "x", "turn:1:2", "turn::", &format!("turn:{id}:{nobody}:x")] {
            let text = world.client.err(tool, json!({ "taskId": task })).await;
            assert!(text.starts_with("invalid_argument"), "{tool} {task}: {text}");
        }
    }
    world.end().await;
}

#[tokio::test]
async fn tasks_are_listed() {
    let mut world = World::new().await;
    let (one, two) = (world.client.session().await, world.client.session().await);
    let empty = world.client.ok("list_tasks", json!({})).await;
    assert_eq!((&empty["total"], empty["note"].is_string()), (&json!(0), true));
    world.client.prompt(&one, "quick").await;
    world.fake.next_prompt([Act::Hang]);
    let open = world.client.start(&two, "slow").await;
    let ran = world.client.run(&one, "ls").await;
    let all = world.client.ok("list_tasks", json!({})).await;
    assert_eq!(all["total"], 3, "{all}");
    let of_one = world
        .client
        .ok("list_tasks", json!({ "sessionId": one, "state": "ended" }))
        .await;
    assert_eq!(of_one["total"], 2);
    assert_eq!(of_one["tasks"][0]["taskId"], ran["taskId"], "newest first");
    let running = world.client.ok("list_tasks", json!({ "state": "open" })).await;
    assert_eq!(
        (&running["total"], &running["tasks"][0]["taskId"]),
        (&json!(1), &open["taskId"])
    );
    assert_eq!(running["tasks"][0]["about"], "slow");
    world.end().await;
}

#[tokio::test]
async fn tasks_survive_a_restart_of_the_server() {
    let (mut world, id) = World::with_session().await;
    let prompt = world.client.prompt(&id, "x").await;
    world
        .fake
        .next_command([out("gone with the container's memory"), exit(5)]);
    let command = world.client.run(&id, "ls -l").await;
    let fake = world.end().await;
    fake.forget_commands(&id.parse().unwrap());

    let mut next = World::over(fake, options());
    next.client.initialize().await;
    let read = next.client.task(&prompt["taskId"]).await;
    assert_eq!(read["result"], "done");
    let read = next.client.task(&command["taskId"]).await;
    assert_eq!(
        (&read["status"], &read["exitCode"]),
        (&json!("exited"), &json!(5))
    );
    assert_eq!(read["command"], "sh -c ls -l");
    assert!(
        read["stdout"].is_null() && read["note"].as_str().unwrap().contains("no longer kept"),
        "{read}"
    );
    let listed = next.client.ok("list_tasks", json!({ "sessionId": id })).await;
    assert_eq!(listed["total"], 2);
    next.end().await;
}

/// Remembers what it was given, and fails when it is told to.
#[derive(Default)]
struct Remembers {
    turns: Mutex<Vec<TurnId>>,
    fails: bool,
}

#[async_trait]
impl TurnKeeper for Remembers {
    async fn keep(&self, turn: &TurnInfo) -> Result<()> {
        self.turns.lock().unwrap().push(turn.id);
        if self.fails {
            return Err(Error::new(
                ErrorKind::HostIo,
                "keep the turn",
                "no process can be started",
            ));
        }
        Ok(())
    }
}

#[tokio::test]
async fn prompts_that_nobody_waits_for_are_handed_to_the_keeper() {
    let keeper = Arc::new(Remembers::default());
    let mut world = World::kept(keeper.clone());
    world.client.initialize().await;
    let id = world.client.session().await;
    world.client.prompt(&id, "waited for").await;
    assert_eq!(keeper.turns.lock().unwrap().len(), 0);
    let one = world.client.start(&id, "x").await;
    world
        .client
        .ok(
            "execute_in_session",
            json!({ "sessionId": id, "prompt": "x", "background": true }),
        )
        .await;
    let kept = keeper.turns.lock().unwrap().clone();
    assert_eq!(kept.len(), 2);
    assert!(one["taskId"].as_str().unwrap().ends_with(&kept[0].to_string()));
    world.end().await;
}

#[tokio::test]
async fn a_keeper_that_fails_is_a_warning() {
    let keeper = Remembers {
        fails: true,
        ..Remembers::default()
    };
    let mut world = World::kept(Arc::new(keeper));
    world.client.initialize().await;
    let id = world.client.session().await;
    let task = world.client.start(&id, "x").await;
    assert!(
        task["warnings"][0]
            .as_str()
            .unwrap()
            .contains("no process can be started"),
        "{task}"
    );
    world.end().await;
}
