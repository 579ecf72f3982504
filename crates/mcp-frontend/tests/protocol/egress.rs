//! What sessions may reach and spend, and how clients see what they were denied.

use serde_json::{Value, json};
use session_core::activity::{Activity, StallAction, StallCause};
use session_core::budget::{Budget, BudgetLimit, Spending, Spent};
use session_core::egress::DenialReason;
use session_core::error::{Error, ErrorKind};
use session_core::event::EventKind;
use session_core::gateway::ModelFailure;
use session_core::runtime::NetworkMode;

use crate::support::World;

#[tokio::test]
async fn hosts_and_budgets_are_asked_for_in_both_ways_to_make_a_session() {
    let mut world = World::new().await;
    let wanted = json!({
        "allow": ["npm", " docs.Example.com ", "*.example.org:8443"],
        "budgetUsd": 2.5, "budgetTokens": 1000, "budgetRequests": 7, "budgetMinutes": 1.5,
    });
    for (tool, network) in [
        ("create_session", json!("allow")),
        ("create_session", json!("sealed")),
        ("create_session", Value::Null),
        ("spawn_claude_container", json!("allow")),
    ] {
        let mut arguments = wanted.clone();
        arguments["network"] = network;
        if tool == "spawn_claude_container" {
            arguments["taskDescription"] = json!("x");
        }
        world.client.ok(tool, arguments).await;
    }
    let budget = Budget {
        cost_microusd: Some(2_500_000),
        tokens: Some(1000),
        requests: Some(7),
        model_ms: Some(90_000),
    };
    let created = world.fake.created();
    assert_eq!(created.len(), 4);
    for request in created {
        assert_eq!((request.network, request.budget), (NetworkMode::Sealed, budget));
        let allow: Vec<_> = request.allow.iter().map(ToString::to_string).collect();
        assert_eq!(allow, ["npm", "docs.example.com", "*.example.org:8443"]);
    }
    world.end().await;
}

#[tokio::test]
async fn what_contradicts_itself_or_is_too_wide_makes_nothing() {
    let mut world = World::new().await;
    for (arguments, said) in [
        (json!({ "network": "allow" }), "at least one host"),
        (json!({ "network": "allow", "allow": [] }), "at least one host"),
        (json!({ "network": "open", "allow": ["npm"] }), "contradict"),
        (json!({ "allow": ["npm", "*.com"] }), "allow[1]: "),
        (json!({ "allow": ["https://example.com/x"] }), "allow[0]: "),
        (json!({ "allow": ["10.0.0.1"] }), "host name"),
        (json!({ "allow": ["\u{1b}[2J.com"] }), "allow[0]: "),
        (json!({ "allow": "npm" }), "allow: "),
        (json!({ "budgetUsd": 0 }), "budgetUsd: "),
        (json!({ "budgetUsd": -1 }), "budgetUsd: "),
        (json!({ "budgetTokens": 0 }), "budgetTokens: "),
        (json!({ "budgetRequests": 1.5 }), "budgetRequests: "),
        (json!({ "budgetMinutes": "soon" }), "budgetMinutes: "),
    ] {
        for tool in ["create_session", "spawn_claude_container"] {
            let mut arguments = arguments.clone();
            if tool == "spawn_claude_container" {
                arguments["taskDescription"] = json!("x");
            }
            let text = world.client.err(tool, arguments).await;
            assert!(
                text.starts_with("invalid_argument") && text.contains(said),
                "{tool}: {text}"
            );
            assert!(!text.contains('\u{1b}'), "{text:?}");
        }
    }
    assert!(world.fake.created().is_empty());
    world.end().await;
}

#[tokio::test]
async fn a_session_shows_what_it_may_what_it_used_and_what_it_was_denied() {
    let mut world = World::new().await;
    let made = world
        .client
        .ok("create_session", json!({ "allow": ["npm"], "budgetUsd": 5 }))
        .await;
    assert_eq!(
        (&made["network"], &made["allow"]),
        (&json!("allow"), &json!(["npm"]))
    );
    assert_eq!(made["budget"], json!({ "usd": 5.0 }));
    let id = made["sessionId"].clone();
    let seen = world.client.look(&id).await;
    assert!(seen.get("denied").is_none() && seen.get("activity").is_none());

    let session = id.as_str().unwrap().parse().unwrap();
    world.fake.deny(&session, "files.example.org");
    world
        .fake
        .deny(&session_core::id::SessionId::new(), "other.example.org");
    world.fake.act(Activity::ToolRunning {
        tool: "Bash\u{1b}[2J".into(),
        for_ms: 1500,
    });
    world.fake.spend(Spent {
        session: Spending {
            requests: 3,
            input_tokens: 40,
            output_tokens: 2,
            cost_microusd: 1_250_000,
            model_ms: 90_000,
            ..Spending::default()
        },
        today: Spending::default(),
    });
    let seen = world.client.look(&id).await;
    assert_eq!(
        seen["usage"],
        json!({ "usd": 1.25, "tokens": 42, "requests": 3, "minutes": 1.5 })
    );
    assert_eq!(
        seen["activity"],
        json!({ "kind": "tool_running", "tool": "Bash[2J", "forMs": 1500 })
    );
    assert_eq!(seen["stall"], "model_overloaded");
    let denied = &seen["denied"];
    assert_eq!(
        (&denied["total"], &denied["hosts"][0]["rule"]),
        (&json!(1), &json!("files.example.org:443"))
    );
    let how = denied["howToAllow"].as_str().unwrap();
    assert!(
        how.contains(&format!("cofferdam egress approve {session}")),
        "{how}"
    );
    let listed = world.client.ok("list_sessions", json!({})).await;
    assert_eq!(listed["sessions"][0]["allow"], json!(["npm"]));
    world.end().await;
}

#[tokio::test]
async fn an_agent_cannot_approve_its_own_way_out() {
    let (mut world, id) = World::with_session().await;
    world.fake.deny(&id.parse().unwrap(), "files.example.org");
    let listed = world.client.request("tools/list", json!({})).await;
    for tool in listed["result"]["tools"].as_array().unwrap() {
        let name = tool["name"].as_str().unwrap();
        assert!(
            !name.contains("egress") && !name.contains("approve") && !name.contains("allow"),
            "{name}"
        );
        // Nothing but making a session takes hosts.
        if tool["inputSchema"]["properties"]["allow"].is_object() {
            assert!(
                ["create_session", "spawn_claude_container"].contains(&name),
                "{name}"
            );
        }
    }
    for method in ["egress/approve", "egress_approve"] {
        let call = json!({ "name": method, "arguments": { "sessionId": id, "rule": "files.example.org" } });
        let answer = world.client.request("tools/call", call).await;
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
    }
    assert_eq!(world.fake.count("decide_egress"), 0);
    world.end().await;
}

#[tokio::test]
async fn a_clone_that_was_stopped_points_at_the_argument() {
    let mut world = World::new().await;
    let stopped = Error::new(
        ErrorKind::WorkspaceRefused,
        "clone the repository",
        "the session may not reach the repository's host",
    )
    .with_context("host", "git.example.com")
    .with_context("rule", "git.example.com:443")
    .with_hint("create it anew with this host allowed (`--allow git.example.com`)");
    world.fake.fail("create", stopped);
    let arguments = json!({ "repositoryUrl": "https://git.example.com/x" });
    let text = world.client.err("create_session", arguments).await;
    assert!(
        text.starts_with("workspace_refused")
            && text.contains(r#"allow: ["git.example.com:443"]"#)
            && !text.contains("--allow"),
        "{text}"
    );
    let forbidden = Error::new(
        ErrorKind::InvalidArgument,
        "create the session",
        "the operator allows none",
    )
    .with_hint("name the hosts instead, for example with --allow npm");
    world.fake.fail("create", forbidden);
    let text = world
        .client
        .err("create_session", json!({ "network": "open" }))
        .await;
    assert!(
        text.contains(r#"allow: ["npm""#) && !text.contains("--allow"),
        "{text}"
    );
    world.end().await;
}

#[tokio::test]
async fn the_log_tells_of_doors_and_stalls() {
    let (mut world, id) = World::with_session().await;
    let session = id.parse().unwrap();
    let kinds = [
        EventKind::EgressAllowed {
            host: "a.example.com".into(),
            port: 443,
            rule: "*.example.com".into(),
        },
        EventKind::EgressDenied {
            host: "evil\u{202e}\u{1b}[2J\nhost".into(),
            port: 443,
            reason: DenialReason::MalformedHost,
        },
        EventKind::EgressDecided {
            rule: "b.example.com".parse().unwrap(),
            allow: false,
            for_all: true,
        },
        EventKind::BudgetSpent {
            limit: BudgetLimit::Tokens,
            today: true,
        },
        EventKind::ModelFailing {
            failure: ModelFailure::Unauthorized,
        },
        EventKind::ProviderChanged { to: "spare".into() },
        EventKind::PermissionAsked {
            call: "1".into(),
            tool: "Bash".into(),
        },
        EventKind::AgentStalled {
            cause: StallCause::AgentSilent,
            for_ms: 61_000,
            action: StallAction::Restart,
        },
        EventKind::AgentRecovered {
            cause: StallCause::AgentSilent,
            for_ms: 62_000,
        },
    ];
    let names: Vec<Value> = kinds
        .iter()
        .map(|kind| serde_json::to_value(kind).unwrap()["event"].clone())
        .collect();
    for kind in kinds {
        world.fake.note(&session, kind);
    }
    let log = world
        .client
        .ok("get_session_logs", json!({ "sessionId": id, "kind": names }))
        .await;
    let lines = log["events"].as_array().unwrap();
    assert!(lines.iter().map(|line| &line["kind"]).eq(&names), "{log}");
    let texts: Vec<_> = lines.iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert_eq!(
        texts,
        [
            "reached: a.example.com:443 (*.example.com)",
            "denied: evil[2J host:443 (malformed_host)",
            "a person refused b.example.com for every session",
            "the budget of today is spent (tokens)",
            "the model's provider fails (unauthorized)",
            "requests to the model go to another provider: spare",
            "the agent asks whether it may use Bash",
            "nothing moves for 61 s (agent_silent): the agent is restarted with its conversation",
            "it goes on after 62 s (agent_silent)",
        ]
    );
    world.end().await;
}
