//! The MCP endpoint over TCP: what the tools do for a caller is what their token is for.

use std::collections::BTreeSet;

use http_frontend::caller::Scope;
use serde_json::{Value, json};
use session_core::api::SessionApi as _;
use session_core::id::SessionId;
use session_core::session::{EventQuery, PromptRequest, SessionFilter};
use testkit::memory::AgentTurn;

use crate::support::client::{exchange, request};
use crate::support::{House, make_token};

/// One request of the newest revision, which has no handshake.
async fn ask(house: &House, token: Option<&str>, method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
    let bearer = format!("Bearer {}", token.unwrap_or_default());
    let name = params["name"].as_str().unwrap_or_default();
    let mut headers = vec![
        ("host", "localhost"),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", method),
    ];
    if !name.is_empty() {
        headers.push(("mcp-name", name));
    }
    if token.is_some() {
        headers.push(("authorization", &bearer));
    }
    let text = request("POST /mcp", &headers, message.as_bytes());
    let reply = match token {
        Some(_) => exchange(house.tcp().await, &text).await,
        None => exchange(house.unix().await, &text).await,
    };
    assert_eq!(reply.status, 200, "{reply:?}");
    let mut lines = reply.body.lines().filter_map(|line| {
        let line = line.strip_prefix("data:").unwrap_or(line);
        serde_json::from_str::<Value>(line).ok().filter(Value::is_object)
    });
    lines.find(|message| message["id"] == 1).unwrap()
}

async fn tools(house: &House, token: Option<&str>) -> Vec<Value> {
    let listed = ask(house, token, "tools/list", json!({})).await;
    listed["result"]["tools"].as_array().unwrap().clone()
}

async fn call(house: &House, token: Option<&str>, tool: &str, arguments: Value) -> Value {
    ask(
        house,
        token,
        "tools/call",
        json!({ "name": tool, "arguments": arguments }),
    )
    .await
}

#[tokio::test]
async fn files_of_the_host_are_out_of_reach_of_tokens_below_admin() {
    let house = House::new().await;
    let everywhere = make_token(&house.tokens, "everywhere", Scope::Use, true);
    let (eye, ann) = (house.token("eye", Scope::Read), house.token("ann", Scope::Use));
    let admin = house.admin.clone();
    let session = house.session(Some("ann")).await;
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "host").unwrap();
    let stolen = "/workspace/stolen";
    let out = |name: &str| json!({ "sessionId": session, "direction": "from_container", "sourcePath": "/etc", "destPath": dir.path().join(name) });
    let brought = |dest: &str| json!({ "sessionId": session, "direction": "to_container", "sourcePath": secret, "destPath": dest });
    for token in [&eye, &ann, &everywhere] {
        let listed = tools(&house, Some(token)).await;
        assert!(listed.iter().all(|tool| tool["name"] != "transfer_files"));
        for arguments in [out("planted"), brought(stolen)] {
            let answer = call(&house, Some(token), "transfer_files", arguments).await;
            assert_eq!(answer["error"]["code"], -32602, "{answer}");
        }
    }
    assert!(!dir.path().join("planted").exists());
    assert!(
        !house
            .site
            .memory
            .container(&session)
            .unwrap()
            .path(stolen)
            .exists()
    );

    for (token, dest) in [(Some(admin.as_str()), "one"), (None, "two")] {
        let listed = tools(&house, token).await;
        assert!(listed.iter().any(|tool| tool["name"] == "transfer_files"));
        let inside = format!("/workspace/{dest}");
        let answer = call(&house, token, "transfer_files", brought(&inside)).await;
        assert_eq!(answer["result"]["isError"], false, "{answer}");
        assert!(
            house
                .site
                .memory
                .container(&session)
                .unwrap()
                .path(&inside)
                .exists()
        );
    }
    house.ended().await;
}

/// Everything that a caller could change, as text.
async fn state(house: &House, session: &SessionId) -> String {
    let manager = &house.manager;
    let filter = SessionFilter {
        all: true,
        ..SessionFilter::default()
    };
    let sessions = manager.list(filter).await.unwrap();
    let turns = manager.turns(session).await.unwrap();
    let events = manager.event_page(session, EventQuery::default()).await.unwrap();
    let running = house.site.memory.container(session).unwrap().running();
    format!("{sessions:#?}{turns:#?}{events:#?}{running:#?}")
}

#[tokio::test]
async fn a_token_that_may_look_can_call_no_tool_that_changes_anything() {
    let house = House::new().await;
    let eye = house.token("eye", Scope::Read);
    let session = house.session(None).await;
    house.site.memory.agents().then(AgentTurn::new().hang());
    let prompt = PromptRequest {
        prompt: "work".to_owned(),
        ..PromptRequest::default()
    };
    let turn = house.manager.prompt(&session, prompt).await.unwrap();
    // Queued, started, busy, and the agent said what it is: nothing more happens by itself.
    while house.manager.session(&session).await.unwrap().last_event < 5 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let task = format!("turn:{session}:{}", turn.id);
    let changes = [
        ("create_session", json!({})),
        (
            "execute_in_session",
            json!({ "sessionId": session, "prompt": "x" }),
        ),
        (
            "execute_command",
            json!({ "sessionId": session, "command": "touch x" }),
        ),
        ("interrupt_session", json!({ "sessionId": session })),
        ("resume_session", json!({ "sessionId": session })),
        ("restore_session", json!({ "sessionId": session })),
        ("destroy_session", json!({ "sessionId": session, "force": true })),
        ("spawn_claude_container", json!({ "taskDescription": "x" })),
        ("start_task", json!({ "sessionId": session, "prompt": "x" })),
        ("cancel_task", json!({ "taskId": task })),
    ];
    let looks = [
        ("list_sessions", json!({})),
        ("get_session", json!({ "sessionId": session })),
        ("get_session_diff", json!({ "sessionId": session })),
        ("get_session_logs", json!({ "sessionId": session })),
        ("get_task", json!({ "taskId": task })),
        ("wait_task", json!({ "taskId": task, "timeoutSeconds": 1 })),
        ("list_tasks", json!({})),
        ("list_checkpoints", json!({ "sessionId": session })),
    ];
    let listed = tools(&house, Some(&eye)).await;
    let named: BTreeSet<_> = listed.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    let known: BTreeSet<_> = changes.iter().chain(&looks).map(|(name, _)| *name).collect();
    assert_eq!(named, known, "every tool is tried here");

    let before = state(&house, &session).await;
    for (tool, arguments) in changes {
        let answer = call(&house, Some(&eye), tool, arguments).await;
        let text = answer["result"]["content"][0]["text"]
            .as_str()
            .unwrap_or_default();
        assert_eq!(answer["result"]["isError"], true, "{tool}: {answer}");
        assert!(text.contains("this token may only look"), "{tool}: {answer}");
    }
    for (tool, arguments) in looks {
        let answer = call(&house, Some(&eye), tool, arguments).await;
        assert!(answer["result"].is_object(), "{tool}: {answer}");
        let refused = answer.to_string().contains("this token");
        assert!(!refused, "looking is what it is for: {tool}: {answer}");
    }
    assert_eq!(state(&house, &session).await, before);
    house.ended().await;
}
