//! Logs and diffs.

use serde_json::{Value, json};
use session_core::event::EventKind;

use crate::support::script::{answers, says, uses};
use crate::support::{World, options};

fn numbers(log: &Value) -> Vec<u64> {
    log["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["seq"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn the_log_says_what_happened() {
    let (mut world, id) = World::with_session().await;
    world.fake.next_prompt([
        says("hello"),
        uses("Bash", json!({ "command": "ls" })),
        answers("bye"),
    ]);
    world.client.prompt(&id, "hi").await;
    let log = world
        .client
        .ok("get_session_logs", json!({ "sessionId": id }))
        .await;
    let kinds: Vec<_> = log["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "state_changed",
            "turn_queued",
            "turn_started",
            "agent_text",
            "tool_call",
            "turn_finished"
        ]
    );
    assert_eq!(log["lastEvent"], 6);
    let some = world
        .client
        .ok(
            "get_session_logs",
            json!({ "sessionId": id, "kind": ["agent_text", "tool_call"] }),
        )
        .await;
    assert_eq!(numbers(&some), [4, 5]);
    let one = world
        .client
        .ok(
            "get_session_logs",
            json!({ "sessionId": id, "kind": "agent_text" }),
        )
        .await;
    assert_eq!(one["events"][0]["text"], "hello");
    let none = world
        .client
        .ok("get_session_logs", json!({ "sessionId": id, "kind": "nothing" }))
        .await;
    assert!(none["note"].is_string());
    world.end().await;
}

#[tokio::test]
async fn a_long_log_is_read_from_either_end() {
    let (mut world, id) = World::with_session().await;
    let parsed = id.parse().unwrap();
    for number in 0..2500 {
        world.fake.note(
            &parsed,
            EventKind::Progress {
                message: format!("step {number}"),
            },
        );
    }
    let newest = world
        .client
        .ok("get_session_logs", json!({ "sessionId": id, "tail": 3 }))
        .await;
    assert_eq!(numbers(&newest), [2499, 2500, 2501]);
    assert!(newest["note"].is_string());
    let (mut all, mut since) = (Vec::new(), json!(0));
    while !since.is_null() {
        let page = world
            .client
            .ok(
                "get_session_logs",
                json!({ "sessionId": id, "since": since, "tail": 1000 }),
            )
            .await;
        all.extend(numbers(&page));
        since = page["nextSince"].clone();
    }
    assert_eq!(all, (1..=2501).collect::<Vec<_>>());
    let after = world
        .client
        .ok("get_session_logs", json!({ "sessionId": id, "since": 2501 }))
        .await;
    assert_eq!((numbers(&after).len(), &after["lastEvent"]), (0, &json!(2501)));
    world.end().await;
}

#[tokio::test]
async fn results_stay_within_their_bound() {
    let mut options = options();
    options.output_limit = 10_000;
    let (mut world, id) = World::with(options).await.and_session().await;
    let parsed = id.parse().unwrap();
    for _ in 0..50 {
        world.fake.note(
            &parsed,
            EventKind::AgentText {
                text: "x".repeat(100_000),
            },
        );
    }
    let log = world
        .client
        .ok("get_session_logs", json!({ "sessionId": id, "tail": 50 }))
        .await;
    assert!(log.to_string().len() < 20_000);
    let (mut seen, mut since) = (0, json!(0));
    while !since.is_null() {
        let page = world
            .client
            .ok("get_session_logs", json!({ "sessionId": id, "since": since }))
            .await;
        assert!(page.to_string().len() < 20_000);
        seen += numbers(&page).len();
        since = page["nextSince"].clone();
    }
    assert_eq!(seen, 51);
    world.end().await;
}

#[tokio::test]
async fn a_diff_is_paged_and_an_empty_one_explained() {
    let mut options = options();
    options.output_limit = 1000;
    let (mut world, id) = World::with(options).await.and_session().await;
    let empty = world
        .client
        .ok("get_session_diff", json!({ "sessionId": id }))
        .await;
    assert_eq!(
        (&empty["changed"], empty["note"].is_string()),
        (&json!(false), true)
    );
    let patch: String = (0..500).map(|line| format!("+line {line}\n")).collect();
    world.fake.set_patch(&patch);
    let (mut got, mut offset) = (String::new(), json!(0));
    while !offset.is_null() {
        let part = world
            .client
            .ok("get_session_diff", json!({ "sessionId": id, "offset": offset }))
            .await;
        assert_eq!(part["patchBytes"], patch.len());
        assert_eq!(part["files"][0]["status"], "M");
        got += part["patch"].as_str().unwrap();
        offset = part["nextOffset"].clone();
    }
    assert_eq!(got, patch);
    world.end().await;
}
