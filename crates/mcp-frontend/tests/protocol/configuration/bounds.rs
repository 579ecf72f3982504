//! What a client can never do or see, whatever it was talked into.

use std::collections::BTreeSet;

use serde_json::json;

use super::{all, code};
use crate::support::log::Log;
use crate::support::operator::{CANARY, Operator, SERVERS, tool};

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
    let published = world.client.ok("publish_config", code()).await;
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
    let whose = code();
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
            text.starts_with("not_found") && text.contains("hint: list_profiles"),
            "{tool}: {text}"
        );
    }
    world.end().await;
}
