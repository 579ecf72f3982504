//! Over standard input and output: what comes out is the protocol, and the end is clean.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::server::{KEY, Place, Server};

const CANARY: &str = "canary-session-key-0123456789";

#[tokio::test]
async fn a_client_is_answered_and_its_leaving_ends_the_server() {
    let mut server = Server::start(&[], &[]);
    let answer = server.initialize().await;
    assert_eq!(answer["result"]["serverInfo"]["name"], "cofferdam", "{answer}");
    let tools = server.ask("tools/list", json!({})).await;
    let names: Vec<_> = tools["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    for name in [
        "create_session",
        "execute_in_session",
        "spawn_claude_container",
        "wait_task",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
    let listed = server.call("list_sessions", json!({})).await;
    assert_eq!(listed["structuredContent"]["sessions"], json!([]), "{listed}");
    let ended = server.leave().await;
    assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn toolsets_say_which_tools_there_are() {
    for (toolsets, sessions, configuration) in [
        (None, true, true),
        (Some("sessions"), true, false),
        (Some("configuration"), false, true),
    ] {
        let args: Vec<_> = toolsets.iter().flat_map(|sets| ["--toolsets", sets]).collect();
        let mut server = Server::start(&args, &[]);
        server.initialize().await;
        let tools = server.ask("tools/list", json!({})).await;
        let tools = tools["result"]["tools"].as_array().unwrap();
        let has = |name: &str| tools.iter().any(|tool| tool["name"] == name);
        assert_eq!(has("create_session"), sessions, "{toolsets:?}");
        assert_eq!(has("publish_config"), configuration, "{toolsets:?}");
        assert_eq!(has("deploy_config"), configuration, "{toolsets:?}");
        server.leave().await;
    }
    let ended = Server::start(&["--toolsets", "everything"], &[]).end().await;
    assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_the_answer_of_a_call_and_no_secret_is_logged() {
    let mut server = Server::start(&[], &[("COFFERDAM_LOG", "trace"), ("LOG_FORMAT", "json")]);
    server.initialize().await;
    let arguments = json!({
        "apiKey": CANARY, "awsSecretAccessKey": CANARY, "mcpConfig": { "mcpServers": {} }, "timeoutSeconds": 20,
    });
    let refused = server.call("create_session", arguments).await;
    assert_eq!(refused["isError"], true, "{refused}");
    let made = server.call("create_session", json!({ "apiKey": CANARY })).await;
    let text = made["content"][0]["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("engine_unavailable"), "{text}");
    // What the protocol cannot read is not repeated in the log either.
    server
        .send(&json!({ "jsonrpc": "2.0", "id": CANARY, "method": { "apiKey": CANARY } }))
        .await;
    server.call("list_sessions", json!({})).await;
    let ended = server.leave().await;
    assert!(ended.status.success());
    let lines: Vec<Value> = ended
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    assert!(
        lines.iter().any(|line| line["level"] == "DEBUG"),
        "{}",
        ended.stderr
    );
    assert!(
        !ended.stderr.contains(CANARY) && !ended.stderr.contains(KEY),
        "{}",
        ended.stderr
    );
    assert!(!text.contains(CANARY));
    let log = ended.daemon_log;
    assert!(log.lines().count() > 10, "the daemon logs as much: {log}");
    assert!(!log.contains(CANARY) && !log.contains(KEY), "{log}");
}

#[tokio::test]
async fn standard_output_carries_the_protocol_alone() {
    let mut server = Server::start(&[], &[("MCP_CLAUDE_DEBUG", "true")]);
    server.initialize().await;
    server.send(&json!("no message")).await;
    server
        .send(&json!({ "jsonrpc": "2.0", "id": 77, "method": "nonsense" }))
        .await;
    let ended = server.leave().await;
    assert!(ended.stderr.contains("DEBUG"), "{}", ended.stderr);
    assert!(!ended.stdout.is_empty());
    for line in ended.stdout.lines() {
        let message: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(message["jsonrpc"], "2.0", "{line}");
    }
}

#[tokio::test]
async fn a_signal_ends_the_server_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::start(&[], &[]);
        server.initialize().await;
        server.signal(signal);
        // The client is still there.
        let ended = server.end().await;
        assert_eq!(ended.status.code(), Some(0), "{signal:?}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn sessions_are_recorded_where_the_flag_says() {
    let other = Place::new();
    let mut server = Server::start(&["--state-dir", other.dir().join("here").to_str().unwrap()], &[]);
    server.initialize().await;
    assert!(other.dir().join("here").is_dir());
    assert!(!server.state().join("state").exists());
    server.leave().await;
}
