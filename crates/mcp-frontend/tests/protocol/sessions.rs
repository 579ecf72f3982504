//! Making, finding, looking at and destroying sessions.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use session_core::error::{Error, ErrorKind};
use session_core::runtime::NetworkMode;
use session_core::session::{PermissionMode, WorkspaceSource};
use session_core::state::SessionState;

use crate::support::script::{Act, says};
use crate::support::{World, options};

#[tokio::test]
async fn a_session_is_made_as_it_was_asked_for() {
    let mut world = World::new().await;
    let made = world
        .client
        .ok(
            "create_session",
            json!({
                "projectPath": "/work/p", "sessionName": "one", "workspace": "copy", "strictPermissions": true,
                "mcpMounts": [{ "hostPath": "/data", "containerPath": "/data" },
                              { "hostPath": "/out", "containerPath": "/out", "readOnly": false }],
                "mcpConfig": { "mcpServers": { "files": { "command": "srv", "args": ["-x"] } } },
                "image": "debian:12", "model": "m-1", "network": "open", "memory": "2g", "cpus": 1.5, "pids": 99,
                "labels": { "team": "a" },
            }),
        )
        .await;
    assert_eq!(made["projectPath"], "/work/p");
    assert_eq!(made["useBedrock"], false);
    assert_eq!(made["mcpMounts"][0]["readOnly"], true);
    assert_eq!(made["mcpMounts"][1]["readOnly"], false);
    assert_eq!(made["mcpServers"], json!(["files"]));
    assert!(
        made["containerName"]
            .as_str()
            .unwrap()
            .ends_with(made["sessionId"].as_str().unwrap())
    );
    assert!(made["warnings"].is_null());

    let request = world.fake.created().pop().unwrap();
    assert_eq!(request.name.as_deref(), Some("one"));
    assert_eq!(
        request.workspace,
        WorkspaceSource::Copy {
            path: "/work/p".into()
        }
    );
    assert_eq!(request.permissions, PermissionMode::Strict);
    assert_eq!(request.network, NetworkMode::Open);
    let limits = request.limits.unwrap();
    assert_eq!(
        (limits.memory_bytes, limits.milli_cpus, limits.pids),
        (2 << 30, 1500, 99)
    );
    assert_eq!(request.mounts[0].source, Path::new("/data"));
    assert!(request.mcp_config.unwrap()["mcpServers"]["files"].is_object());
    assert_eq!(request.labels["team"], "a");
    world.end().await;
}

#[tokio::test]
async fn what_is_left_out_gets_defaults() {
    let mut options = options();
    options.default_image = Some("fallback:1".parse().unwrap());
    options.default_model = Some("m-0".into());
    options.default_limits.pids = 77;
    let mut world = World::with(options).await;
    world.client.ok("create_session", json!({})).await;
    world
        .client
        .ok("create_session", json!({ "projectPath": "/p", "cpus": 1 }))
        .await;
    // Some clients write null, or nothing, for what they leave out.
    world
        .client
        .ok(
            "create_session",
            json!({ "projectPath": null, "sessionName": "", "apiKey": "" }),
        )
        .await;
    let created = world.fake.created();
    assert_eq!(created[0].workspace, WorkspaceSource::Empty);
    assert_eq!(created[0].limits, None);
    assert_eq!(created[0].image.as_ref().unwrap().as_str(), "fallback:1");
    assert_eq!(created[0].model.as_deref(), Some("m-0"));
    assert_eq!(created[0].network, NetworkMode::Sealed);
    assert!(created[0].warm_agent);
    assert_eq!(created[1].workspace, WorkspaceSource::Mount { path: "/p".into() });
    let limits = created[1].limits.unwrap();
    assert_eq!((limits.milli_cpus, limits.pids), (1000, 77));
    assert_eq!((&created[2].name, created[2].account.is_none()), (&None, true));
    world.end().await;
}

#[tokio::test]
async fn a_repository_is_cloned_in_a_sealed_session_too() {
    let mut world = World::new().await;
    for arguments in [
        json!({ "repositoryUrl": "https://h/r", "ref": "main" }),
        json!({ "repositoryUrl": "https://h/r", "ref": "main", "network": "open" }),
    ] {
        world.client.ok("create_session", arguments).await;
    }
    let expected = WorkspaceSource::Clone {
        url: "https://h/r".into(),
        reference: Some("main".into()),
    };
    let created = world.fake.created();
    assert!(created.iter().all(|request| request.workspace == expected));
    let networks = created.iter().map(|request| request.network);
    assert!(networks.eq([NetworkMode::Sealed, NetworkMode::Open]));
    for wrong in [
        json!({ "workspace": "clone" }),
        json!({ "workspace": "copy" }),
        json!({ "workspace": "clone", "projectPath": "/p" }),
        json!({ "workspace": "mount", "repositoryUrl": "https://h/r", "network": "open" }),
        json!({ "projectPath": "/p", "repositoryUrl": "https://h/r", "network": "open" }),
        json!({ "ref": "main" }),
        json!({ "workspace": "elsewhere", "projectPath": "/p" }),
        json!({ "network": "bridge" }),
    ] {
        let text = world.client.err("create_session", wrong.clone()).await;
        assert!(text.starts_with("invalid_argument"), "{wrong}: {text}");
    }
    assert_eq!(world.fake.created().len(), 2);
    world.end().await;
}

#[tokio::test]
async fn a_misspelt_argument_is_pointed_out() {
    let mut world = World::new().await;
    let made = world
        .client
        .ok(
            "create_session",
            json!({ "strict_permissions": true, "random_string": "x" }),
        )
        .await;
    let warnings = made["warnings"].to_string();
    assert!(
        warnings.contains("did you mean `strictPermissions`?") && warnings.contains("random_string"),
        "{warnings}"
    );
    world.end().await;
}

#[tokio::test]
async fn a_failure_of_the_engine_reaches_the_client_with_its_code_and_hint() {
    let mut world = World::new().await;
    let error = Error::new(ErrorKind::ImageNotFound, "create the session", "no such image")
        .with_context("image", "x:1")
        .with_hint("check the spelling")
        .with_source(std::io::Error::other("registry said secret things"));
    world.fake.fail("create", error);
    let text = world
        .client
        .err("create_session", json!({ "image": "x:1" }))
        .await;
    assert_eq!(
        text,
        "image_not_found: could not create the session: no such image (image: x:1)\nhint: check the spelling"
    );
    let refused = Error::new(ErrorKind::WorkspaceNotWritable, "create the session", "not yours")
        .with_hint("use --copy");
    world.fake.fail("create", refused);
    let text = world.client.err("create_session", json!({})).await;
    assert!(
        text.contains("workspace: \"copy\"") && !text.contains("--copy"),
        "{text}"
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_creation_that_takes_too_long_leaves_nothing() {
    let mut world = World::new().await;
    world.fake.slow("create", Duration::from_secs(60));
    let text = world
        .client
        .err("create_session", json!({ "timeoutSeconds": 5 }))
        .await;
    assert!(
        text.starts_with("limit_exceeded") && text.contains("timeoutSeconds"),
        "{text}"
    );
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(world.fake.count("destroy"), 1);
    assert!(world.fake.alive().is_empty());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_creation_under_a_key_can_be_waited_for_again() {
    let mut world = World::new().await;
    world.fake.slow("create", Duration::from_secs(60));
    let arguments = json!({ "timeoutSeconds": 5, "idempotencyKey": "k" });
    let text = world.client.err("create_session", arguments.clone()).await;
    assert!(text.contains("same idempotencyKey"), "{text}");
    tokio::time::sleep(Duration::from_secs(120)).await;
    world.fake.slow("create", Duration::ZERO);
    let made = world.client.ok("create_session", arguments).await;
    assert_eq!(
        world.fake.alive(),
        [made["sessionId"].as_str().unwrap().parse().unwrap()]
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_creation_is_put_away() {
    let mut world = World::new().await;
    world.fake.slow("create", Duration::from_secs(60));
    let id = world.client.begin("create_session", json!({})).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.client.take_back(id).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(world.fake.alive().is_empty());
    assert_eq!(world.fake.count("destroy"), 1);
    world.client.ok("list_sessions", json!({})).await;
    world.end().await;
}

#[tokio::test]
async fn sessions_are_listed_filtered_and_paged() {
    let mut world = World::new().await;
    let empty = world.client.ok("list_sessions", json!({})).await;
    assert_eq!(
        (&empty["sessions"], empty["note"].is_string()),
        (&json!([]), true)
    );
    for index in 0..5 {
        let team = if index % 2 == 0 { "even" } else { "odd" };
        world.fake.plant(&[("team", team)]);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let all = world.client.ok("list_sessions", json!({})).await;
    assert_eq!(all["total"], 5);
    let ids: Vec<_> = all["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["sessionId"].clone())
        .collect();

    let (mut paged, mut cursor) = (Vec::new(), json!(null));
    loop {
        let page = world
            .client
            .ok("list_sessions", json!({ "limit": 2, "cursor": cursor }))
            .await;
        paged.extend(
            page["sessions"]
                .as_array()
                .unwrap()
                .iter()
                .map(|s| s["sessionId"].clone()),
        );
        // Sessions that come meanwhile move nothing.
        world.fake.plant(&[("team", "late")]);
        cursor = page["nextCursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(paged, ids);

    let odd = world
        .client
        .ok("list_sessions", json!({ "labels": { "team": "odd" } }))
        .await;
    assert_eq!(odd["total"], 2);
    let first = ids[0].as_str().unwrap().to_owned();
    world.client.destroy(&first).await;
    let gone = world
        .client
        .ok("list_sessions", json!({ "state": "destroyed" }))
        .await;
    assert_eq!(gone["sessions"][0]["sessionId"], first);
    let busy = world.client.ok("list_sessions", json!({ "state": "busy" })).await;
    assert_eq!(busy["total"], 0);
    let text = world
        .client
        .err("list_sessions", json!({ "cursor": "nonsense" }))
        .await;
    assert!(text.contains("cursor"), "{text}");
    world.end().await;
}

#[tokio::test]
async fn a_session_is_seen_closely() {
    let (mut world, id) = World::with_session().await;
    world.fake.next_prompt([says("hm"), Act::Hang]);
    let task = world.client.start(&id, "go").await;
    let seen = world.client.look(&id).await;
    assert_eq!(seen["openTasks"][0], task["taskId"]);
    assert_eq!(seen["workspace"]["kind"], "empty");
    assert_eq!(seen["network"], "sealed");
    let parsed = id.parse().unwrap();
    world.fake.set_state(
        &parsed,
        SessionState::Failed {
            cause: "no disk".into(),
        },
    );
    let seen = world.client.look(&id).await;
    assert_eq!(
        (&seen["state"], &seen["cause"]),
        (&json!("failed"), &json!("no disk"))
    );
    world.end().await;
}

#[tokio::test]
async fn a_session_that_works_is_destroyed_only_by_force() {
    let (mut world, id) = World::with_session().await;
    world.fake.next_prompt([Act::Hang]);
    world.client.start(&id, "go").await;
    let text = world
        .client
        .err("destroy_session", json!({ "sessionId": id }))
        .await;
    assert!(
        text.starts_with("state_conflict") && text.contains("force: true"),
        "{text}"
    );
    assert_eq!(world.fake.count("destroy"), 0);
    let gone = world
        .client
        .ok("destroy_session", json!({ "sessionId": id, "force": true }))
        .await;
    assert_eq!(gone["destroyed"], true);
    // Destroying it again succeeds, and its log stays readable.
    world.client.destroy(&id).await;
    world
        .client
        .ok("get_session_logs", json!({ "sessionId": id }))
        .await;
    world.end().await;
}

#[tokio::test]
async fn sessions_that_nobody_has_are_not_found_everywhere() {
    let mut world = World::new().await;
    let nobody = "00000000-0000-4000-8000-000000000000";
    for (tool, extra) in [
        ("get_session", json!({})),
        ("execute_in_session", json!({ "prompt": "x" })),
        ("execute_command", json!({ "command": "x" })),
        ("destroy_session", json!({})),
        ("get_session_logs", json!({})),
        ("get_session_diff", json!({})),
        ("interrupt_session", json!({})),
        ("resume_session", json!({})),
        ("list_checkpoints", json!({})),
        ("restore_session", json!({})),
        ("start_task", json!({ "command": "x" })),
        ("list_tasks", json!({})),
        (
            "transfer_files",
            json!({ "direction": "from_container", "sourcePath": "a", "destPath": "/srv/x" }),
        ),
    ] {
        let mut arguments = extra;
        arguments["sessionId"] = json!(nobody);
        let text = world.client.err(tool, arguments.clone()).await;
        assert!(
            text.starts_with("not_found") && text.contains("list_sessions"),
            "{tool}: {text}"
        );
        for odd in ["", "../../etc", "'; drop table", "\u{0}"] {
            arguments["sessionId"] = json!(odd);
            let text = world.client.call(tool, arguments.clone()).await;
            // An empty filter is no filter.
            if tool != "list_tasks" || !odd.is_empty() {
                assert_eq!(text["isError"], true, "{tool} {odd:?}: {text}");
            }
        }
    }
    world.end().await;
}

#[tokio::test]
async fn interrupting_says_whether_there_was_something() {
    let (mut world, id) = World::with_session().await;
    let nothing = world
        .client
        .ok("interrupt_session", json!({ "sessionId": id }))
        .await;
    assert_eq!(nothing["interrupted"], false);
    world.fake.next_prompt([Act::Hang]);
    world.client.start(&id, "go").await;
    let something = world
        .client
        .ok("interrupt_session", json!({ "sessionId": id }))
        .await;
    assert_eq!(something["interrupted"], true);
    world.client.prompt(&id, "again").await;
    world.end().await;
}
