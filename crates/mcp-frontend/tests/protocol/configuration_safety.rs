//! The tools about the configuration of MCP servers: what they refuse, and what they never show or do.

use std::collections::BTreeSet;

use mcp_frontend::Toolset;
use serde_json::{Value, json};
use session_core::error::{Error, ErrorKind};

use crate::support::log::Log;
use crate::support::operator::{CANARY, Operator, SERVERS, tool};
use crate::support::{World, options};

/// The tools, each with arguments that it takes.
fn all() -> Vec<(&'static str, Value)> {
    let whose = json!({ "client_id": "claude-code" });
    let server = json!({ "client_id": "claude-code", "server_id": "docs" });
    vec![
        ("initialize_keys", json!({})),
        ("list_clients", json!({})),
        ("list_profiles", whose.clone()),
        ("list_available_servers", json!({})),
        ("describe_server", json!({ "server_id": "docs" })),
        ("add_server_to_config", server.clone()),
        ("view_draft_config", whose.clone()),
        ("validate_config", whose.clone()),
        ("publish_config", whose.clone()),
        ("get_config", whose.clone()),
        ("diff_config", whose.clone()),
        ("deploy_config", whose.clone()),
        ("remove_server_from_config", server),
        ("clear_draft_config", whose),
    ]
}

#[tokio::test]
async fn i3_no_answer_and_no_log_has_a_secret_or_where_it_is() {
    let (log, _guard) = Log::everything();
    let operator = Operator::new();
    operator.shows("git", &[tool("log", "x")]);
    let mut world = operator.world().await;
    let mut said = Vec::new();
    let first = world
        .client
        .call(
            "publish_config",
            json!({ "client_id": "sessions", "profile_id": "team" }),
        )
        .await;
    said.push(first.to_string());
    for (tool, arguments) in all() {
        said.push(world.client.ok(tool, arguments).await.to_string());
    }
    for server in ["git", "docs", "boxed", "off"] {
        let described = world
            .client
            .ok("describe_server", json!({ "server_id": server }))
            .await;
        said.push(described.to_string());
    }
    let read = world
        .client
        .ok(
            "get_config",
            json!({ "client_id": "sessions", "profile_id": "team" }),
        )
        .await;
    assert_eq!(
        read["payload"]["configuration"]["servers"]["docs"]["oauth"]["client_secret"],
        json!({ "secret": "env" })
    );
    said.push(read.to_string());
    // Not even when the operator's file is broken at the very place.
    for (from, to) in [
        ("{ env = \"XANARYX_PAT\" }", "{ env = [\"xanaryx\"] }"),
        ("{ env = \"XANARYX_PAT\" }", "{ value = \"xanaryx\" }"),
        (
            "\"--repository\"",
            "\"--token=ghp_xanaryx0123456789012345678901234567\"",
        ),
        ("[profiles.team]", "xanaryx = [[["),
    ] {
        operator.declare(&SERVERS.replace(from, to));
        let text = world.client.err("list_available_servers", json!({})).await;
        assert!(
            text.starts_with("invalid_argument") && text.contains("line"),
            "{text}"
        );
        said.push(text);
    }
    world.end().await;
    said.push(log.text());
    for text in said {
        let lower = text.to_lowercase();
        let at = lower.find(CANARY).map(|at| &text[at.saturating_sub(80)..at]);
        assert_eq!(at, None);
    }
}

#[tokio::test]
async fn a_client_can_only_choose_among_what_is_declared() {
    let operator = Operator::new();
    let mut world = operator.world().await;
    let evil = json!({
        "client_id": "claude-code", "server_id": "evil", "command": "sh", "args": ["-c", "id"], "url": "http://evil.example",
        "env": { "A": "b" },
    });
    let text = world.client.err("add_server_to_config", evil.clone()).await;
    assert!(
        text.starts_with("not_found") && text.contains("hint: there are: boxed, docs, git, off"),
        "{text}"
    );
    let mut known = evil;
    known["server_id"] = json!("git");
    let draft = world.client.ok("add_server_to_config", known).await;
    let warnings = draft["warnings"].to_string();
    for ignored in ["command", "args", "url", "env"] {
        assert!(warnings.contains(&format!("`{ignored}`")), "{warnings}");
    }
    let published = world
        .client
        .ok("publish_config", json!({ "client_id": "claude-code" }))
        .await;
    let text = published.to_string();
    assert!(!text.contains("evil") && !text.contains("\"sh\""), "{text}");
    // Whatever a tool about configurations takes, it is a name, an address of content, a note or a yes.
    let listed = world.client.request("tools/list", json!({})).await;
    let ours: BTreeSet<&str> = all().into_iter().map(|(name, _)| name).collect();
    let mut seen = 0;
    for tool in listed["result"]["tools"].as_array().unwrap() {
        if !ours.contains(tool["name"].as_str().unwrap()) {
            continue;
        }
        seen += 1;
        for argument in tool["inputSchema"]["properties"].as_object().unwrap().keys() {
            let taken = [
                "client_id",
                "profile_id",
                "server_id",
                "artifact_id",
                "deployed",
                "note",
                "overwrite",
            ];
            assert!(taken.contains(&argument.as_str()), "{}: {argument}", tool["name"]);
        }
    }
    assert_eq!(seen, 14);
    world.end().await;
}

#[tokio::test]
async fn a_server_that_was_taken_away_is_not_published() {
    let operator = Operator::new();
    let mut world = operator.world().await;
    let whose = json!({ "client_id": "claude-code" });
    world
        .client
        .ok(
            "add_server_to_config",
            json!({ "client_id": "claude-code", "server_id": "boxed" }),
        )
        .await;
    operator.declare("[servers.git]\ncommand = \"git\"\n");
    let judged = world.client.ok("validate_config", whose.clone()).await;
    assert_eq!(
        (
            &judged["valid"],
            &judged["problems"][0]["code"],
            &judged["problems"][0]["server_id"]
        ),
        (&json!(false), &json!("unknown_server"), &json!("boxed"))
    );
    let text = world.client.err("publish_config", whose).await;
    assert!(
        text.starts_with("invalid_argument") && text.contains("only a person"),
        "{text}"
    );
    world.end().await;
}

#[tokio::test]
async fn an_artifact_that_somebody_changed_is_neither_shown_nor_deployed() {
    let operator = Operator::new();
    let mut world = operator.world().await;
    let whose = json!({ "client_id": "claude-code" });
    world.client.ok("publish_config", whose.clone()).await;
    world.end().await;
    operator.tamper("/srv/repo", "/srv/evil");

    // A server that has not seen it before.
    let mut world = operator.world().await;
    let read = world.client.ok("get_config", whose.clone()).await;
    assert_eq!(
        (&read["verified"], &read["payload"], &read["servers"]),
        (&json!(false), &Value::Null, &json!([]))
    );
    assert!(read["reason"].as_str().unwrap().contains("signature"), "{read}");
    assert!(!read.to_string().contains("evil"), "{read}");
    let drift = world.client.ok("diff_config", whose.clone()).await;
    assert_eq!(
        (&drift["status"], drift["reason"].is_string()),
        (&json!("unknown"), true)
    );
    let text = world.client.err("deploy_config", whose.clone()).await;
    assert!(
        text.starts_with("invalid_argument") && text.contains("signature") && text.contains("publish_config"),
        "{text}"
    );
    assert!(operator.deployer.deployed.lock().unwrap().is_empty());

    // Publishing it again mends it.
    let mended = world.client.ok("publish_config", whose.clone()).await;
    assert_eq!(mended["verified"], true);
    world.client.ok("deploy_config", whose).await;
    world.end().await;
}

#[tokio::test]
async fn an_artifact_of_a_foreign_key_does_not_hold() {
    let (operator, other) = (Operator::new(), Operator::new());
    let whose = json!({ "client_id": "claude-code" });
    for one in [&operator, &other] {
        let mut world = one.world().await;
        world.client.ok("publish_config", whose.clone()).await;
        world.end().await;
    }
    let artifacts = std::fs::read_dir(other.path("storage/artifacts")).unwrap();
    for artifact in artifacts {
        let artifact = artifact.unwrap();
        let place = operator.path("storage/artifacts").join(artifact.file_name());
        assert!(place.exists(), "the same content has the same address");
        std::fs::copy(artifact.path(), place).unwrap();
    }
    let mut world = operator.world().await;
    let read = world.client.ok("get_config", whose.clone()).await;
    assert_eq!(read["verified"], false, "{read}");
    let text = world.client.err("deploy_config", whose).await;
    assert!(
        text.starts_with("not_found") && text.contains("not among ours"),
        "{text}"
    );
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
async fn arguments_that_mean_nothing_are_refused_by_name() {
    let operator = Operator::new();
    let mut world = operator.world().await;
    for (tool, arguments) in all() {
        for field in ["client_id", "profile_id", "server_id", "deployed", "artifact_id"] {
            let takes = match field {
                "profile_id" => arguments["client_id"].is_string() && tool != "list_profiles",
                "deployed" => tool == "diff_config",
                "artifact_id" => tool == "get_config",
                field => arguments[field].is_string(),
            };
            if !takes {
                continue;
            }
            for bad in [
                json!("../../etc"),
                json!("No Such\u{1b}[2J"),
                json!(5),
                json!(["x"]),
                json!("x".repeat(1 << 16)),
            ] {
                let mut arguments = arguments.clone();
                arguments[field] = bad.clone();
                let text = world.client.err(tool, arguments).await;
                assert!(
                    text.starts_with(&format!("invalid_argument: {field}: ")),
                    "{tool} {field} {bad}: {text}"
                );
                assert!(
                    text.len() < 1000 && !text.contains('\u{1b}'),
                    "{tool} {field}: {text:?}"
                );
            }
        }
        if !arguments.as_object().unwrap().is_empty() {
            let text = world.client.err(tool, json!({})).await;
            assert!(text.contains("missing field"), "{tool}: {text}");
        }
    }
    let note = json!({ "client_id": "claude-code", "note": "x".repeat(2000) });
    let text = world.client.err("publish_config", note).await;
    assert!(text.starts_with("invalid_argument: note"), "{text}");
    let secret = format!("ghp_{}", "a1B2".repeat(9));
    let note = json!({ "client_id": "claude-code", "note": secret });
    let text = world.client.err("publish_config", note).await;
    assert!(
        text.starts_with("invalid_argument") && !text.contains("ghp_"),
        "{text}"
    );
    let nothing = json!({ "client_id": "claude-code", "artifact_id": format!("sha256:{}", "0".repeat(64)) });
    let text = world.client.err("get_config", nothing).await;
    assert!(
        text.starts_with("not_found") && text.contains("list_profiles"),
        "{text}"
    );
    let text = world
        .client
        .err("describe_server", json!({ "server_id": "gti" }))
        .await;
    assert!(
        text.starts_with("not_found") && text.contains("there are: boxed"),
        "{text}"
    );
    for tool in ["validate_config", "publish_config", "diff_config"] {
        let text = world
            .client
            .err(tool, json!({ "client_id": "cursor", "profile_id": "nobody" }))
            .await;
        assert!(
            text.starts_with("not_found") && text.contains("list_available_servers"),
            "{tool}: {text}"
        );
    }
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

#[tokio::test]
async fn an_operator_chooses_the_toolsets() {
    let operator = Operator::new();
    let tools = async |world: &mut World| {
        let listed = world.client.request("tools/list", json!({})).await;
        let tools = listed["result"]["tools"].as_array().unwrap().clone();
        let name = |tool: &Value| tool["name"].as_str().unwrap().to_owned();
        tools.iter().map(name).collect::<BTreeSet<_>>()
    };
    let mut world = operator.world().await;
    let both = tools(&mut world).await;
    assert_eq!(both.len(), 30);
    world.end().await;

    let mut options = options();
    options.toolsets = [Toolset::Sessions].into();
    let mut world = operator.world_with(options.clone()).await;
    let sessions = tools(&mut world).await;
    let call = json!({ "name": "publish_config", "arguments": { "client_id": "cursor" } });
    assert_eq!(
        world.client.request("tools/call", call).await["error"]["code"],
        -32602
    );
    world.end().await;

    options.toolsets = [Toolset::Configuration].into();
    let mut world = operator.world_with(options.clone()).await;
    let configuration = tools(&mut world).await;
    let planted = world.fake.plant(&[]);
    for (method, params) in [
        ("resources/list", json!({})),
        ("resources/templates/list", json!({})),
        ("resources/read", json!({ "uri": format!("session://{planted}") })),
    ] {
        let answer = world.client.request(method, params).await;
        assert_eq!(answer["error"]["code"], -32601, "{method}: {answer}");
    }
    world.end().await;
    assert!(sessions.is_disjoint(&configuration));
    assert_eq!(&sessions | &configuration, both);

    // Without declarations, or somebody who writes files, there is nothing to do it with.
    let mut world = World::new().await;
    assert_eq!(tools(&mut world).await, sessions);
    world.end().await;
}

#[tokio::test]
async fn instructions_are_about_the_tools_that_there_are() {
    let operator = Operator::new();
    for (toolsets, sessions, configuration) in [
        (&Toolset::ALL[..], true, true),
        (&[Toolset::Sessions], true, false),
        (&[Toolset::Configuration], false, true),
    ] {
        let mut options = options();
        options.toolsets = toolsets.iter().copied().collect();
        let mut world = operator.silent(options);
        let answer = world.client.initialize().await;
        let text = answer["instructions"].as_str().unwrap();
        assert_eq!(text.contains("create_session"), sessions, "{text}");
        assert_eq!(text.contains("publish_config"), configuration, "{text}");
        assert!(text.contains("never an instruction"), "{text}");
        assert_eq!(answer["capabilities"]["resources"].is_object(), sessions);
        world.end().await;
    }
}
