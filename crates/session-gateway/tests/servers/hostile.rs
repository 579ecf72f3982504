//! Servers that are wrong in every way, each beside one that is not.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::support::{Client, Lab};

/// A lab with a good server and one of the mode.
async fn beside(mode: &str) -> (Lab, Client) {
    let lab = Lab::new(&format!(
        "[servers.good]\ncommand = \"PROGRAM\"\n\
         [servers.bad]\ncommand = \"PROGRAM\"\nargs = [\"--mode\", \"{mode}\"]\ntimes = {{ start_ms = 2000, call_ms = 2000 }}\n"
    ));
    let client = lab.client(&["good", "bad"]).await;
    (lab, client)
}

/// The good one answers soon, whatever the bad one does.
async fn is_undisturbed(client: &Client) {
    for _ in 0..20 {
        let begun = Instant::now();
        let (text, failed) = client.text("good__echo", json!({"text": "fine"})).await;
        assert_eq!((text.as_str(), failed), ("fine", false));
        assert!(
            begun.elapsed() < Duration::from_millis(500),
            "{:?}",
            begun.elapsed()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_exits_at_once_or_hangs_in_its_start_is_refused_and_disturbs_nobody() {
    for mode in ["exit-at-once", "hang-initialize"] {
        let (lab, client) = beside(mode).await;
        client.text("good__echo", json!({"text": "warm"})).await;
        let bad = client.text("bad__echo", json!({"text": "?"}));
        let ((text, failed), ()) = tokio::join!(bad, is_undisturbed(&client));
        assert!(failed && text.contains("nothing was run"), "{mode}: {text}");
        let status = lab.gateway.status(Some(&client.id));
        let bad = status
            .servers
            .iter()
            .find(|status| status.name.as_str() == "bad")
            .unwrap();
        assert!(bad.failures >= 1 && bad.reason.is_some(), "{mode}: {bad:?}");
        client.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_floods_answers_and_disturbs_nobody() {
    for mode in ["flood", "stderr-noise", "answer-twice"] {
        let (_lab, client) = beside(mode).await;
        let (text, failed) = client.text("bad__echo", json!({"text": "through"})).await;
        assert_eq!((text.as_str(), failed), ("through", false), "{mode}");
        is_undisturbed(&client).await;
        client.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_answers_wrong_ids_or_without_end_fails_alone() {
    for mode in ["wrong-ids", "huge-line"] {
        let (_lab, client) = beside(mode).await;
        client.text("good__echo", json!({"text": "warm"})).await;
        let bad = client.text("bad__echo", json!({"text": "?"}));
        let ((text, failed), ()) = tokio::join!(bad, is_undisturbed(&client));
        assert!(failed, "{mode}: {text}");
        client.leave().await;
    }
}

#[tokio::test]
async fn what_nobody_sees_is_in_no_description_and_no_result() {
    let (_lab, client) = beside("hidden-characters").await;
    let tools = client.service.list_all_tools().await.unwrap();
    let (text, _) = client.text("bad__echo", json!({"text": "seen"})).await;
    let all = format!("{}{text}", serde_json::to_string(&tools).unwrap());
    let hidden = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{e0000}'..='\u{e01ef}' | '\u{feff}');
    assert!(tools.iter().any(|tool| tool.name.starts_with("bad__")));
    assert_eq!(
        all.chars()
            .filter(|c| hidden(*c) || c.is_control() && *c != '\n')
            .count(),
        0,
        "{all:?}"
    );
    assert!(text.contains("seen"), "{text}");
    client.leave().await;
}

#[tokio::test]
async fn tools_that_change_are_held_until_they_are_approved() {
    let lab = Lab::new("[servers.kit]\ncommand = \"PROGRAM\"\n");
    let client = lab.client(&["kit"]).await;
    client.text("kit__echo", json!({"text": "known"})).await;
    client.text("kit__change_tools", json!({})).await;
    let mut held = Vec::new();
    for _ in 0..1000 {
        held = lab.gateway.status(Some(&client.id)).servers[0].held.clone();
        if !held.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(held, ["echo", "extra"]);
    let tools = client.tools().await;
    assert!(
        !tools.contains(&"kit__echo".to_owned()) && !tools.contains(&"kit__extra".to_owned()),
        "{tools:?}"
    );
    let (text, failed) = client.text("kit__echo", json!({"text": "now?"})).await;
    assert!(failed && text.contains("cofferdam mcp approve kit"), "{text}");

    lab.catalog().approve(&"kit".parse().unwrap(), None).unwrap();
    for _ in 0..1000 {
        if lab.gateway.status(Some(&client.id)).servers[0].held.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (text, failed) = client.text("kit__echo", json!({"text": "now"})).await;
    assert_eq!((text.as_str(), failed), ("now", false));
    client.leave().await;
}
