//! What is told of declared servers, and by whom nothing is approved.

use serde_json::{Value, json};
use session_core::error::{Error, ErrorKind};
use session_core::mcp::{McpStatus, ServerState, ServerStatus};

use super::{code, names};
use crate::support::World;
use crate::support::operator::{Operator, tool};

#[tokio::test]
async fn servers_are_described_as_far_as_is_known() {
    let operator = Operator::new();
    operator.shows(
        "git",
        &[tool("log", "Shows the log"), tool("rewrite", "Rewrites history")],
    );
    let mut world = operator.world().await;
    world.fake.serve(McpStatus {
        servers: vec![ServerStatus {
            name: "git".parse().unwrap(),
            state: ServerState::Failed,
            reason: Some("exit\u{1b}[2J 1".into()),
            failures: 1,
            retry_in_ms: None,
            held: Vec::new(),
            tools: None,
        }],
        drifted: false,
    });
    let list = world.client.ok("list_available_servers", json!({})).await;
    assert_eq!(
        list["servers"][2],
        json!({
            "server_id": "git", "description": "The history of a repository", "transport": "stdio", "enabled": true,
            "state": "failed", "reason": "exit[2J 1", "tools": 1,
        })
    );
    assert_eq!(
        list["servers"][3],
        json!({ "server_id": "off", "transport": "stdio", "enabled": false })
    );
    assert_eq!(
        list["profiles"][1],
        json!({ "profile_id": "team", "servers": ["git", "docs"] })
    );

    let git = world
        .client
        .ok("describe_server", json!({ "server_id": "git" }))
        .await;
    assert_eq!(
        git["command"],
        json!(["mcp-server-git", "--repository", "/srv/repo"])
    );
    assert_eq!(
        git["secrets"],
        json!([
            { "name": "GIT_PAT", "used_in": "environment", "kind": "env" },
            { "name": "PIN", "used_in": "environment", "kind": "command" },
        ])
    );
    assert_eq!(
        git["tool_list"],
        json!([{ "name": "git__log", "description": "Shows the log" }]),
        "what the operator denies is not there"
    );
    let docs = world
        .client
        .ok("describe_server", json!({ "server_id": "docs" }))
        .await;
    assert_eq!(
        (&docs["url"], &docs["shared"]),
        (&json!("https://docs.example.com/mcp"), &json!(true))
    );
    assert_eq!(
        docs["secrets"],
        json!([
            { "name": "X-Docs", "used_in": "header", "kind": "file" },
            { "name": "client_secret", "used_in": "login", "kind": "env" },
        ])
    );
    assert!(docs["note"].as_str().unwrap().contains("never asked"), "{docs}");
    let boxed = world
        .client
        .ok("describe_server", json!({ "server_id": "boxed" }))
        .await;
    assert_eq!(
        (&boxed["image"], &boxed["allow"], &boxed["approve_each"]),
        (&json!("boxes:1"), &json!(["npm"]), &json!(true))
    );
    world.end().await;
}

#[tokio::test]
async fn tools_that_changed_are_held_and_no_tool_approves_them() {
    let operator = Operator::new();
    operator.shows(
        "git",
        &[tool("log", "Shows the log"), tool("show", "Shows a commit")],
    );
    operator.shows(
        "git",
        &[
            tool("log", "Now does something else"),
            tool("show", "Shows a commit"),
        ],
    );
    let mut world = operator.world().await;
    let list = world.client.ok("list_available_servers", json!({})).await;
    assert_eq!(
        (&list["servers"][2]["tools"], &list["servers"][2]["held"]),
        (&json!(2), &json!(1))
    );
    let git = world
        .client
        .ok("describe_server", json!({ "server_id": "git" }))
        .await;
    assert_eq!(
        (&git["tool_list"][0]["held"], &git["tool_list"][1]["held"]),
        (&json!(true), &Value::Null)
    );
    let judged = world.client.ok("validate_config", code()).await;
    let problem = &judged["problems"][0];
    assert_eq!(
        (&judged["valid"], &problem["code"], &problem["blocks"]),
        (&json!(true), &json!("held_tools"), &json!(false))
    );
    let hint = problem["hint"].as_str().unwrap();
    assert!(
        hint.contains("cofferdam mcp approve git") && hint.contains("only a person"),
        "{hint}"
    );
    let tools = world.client.request("tools/list", json!({})).await;
    for name in names(&tools["result"]["tools"], "name") {
        assert!(!name.contains("approve"), "{name}");
    }
    let pending = operator.catalog().pending(&"git".parse().unwrap()).unwrap();
    assert_eq!(pending.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn what_servers_say_is_cleaned_and_bounded() {
    let operator = Operator::new();
    let hidden = "Adds\u{200b} numbers\u{202e}.\u{1b}[2J\n\nIGNORE".to_owned() + &"x".repeat(5000);
    let mut tools = vec![
        tool("add\u{e0041}\u{7}", &hidden),
        json!({ "no": "name" }),
        json!(5),
    ];
    tools.extend((0..300).map(|index| tool(&format!("t{index}"), "")));
    operator.shows("git", &tools);
    let mut world = operator.world().await;
    let git = world
        .client
        .ok("describe_server", json!({ "server_id": "git" }))
        .await;
    let list = git["tool_list"].as_array().unwrap();
    assert_eq!((list.len(), &git["tools"]), (200, &json!(301)));
    assert_eq!(git["note"], "101 more tools are not shown");
    assert_eq!(list[0]["name"], "git__add");
    let description = list[0]["description"].as_str().unwrap();
    assert!(
        description.starts_with("Adds numbers.[2J IGNOREx"),
        "{description}"
    );
    assert!(description.chars().count() <= 301);
    world.end().await;
}

#[tokio::test]
async fn without_declarations_there_is_nothing_to_choose() {
    let operator = Operator::declaring("");
    let mut world = operator.world().await;
    let list = world.client.ok("list_available_servers", json!({})).await;
    assert_eq!((&list["servers"], &list["profiles"]), (&json!([]), &json!([])));
    assert!(
        list["note"].as_str().unwrap().contains("cofferdam mcp add"),
        "{list}"
    );
    let profiles = world
        .client
        .ok("list_profiles", json!({ "client_id": "cursor" }))
        .await;
    assert_eq!(
        (&profiles["profiles"], profiles["note"].is_string()),
        (&json!([]), true)
    );
    let arguments = json!({ "client_id": "cursor", "server_id": "git" });
    let text = world.client.err("add_server_to_config", arguments).await;
    assert!(text.contains("only a person does that"), "{text}");
    world.end().await;
}

#[tokio::test]
async fn whoever_names_a_server_that_is_not_there_is_told_which_are() {
    let operator = Operator::new();
    let mut world = operator.world().await;
    let refused = |key, what: &'static str| {
        Error::new(
            ErrorKind::InvalidArgument,
            "choose the MCP servers of a session",
            what,
        )
        .with_context(key, "gti")
        .with_hint("`cofferdam mcp list` shows them")
    };
    for (key, hint) in [
        ("server", "hint: there are: boxed, docs, git, off"),
        ("profile", "hint: there are: default, team"),
        ("line", "hint: list_available_servers shows them"),
    ] {
        world.fake.fail("create", refused(key, "there is no such thing"));
        let text = world.client.err("create_session", json!({})).await;
        assert!(
            text.starts_with("invalid_argument") && text.ends_with(hint),
            "{text}"
        );
    }
    world.end().await;
    let mut world = World::new().await;
    world
        .fake
        .fail("create", refused("server", "there is no such thing"));
    let text = world.client.err("create_session", json!({})).await;
    assert!(text.ends_with("hint: `cofferdam mcp list` shows them"), "{text}");
    world.end().await;
}
