//! Programs that come and go.

use std::time::Duration;

use serde_json::json;
use session_core::mcp::ServerState;
use tokio::time::Instant;

use super::support::{Lab, kill, runs, soon};

/// One server that writes down what it does.
fn journaling(lab: &Lab) -> String {
    let journal = lab.journal();
    format!(
        "[servers.kit]\ncommand = \"PROGRAM\"\nargs = [\"--journal\", {:?}]\n",
        journal.to_str().unwrap()
    )
}

#[tokio::test]
async fn a_server_that_is_killed_is_there_for_the_next_call_and_none_is_left() {
    let lab = Lab::new("");
    lab.declare(&journaling(&lab));
    let client = lab.client(&["kit"]).await;
    for _ in 0..100 {
        let pid = client.pid("kit").await;
        kill(pid);
        // Read-only, so it is sent again if it was on its way.
        let (text, failed) = client.text("kit__echo", json!({"text": "back"})).await;
        assert_eq!((text.as_str(), failed), ("back", false));
    }
    client.leave().await;
    let pids = lab.pids();
    assert!(pids.len() > 100, "{}", pids.len());
    soon("a process is left", || pids.iter().all(|pid| !runs(*pid))).await;
}

#[tokio::test]
async fn a_crash_says_that_the_call_may_have_run() {
    let lab = Lab::new("[servers.kit]\ncommand = \"PROGRAM\"\n");
    let client = lab.client(&["kit"]).await;
    let (text, failed) = client.text("kit__crash", json!({})).await;
    assert!(failed && text.contains("may have run"), "{text}");
    let (text, _) = client.text("kit__echo", json!({"text": "again"})).await;
    assert_eq!(text, "again");
    client.leave().await;
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_programs_with_it_stubborn_ones_too() {
    let lab = Lab::new("");
    let journal = lab.journal();
    lab.declare(&format!(
        "[servers.kit]\ncommand = \"PROGRAM\"\nargs = [\"--mode\", \"ignore-sigterm\", \"--journal\", {:?}]\n",
        journal.to_str().unwrap()
    ));
    let client = lab.client(&["kit"]).await;
    let pid = client.pid("kit").await;
    assert!(runs(pid));
    let begun = Instant::now();
    client.leave().await;
    assert!(!runs(pid), "when leaving is over nothing is left");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn shutdown_ends_what_works_and_says_so() {
    let lab = Lab::new("[servers.kit]\ncommand = \"PROGRAM\"\nsharing = \"shared\"\n");
    let client = lab.client(&["kit"]).await;
    let pid = client.pid("kit").await;
    let hanging = client.text("kit__hang", json!({}));
    let ending = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        lab.gateway.shutdown().await;
        assert!(!runs(pid), "when it returns nothing is left");
    };
    let ((text, failed), ()) = tokio::join!(hanging, ending);
    assert!(failed && text.contains("may have run"), "{text}");
    let (text, failed) = client.text("kit__echo", json!({"text": "?"})).await;
    assert!(failed && text.contains("nothing was run"), "{text}");
}

#[tokio::test]
async fn progress_and_questions_pass_from_the_program_to_the_client() {
    let lab = Lab::new("[servers.kit]\ncommand = \"PROGRAM\"\n");
    let client = lab.client(&["kit"]).await;
    client.text("kit__sleep", json!({"ms": 300})).await;
    let steps: Vec<f64> = client
        .agent
        .progress
        .lock()
        .unwrap()
        .iter()
        .map(|step| step.progress)
        .collect();
    assert!(!steps.is_empty() && steps.is_sorted(), "{steps:?}");
    let (text, failed) = client.text("kit__elicit", json!({"message": "May I?"})).await;
    assert!(!failed && text.contains("decline"), "{text}");
    assert_eq!(*client.agent.asked.lock().unwrap(), ["May I?"]);
    client.leave().await;
}

#[tokio::test]
async fn the_status_tells_how_it_is() {
    let lab =
        Lab::new("[servers.kit]\ncommand = \"PROGRAM\"\n[servers.gone]\ncommand = \"/nowhere/at-all\"\n");
    let client = lab.client(&["kit", "gone"]).await;
    let state = |name: &str| {
        let status = lab.gateway.status(Some(&client.id));
        status
            .servers
            .into_iter()
            .find(|status| status.name.as_str() == name)
            .unwrap()
    };
    assert_eq!(state("kit").state, ServerState::Idle);
    client.pid("kit").await;
    assert_eq!(state("kit").state, ServerState::Ready);
    assert!(state("kit").tools.is_some_and(|tools| tools > 5));
    client.tools().await;
    soon("it did not fail", || state("gone").failures > 0).await;
    assert!(state("gone").reason.is_some(), "{:?}", state("gone"));
    assert_eq!(lab.gateway.status(None).servers.len(), 2);
    client.leave().await;
    assert!(
        lab.gateway
            .status(None)
            .servers
            .iter()
            .any(|status| status.tools.is_some()),
        "it is known still"
    );
}
