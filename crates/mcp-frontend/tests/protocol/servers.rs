//! MCP servers of sessions: how they are asked for, and how clients see them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use session_core::error::{Error, ErrorKind};
use session_core::event::EventKind;
use session_core::mcp::{McpSelection, McpStatus, ServerState, ServerStatus};

use crate::support::World;

/// The tools that make sessions, with what they need besides.
const MAKERS: [(&str, &str); 2] = [
    ("create_session", "labels"),
    ("spawn_claude_container", "taskDescription"),
];

fn asked(arguments: &Value, needed: &str) -> Value {
    let mut arguments = arguments.clone();
    if needed == "taskDescription" {
        arguments[needed] = json!("x");
    }
    arguments
}

fn status(name: &str, state: ServerState) -> ServerStatus {
    ServerStatus {
        name: name.parse().unwrap(),
        state,
        reason: None,
        failures: 0,
        retry_in_ms: None,
        held: Vec::new(),
        tools: None,
    }
}

#[tokio::test]
async fn servers_are_asked_for_by_name_in_both_ways_to_make_a_session() {
    let mut world = World::new().await;
    let wanted = json!({
        "mcpServers": ["git", " docs "], "mcpProfile": "team", "mcpTools": ["git__log", "docs__*"],
        "mcpConfig": { "mcpServers": { "mine": { "command": "srv" } } },
    });
    for (tool, needed) in MAKERS {
        world.client.ok(tool, asked(&wanted, needed)).await;
        world
            .client
            .ok(tool, asked(&json!({ "noMcp": true }), needed))
            .await;
        world
            .client
            .ok(tool, asked(&json!({ "noMcp": false }), needed))
            .await;
    }
    let expected = McpSelection {
        profile: Some("team".parse().unwrap()),
        servers: vec!["git".parse().unwrap(), "docs".parse().unwrap()],
        tools: vec!["git__log".into(), "docs__*".into()],
        none: false,
        search: None,
    };
    let none = McpSelection {
        none: true,
        ..McpSelection::default()
    };
    let created = world.fake.created();
    assert_eq!(created.len(), 6);
    for made in created.chunks(3) {
        assert_eq!((&made[0].mcp, &made[1].mcp), (&expected, &none));
        assert_eq!(made[2].mcp, McpSelection::default());
        let own = made[0].mcp_config.as_ref().unwrap();
        assert_eq!(own["mcpServers"]["mine"]["command"], "srv");
    }
    world.end().await;
}

#[tokio::test]
async fn a_sessions_own_servers_come_as_object_text_or_base64() {
    let mut world = World::new().await;
    let config = json!({ "mcpServers": { "mine": { "command": "srv", "args": ["ä"] } } });
    let text = config.to_string();
    for form in [
        config.clone(),
        json!(text),
        json!(format!(" {text}\n")),
        json!(STANDARD.encode(&text)),
        json!(STANDARD.encode(&text).trim_end_matches('=')),
    ] {
        let made = world
            .client
            .ok("create_session", json!({ "mcpConfig": form }))
            .await;
        assert_eq!(made["mcpServers"], json!(["mine"]), "{form}");
        assert_eq!(
            world.fake.created().pop().unwrap().mcp_config,
            Some(config.clone())
        );
    }
    for nothing in [json!(""), json!(r#"{"mcpServers":{}}"#)] {
        world
            .client
            .ok("create_session", json!({ "mcpConfig": nothing }))
            .await;
        assert_eq!(world.fake.created().pop().unwrap().mcp_config, None);
    }
    let canary = STANDARD.encode(r#"{"mcpServers": {"a": "canary"}}"#);
    for bad in [
        json!({}),
        json!([]),
        json!("x"),
        json!("{\"canary\""),
        json!("bm8="),
        json!(canary),
        json!({ "mcpServers": [] }),
        json!({ "mcpServers": { "a": 1 } }),
    ] {
        for (tool, needed) in MAKERS {
            let text = world
                .client
                .err(tool, asked(&json!({ "mcpConfig": bad }), needed))
                .await;
            assert!(
                text.starts_with("invalid_argument: mcpConfig") && !text.contains("canary"),
                "{bad}: {text}"
            );
        }
    }
    world.end().await;
}

#[tokio::test]
async fn what_names_no_server_makes_nothing() {
    let mut world = World::new().await;
    for (arguments, said) in [
        (json!({ "mcpServers": ["git", "Git!"] }), "mcpServers[1]: "),
        (json!({ "mcpServers": ["../x"] }), "mcpServers[0]: "),
        (json!({ "mcpServers": ["\u{1b}[2J"] }), "mcpServers[0]: "),
        (
            json!({ "mcpServers": { "git": { "command": "evil" } } }),
            "mcpServers: ",
        ),
        (json!({ "mcpServers": vec!["git"; 257] }), "mcpServers: "),
        (json!({ "mcpProfile": "a b" }), "mcpProfile: "),
        (json!({ "mcpTools": [" "] }), "mcpTools[0]: "),
        (json!({ "mcpTools": ["git__log", "a\u{0}b"] }), "mcpTools[1]: "),
        (json!({ "noMcp": true, "mcpServers": ["git"] }), "contradicts"),
        (json!({ "noMcp": true, "mcpProfile": "team" }), "contradicts"),
        (json!({ "noMcp": true, "mcpTools": ["git__*"] }), "contradicts"),
        (json!({ "noMcp": "yes" }), "noMcp: "),
    ] {
        for (tool, needed) in MAKERS {
            let text = world.client.err(tool, asked(&arguments, needed)).await;
            assert!(
                text.starts_with("invalid_argument") && text.contains(said),
                "{tool} {arguments}: {text}"
            );
            assert!(!text.contains('\u{1b}') && !text.contains("evil"), "{text:?}");
        }
    }
    assert!(world.fake.created().is_empty());
    world.end().await;
}

#[tokio::test]
async fn a_refusal_of_the_gateway_reaches_the_client() {
    let mut world = World::new().await;
    let refused = Error::new(
        ErrorKind::InvalidArgument,
        "create the session",
        "there is no such MCP server",
    )
    .with_context("server", "gti")
    .with_hint("there are: docs, git");
    world.fake.fail("create", refused);
    let text = world
        .client
        .err("create_session", json!({ "mcpServers": ["gti"] }))
        .await;
    assert_eq!(
        text,
        "invalid_argument: could not create the session: there is no such MCP server (server: gti)\n\
         hint: there are: docs, git"
    );
    world.end().await;
}

#[tokio::test]
async fn a_session_shows_how_its_servers_are() {
    let mut world = World::new().await;
    let arguments = json!({
        "mcpServers": ["git", "docs", "new"], "mcpProfile": "team", "mcpTools": ["git__*"],
        "mcpConfig": { "mcpServers": { "mine": { "command": "srv" } } },
    });
    let made = world.client.ok("create_session", arguments).await;
    assert_eq!(made["mcpServers"], json!(["git", "docs", "new", "mine"]));
    let failed = ServerStatus {
        reason: Some("exit 1: \u{202e}no\u{1b}[2J\nsuch thing".into()),
        failures: 2,
        retry_in_ms: Some(1500),
        ..status("docs", ServerState::Failed)
    };
    let git = ServerStatus {
        held: vec!["push".into()],
        tools: Some(7),
        ..status("git", ServerState::Ready)
    };
    world.fake.serve(McpStatus {
        servers: vec![git, failed, status("mine", ServerState::Idle)],
        drifted: true,
    });
    let id = made["sessionId"].clone();
    let seen = world.client.look(&id).await;
    let mcp = &seen["mcp"];
    assert_eq!(
        (&mcp["profile"], &mcp["tools"], &mcp["search"], &mcp["drifted"]),
        (&json!("team"), &json!(["git__*"]), &json!(false), &json!(true))
    );
    assert_eq!(mcp["configuration"], "sha256:c0ffee");
    assert_eq!(
        mcp["servers"],
        json!([
            { "name": "git", "state": "ready", "tools": 7, "held": ["push"], "own": false },
            { "name": "docs", "state": "failed", "reason": "exit 1: no[2J such thing", "failures": 2, "retryInMs": 1500, "own": false },
            { "name": "new", "state": "unknown", "own": false },
            { "name": "mine", "state": "idle", "own": true },
        ])
    );
    let how = mcp["howToApprove"].as_str().unwrap();
    assert!(how.contains("cofferdam mcp approve"), "{how}");

    world.fake.serve(McpStatus::default());
    let seen = world.client.look(&id).await;
    assert!(
        seen["mcp"]["howToApprove"].is_null() && seen["mcp"]["drifted"] == false,
        "{seen}"
    );
    let bare = world.client.session().await;
    let seen = world.client.look(&bare).await;
    assert!(seen["mcp"].is_null() && seen["mcpServers"].is_null(), "{seen}");
    world.end().await;
}

#[tokio::test]
async fn the_log_and_the_transcript_tell_what_became_of_a_server() {
    let (mut world, id) = World::with_session().await;
    let session = id.parse().unwrap();
    let with = |state, reason: &str| ServerStatus {
        reason: Some(reason.into()),
        retry_in_ms: Some(1001),
        held: vec!["a".into(), "b".into()],
        ..status("git", state)
    };
    let mut expected = Vec::new();
    for (state, said) in [
        (ServerState::Idle, "is idle"),
        (ServerState::Starting, "is starting"),
        (ServerState::Ready, "is ready"),
        (ServerState::Failed, "failed"),
        (ServerState::GaveUp, "failed too often and is left alone"),
        (ServerState::NeedsLogin, "needs a person to log in"),
        (ServerState::Removed, "was taken away by the operator"),
    ] {
        world.fake.note(
            &session,
            EventKind::McpServer {
                status: status("git", state),
            },
        );
        expected.push(format!("MCP server git {said}"));
    }
    let odd = with(ServerState::Failed, "*bad*\u{1b}[2J\nline");
    world.fake.note(&session, EventKind::McpServer { status: odd });
    let whole = "MCP server git failed: *bad*[2J line (again in 2 s); 2 of its tools are held until a person approves them";
    expected.push(whole.to_owned());
    let log = world
        .client
        .ok(
            "get_session_logs",
            json!({ "sessionId": id, "kind": "mcp_server" }),
        )
        .await;
    let lines = log["events"].as_array().unwrap();
    let texts: Vec<_> = lines.iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert_eq!(texts, expected);
    let uri = format!("session://{id}/transcript");
    let read = world
        .client
        .request("resources/read", json!({ "uri": uri }))
        .await;
    let text = read["result"]["contents"][0]["text"].as_str().unwrap();
    assert!(
        text.contains("*MCP server git is ready*\n") && text.contains("failed: 'bad'[2J line"),
        "{text}"
    );
    world.end().await;
}
