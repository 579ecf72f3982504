//! Sessions as resources.

use std::time::Duration;

use serde_json::json;

use crate::support::script::{answers, says};
use crate::support::{World, inline, options};

#[tokio::test]
async fn each_session_has_four_resources() {
    let (mut world, id) = World::with_session().await;
    world.fake.next_prompt([says("I **think**"), answers("bye")]);
    world.client.prompt(&id, "hi there").await;
    world.fake.set_patch("diff --git x\n");
    let listed = world.client.request("resources/list", json!({})).await;
    let uris: Vec<_> = listed["result"]["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["uri"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        uris,
        ["", "/log", "/transcript", "/diff"].map(|path| format!("session://{id}{path}"))
    );
    let templates = world.client.request("resources/templates/list", json!({})).await;
    assert_eq!(
        templates["result"]["resourceTemplates"].as_array().unwrap().len(),
        4
    );
    let mut texts = Vec::new();
    for uri in &uris {
        let read = world
            .client
            .request("resources/read", json!({ "uri": uri }))
            .await;
        assert_eq!(read["result"]["contents"][0]["uri"], *uri, "{read}");
        texts.push(read["result"]["contents"][0]["text"].as_str().unwrap().to_owned());
    }
    let document: serde_json::Value = serde_json::from_str(&texts[0]).unwrap();
    assert_eq!(document["sessionId"], id);
    assert!(texts[1].contains("turn_queued hi there"), "{}", texts[1]);
    assert!(
        texts[2].contains("## Prompt\n\nhi there") && texts[2].contains("I **think**"),
        "{}",
        texts[2]
    );
    assert_eq!(texts[3], "diff --git x\n");
    world.end().await;
}

#[tokio::test]
async fn the_list_is_paged() {
    let mut world = World::new().await;
    for _ in 0..120 {
        world.fake.plant(&[]);
    }
    let (mut count, mut cursor) = (0, json!(null));
    loop {
        let page = world
            .client
            .request("resources/list", json!({ "cursor": cursor }))
            .await;
        count += page["result"]["resources"].as_array().unwrap().len();
        cursor = page["result"]["nextCursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(count, 480);
    world.end().await;
}

#[tokio::test]
async fn what_is_no_resource_is_not_found() {
    let (mut world, id) = World::with_session().await;
    let nobody = "session://00000000-0000-4000-8000-000000000000";
    for uri in [
        nobody,
        "file:///etc/passwd",
        "session://x",
        &format!("session://{id}/secrets"),
        "",
    ] {
        let answer = world
            .client
            .request("resources/read", json!({ "uri": uri }))
            .await;
        assert_eq!(answer["error"]["code"], -32002, "{uri}: {answer}");
    }
    world.end().await;
}

#[tokio::test]
async fn clients_hear_that_the_list_changed() {
    let mut options = options();
    options.watch_period = Duration::from_millis(20);
    let mut world = World::with(options).await;
    world.client.ok("list_sessions", json!({})).await;
    let id = world.client.session().await;
    world
        .client
        .notification("notifications/resources/list_changed")
        .await;
    world.client.destroy(&id).await;
    world
        .client
        .notification("notifications/resources/list_changed")
        .await;
    // Somebody else makes one.
    tokio::time::sleep(Duration::from_millis(60)).await;
    world.client.notifications.clear();
    world.fake.plant(&[]);
    world
        .client
        .notification("notifications/resources/list_changed")
        .await;
    world.end().await;
}

#[tokio::test]
async fn a_subscription_of_the_newest_revision_hears_it_too() {
    let mut world = World::silent(options());
    let meta = inline();
    let params = json!({ "notifications": { "resourcesListChanged": true }, "_meta": meta });
    world.client.send("subscriptions/listen", params).await;
    world
        .client
        .notification("notifications/subscriptions/acknowledged")
        .await;
    let call = json!({ "name": "create_session", "arguments": {}, "_meta": meta });
    let made = world.client.request("tools/call", call).await;
    assert!(
        made["result"]["structuredContent"]["sessionId"].is_string(),
        "{made}"
    );
    world
        .client
        .notification("notifications/resources/list_changed")
        .await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_listens_and_leaves_keeps_nobody_waiting() {
    let mut world = World::silent(options());
    let meta = inline();
    let params = json!({ "notifications": { "resourcesListChanged": true }, "_meta": meta });
    world.client.send("subscriptions/listen", params).await;
    world
        .client
        .notification("notifications/subscriptions/acknowledged")
        .await;
    let left = tokio::time::Instant::now();
    world.end().await;
    assert!(left.elapsed() < Duration::from_secs(1), "{:?}", left.elapsed());
}
