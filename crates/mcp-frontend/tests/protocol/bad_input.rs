//! Clients that behave badly: an error each, within bounded memory, and the next request works.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::script::Act;
use crate::support::{World, options};

async fn works(world: &mut World) {
    let listed = world.client.ok("list_sessions", json!({})).await;
    assert!(listed["total"].is_u64());
}

#[tokio::test]
async fn unknown_tools_and_methods_are_protocol_errors() {
    let mut world = World::new().await;
    let answer = world
        .client
        .request("tools/call", json!({ "name": "rm_rf", "arguments": {} }))
        .await;
    assert_eq!(
        (&answer["error"]["code"], &answer["error"]["message"]),
        (&json!(-32602), &json!("Unknown tool: rm_rf"))
    );
    // What is not declared is not there, either.
    for method in [
        "tools/obey",
        "prompts/list",
        "logging/setLevel",
        "resources/subscribe",
    ] {
        let params = json!({ "level": "debug", "uri": "session://x" });
        let answer = world.client.request(method, params).await;
        assert_eq!(answer["error"]["code"], -32601, "{method}: {answer}");
    }
    works(&mut world).await;
    world.end().await;
}

#[tokio::test]
async fn parameters_of_the_wrong_shape_are_protocol_errors() {
    let mut world = World::new().await;
    for params in [
        json!({}),
        json!({ "name": 5 }),
        json!({ "name": "list_sessions", "arguments": [] }),
        json!([]),
        json!("x"),
    ] {
        let answer = world.client.request("tools/call", params.clone()).await;
        let code = &answer["error"]["code"];
        assert!(*code == -32602 || *code == -32600, "{params}: {answer}");
    }
    works(&mut world).await;
    world.end().await;
}

#[tokio::test]
async fn malformed_messages_are_answered_and_forgotten() {
    let mut world = World::new().await;
    for (line, code) in [
        (&b"{"[..], -32700),
        (b"nonsense", -32700),
        (b"\xff\xfe\x00", -32700),
        (b"[]", -32600),
        (b"[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}]", -32600),
        (b"{}", -32600),
        (b"5", -32600),
        (b"{\"jsonrpc\":\"1.0\",\"method\":\"ping\"}", -32600),
    ] {
        world.client.send_raw(line).await;
        let answer = world.client.stray_error().await;
        assert_eq!(
            answer["error"]["code"],
            code,
            "{}: {answer}",
            String::from_utf8_lossy(line)
        );
        works(&mut world).await;
    }
    world
        .client
        .send_raw(b"{\"jsonrpc\":\"1.0\",\"id\":\"mine\",\"method\":\"ping\"}")
        .await;
    let answer = world.client.message().await.unwrap();
    assert_eq!(
        (&answer["id"], &answer["error"]["code"]),
        (&json!("mine"), &json!(-32600))
    );
    world.end().await;
}

#[tokio::test]
async fn bombs_are_weighed_before_they_are_parsed() {
    let mut world = World::new().await;
    let batch = format!(
        "[{}1]",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"},".repeat(100_000)
    );
    let wide = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":[{}1]}}"#,
        "[],".repeat(1_000_000)
    );
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{}{}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    for bomb in [batch, wide, deep] {
        world.client.send_raw(bomb.as_bytes()).await;
        assert!(world.client.stray_error().await["error"]["code"].is_i64());
        works(&mut world).await;
    }
    world.end().await;
}

#[tokio::test]
async fn a_prompt_of_ten_megabytes_is_refused_by_the_tool_and_a_longer_message_by_the_protocol() {
    let (mut world, id) = World::with_session().await;
    let prompt = "x".repeat(10 << 20);
    let text = world
        .client
        .err("execute_in_session", json!({ "sessionId": id, "prompt": prompt }))
        .await;
    assert!(
        text.starts_with("invalid_argument") && text.contains("too long") && text.len() < 1000,
        "{text}"
    );
    world.client.send_raw("y".repeat(20 << 20).as_bytes()).await;
    let answer = world.client.stray_error().await;
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains("longer than"),
        "{answer}"
    );
    works(&mut world).await;
    world.end().await;
}

#[tokio::test]
async fn wrong_types_and_absurd_sizes_are_tool_errors() {
    let mut world = World::new().await;
    for (tool, arguments) in [
        ("create_session", json!({ "memory": -5 })),
        ("create_session", json!({ "memory": "0" })),
        ("create_session", json!({ "cpus": 0 })),
        ("create_session", json!({ "pids": 1e300 })),
        ("create_session", json!({ "pids": 5_000_000_000_u64 })),
        ("create_session", json!({ "labels": ["a"] })),
        ("create_session", json!({ "projectPath": 5 })),
        ("create_session", json!({ "mcpMounts": [{ "hostPath": "/a" }] })),
        ("create_session", json!({ "image": "../../x y" })),
        ("create_session", json!({ "strictPermissions": "yes" })),
        ("list_sessions", json!({ "limit": -1 })),
        ("list_sessions", json!({ "state": "asleep" })),
        (
            "get_session_logs",
            json!({ "sessionId": "00000000-0000-4000-8000-000000000000", "tail": "all" }),
        ),
        ("get_session_diff", json!({ "sessionId": 7 })),
        ("execute_in_session", json!({ "prompt": "x" })),
        ("wait_task", json!({ "taskId": "x", "timeoutSeconds": -1 })),
    ] {
        let text = world.client.err(tool, arguments.clone()).await;
        assert!(text.starts_with("invalid_argument"), "{tool} {arguments}: {text}");
        assert!(text.contains("\nhint: "), "{text}");
    }
    works(&mut world).await;
    world.end().await;
}

#[tokio::test]
async fn two_requests_with_one_id_are_not_confused() {
    let (mut world, id) = World::with_session().await;
    world.fake.next_prompt([Act::Sleep(Duration::from_millis(200))]);
    let call = json!({
        "jsonrpc": "2.0", "id": 77, "method": "tools/call",
        "params": { "name": "execute_in_session", "arguments": { "sessionId": id, "prompt": "x" } },
    });
    world.client.send_raw(call.to_string().as_bytes()).await;
    world
        .client
        .send_raw(br#"{"jsonrpc":"2.0","id":77,"method":"tools/list"}"#)
        .await;
    assert_eq!(world.client.stray_error().await["error"]["code"], -32600);
    assert_eq!(
        world.client.answer(77).await["result"]["structuredContent"]["result"],
        "done"
    );
    world
        .client
        .send_raw(br#"{"jsonrpc":"2.0","id":77,"method":"ping"}"#)
        .await;
    assert_eq!(
        world.client.answer(77).await["result"],
        json!({}),
        "an id is free again once it was answered"
    );
    world.end().await;
}

#[tokio::test]
async fn too_many_calls_at_once_are_refused_and_the_rest_goes_on() {
    let mut options = options();
    options.max_calls = 2;
    let (mut world, id) = World::with(options).await.and_session().await;
    for _ in 0..2 {
        world.fake.next_prompt([Act::Hang]);
        world
            .client
            .begin("execute_in_session", json!({ "sessionId": id, "prompt": "x" }))
            .await;
    }
    let text = loop {
        let result = world.client.call("list_sessions", json!({})).await;
        if result["isError"] == true {
            break result["content"][0]["text"].as_str().unwrap().to_owned();
        }
    };
    assert!(text.starts_with("busy") && text.contains("retry:"), "{text}");
    assert_eq!(world.client.request("ping", json!({})).await["result"], json!({}));
    world.end().await;
}

/// The server stops to read from a client that does not read, so its memory stays where it is, and everything that was
/// accepted is answered once the client reads again.
#[tokio::test]
async fn a_client_that_never_reads_is_not_read_from() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (mut client, server) = tokio::io::duplex(4096);
    let fake = std::sync::Arc::new(crate::support::fake::Fake::default());
    let server_side = mcp_frontend::McpServer::new(
        std::sync::Arc::new(crate::support::fake::Shared(fake.clone())),
        options(),
    );
    let (reader, writer) = tokio::io::split(server);
    let served = tokio::spawn(server_side.serve_streams(reader, writer, std::future::pending()));
    let line = |id: usize| format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/list\"}}\n");
    let init = json!({
        "jsonrpc": "2.0", "id": 0, "method": "initialize",
        "params": { "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "x", "version": "1" } },
    });
    client.write_all(format!("{init}\n").as_bytes()).await.unwrap();
    let mut sent = 0;
    loop {
        let bytes = line(sent + 1);
        let written =
            tokio::time::timeout(Duration::from_millis(500), client.write_all(bytes.as_bytes())).await;
        if written.is_err() {
            break;
        }
        sent += 1;
        assert!(sent < 5000, "the server reads on and on");
    }
    // Once the client reads, every request that arrived whole is answered.
    let mut answered = 0;
    let mut buffer = vec![0; 1 << 16];
    let mut patience = Duration::from_secs(20);
    while let Ok(Ok(count)) = tokio::time::timeout(patience, client.read(&mut buffer)).await {
        answered += buffer[..count].iter().filter(|byte| **byte == b'\n').count();
        if answered > sent {
            // Nothing comes that nobody asked for.
            patience = Duration::from_millis(200);
        }
    }
    assert_eq!(answered, sent + 1);
    drop(client);
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_flood_of_requests_is_answered_one_by_one() {
    let mut world = World::new().await;
    let mut ids = Vec::new();
    for _ in 0..300 {
        ids.push(world.client.begin("list_sessions", json!({})).await);
    }
    for id in ids {
        let answer: Value = world.client.answer(id).await;
        assert!(
            answer["result"].is_object() || answer["error"]["code"] == -32000,
            "{answer}"
        );
    }
    world.end().await;
}
