//! From a declaration to a client's file, and back.

use serde_json::{Value, json};
use session_core::error::{Error, ErrorKind};

use super::{CODE, code, code_with, names, publish};
use crate::support::operator::{Operator, SERVERS};

#[tokio::test]
async fn a_configuration_goes_from_a_declaration_to_a_clients_file() {
    let operator = Operator::new();
    let mut world = operator.world().await;
    let client = &mut world.client;
    let clients = client.ok("list_clients", json!({})).await;
    assert_eq!(
        clients["clients"][0],
        json!({ "client_id": "claude-code", "title": "Claude Code", "deployable": true })
    );
    let available = client.ok("list_available_servers", json!({})).await;
    assert_eq!(
        names(&available["servers"], "server_id"),
        ["boxed", "docs", "git", "off"]
    );

    let draft = client.ok("view_draft_config", code()).await;
    assert_eq!(
        (&draft["draft"], names(&draft["servers"], "server_id")),
        (&json!(false), vec!["git".into()])
    );
    let unknown = client.ok("diff_config", code()).await;
    assert_eq!(
        (&unknown["status"], &unknown["artifact_id"]),
        (&json!("unknown"), &Value::Null)
    );

    let draft = client.ok("add_server_to_config", code_with("docs")).await;
    assert_eq!(names(&draft["servers"], "server_id"), ["git", "docs"]);
    assert_eq!(
        (&draft["draft"], &draft["profile_id"]),
        (&json!(true), &json!("default"))
    );
    let judged = client.ok("validate_config", code()).await;
    assert_eq!(
        (&judged["valid"], &judged["problems"]),
        (&json!(true), &json!([]))
    );

    let arguments = json!({ "client_id": CODE, "note": "for the release" });
    let published = client.ok("publish_config", arguments).await;
    assert_eq!(published["changed"], true);
    assert_eq!(published["configuration"], judged["configuration"]);
    let id = published["artifact_id"].as_str().unwrap();
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    let current = client.ok("diff_config", code()).await;
    assert_eq!(
        (&current["status"], &current["changes"]),
        (&json!("up-to-date"), &json!([]))
    );

    let read = client.ok("get_config", code()).await;
    for field in [
        "artifact_id",
        "client_id",
        "profile_id",
        "created_at",
        "payload",
        "signature",
        "signing_key_id",
        "metadata",
    ] {
        assert!(!read[field].is_null(), "{field}: {read}");
        assert_eq!(read[field], published[field], "{field}");
    }
    assert_eq!(
        (&read["verified"], &read["metadata"]["note"]),
        (&json!(true), &json!("for the release"))
    );
    assert_eq!(read["servers"], json!(["docs", "git"]));
    assert_eq!(
        read["payload"]["configuration"]["servers"]["git"]["env"]["GIT_PAT"],
        json!({ "secret": "env" })
    );

    let deployed = client.ok("deploy_config", code()).await;
    assert_eq!(
        (
            &deployed["path"],
            &deployed["entry"],
            &deployed["changed"],
            &deployed["backup"]
        ),
        (
            &json!("/home/u/.claude.json"),
            &json!("cofferdam-tools"),
            &json!(true),
            &json!("/home/u/backup")
        )
    );
    assert!(deployed["warnings"].is_null(), "{deployed}");
    let again = client.ok("deploy_config", code()).await;
    assert_eq!(
        (&again["changed"], &again["backup"]),
        (&json!(false), &Value::Null)
    );
    let told = format!("claude-code default {id}");
    assert_eq!(*operator.deployer.deployed.lock().unwrap(), [told.clone(), told]);

    let profiles = client.ok("list_profiles", code()).await;
    assert_eq!(
        profiles["profiles"],
        json!([
            { "profile_id": "default", "declared": true, "draft": true, "artifact_id": id },
            { "profile_id": "team", "declared": true, "draft": false },
        ])
    );
    world.end().await;
}

#[tokio::test]
async fn a_difference_says_what_and_to_what() {
    let operator = Operator::new();
    let mut world = operator.world().await;
    let first = publish(&mut world).await;
    world.client.ok("add_server_to_config", code_with("docs")).await;
    let changed = SERVERS.replace("\"/srv/repo\"", "\"/srv/other\"");
    operator.declare(&changed);
    let drift = world.client.ok("diff_config", code()).await;
    assert_eq!(drift["status"], "outdated");
    assert_eq!(
        drift["changes"],
        json!([
            { "server_id": "docs", "change": "added" },
            { "server_id": "git", "change": "changed", "fields": ["args"] },
        ])
    );
    let outdated = world.client.ok("deploy_config", code()).await;
    assert!(
        outdated["warnings"].to_string().contains("diff_config"),
        "{outdated}"
    );

    assert_eq!(drift["deployed"], Value::Null);
    let drift = world.client.ok("diff_config", code()).await;
    assert_eq!(
        drift["deployed"], first["artifact_id"],
        "the client's file is looked at"
    );

    let second = publish(&mut world).await;
    let drift = world.client.ok("diff_config", code()).await;
    assert_eq!(
        (&drift["status"], &drift["deployed"]),
        (&json!("diverged"), &first["artifact_id"])
    );
    assert_ne!(first["artifact_id"], second["artifact_id"]);
    let fresh = world.client.ok("deploy_config", code()).await;
    assert!(fresh["warnings"].is_null(), "{fresh}");
    // What is deployed may be named by its artifact, or as sessions name it.
    for (deployed, status) in [
        (&first["artifact_id"], "diverged"),
        (&first["configuration"], "diverged"),
        (&second["artifact_id"], "up-to-date"),
        (&second["configuration"], "up-to-date"),
    ] {
        let arguments = json!({ "client_id": CODE, "deployed": deployed });
        let drift = world.client.ok("diff_config", arguments).await;
        assert_eq!(drift["status"], status, "{deployed}");
    }
    world
        .client
        .ok("remove_server_from_config", code_with("docs"))
        .await;
    let drift = world.client.ok("diff_config", code()).await;
    assert_eq!(
        drift["changes"],
        json!([{ "server_id": "docs", "change": "removed" }])
    );

    let arguments = json!({ "client_id": CODE, "artifact_id": first["artifact_id"] });
    let read = world.client.ok("get_config", arguments).await;
    assert_eq!(read["servers"], json!(["git"]));
    assert_eq!(
        names(&read["others"], "artifact_id"),
        [second["artifact_id"].as_str().unwrap()]
    );
    world.end().await;
}

#[tokio::test]
async fn drafts_are_changed_and_forgotten_per_client_and_profile() {
    let operator = Operator::new();
    let mut world = operator.world().await;
    let client = &mut world.client;
    let mine = json!({ "client_id": "cursor", "profile_id": "mine" });
    let with = |server: &str| json!({ "client_id": "cursor", "profile_id": "mine", "server_id": server });
    let empty = client.ok("view_draft_config", mine.clone()).await;
    assert_eq!((&empty["draft"], &empty["servers"]), (&json!(false), &json!([])));
    assert!(empty["note"].as_str().unwrap().contains("neither"), "{empty}");
    for _ in 0..2 {
        let draft = client.ok("add_server_to_config", with("off")).await;
        assert_eq!(
            draft["servers"],
            json!([{ "server_id": "off", "usable": false }]),
            "twice is once"
        );
    }
    let judged = client.ok("validate_config", mine.clone()).await;
    assert_eq!(judged["valid"], false);
    assert_eq!(
        names(&judged["problems"], "code"),
        ["disabled_server", "no_servers"]
    );
    let text = client.err("publish_config", mine.clone()).await;
    assert!(
        text.starts_with("invalid_argument") && text.contains("no_servers"),
        "{text}"
    );

    let draft = client.ok("add_server_to_config", with("git")).await;
    assert_eq!(draft["servers"][1]["description"], "The history of a repository");
    let draft = client.ok("remove_server_from_config", with("off")).await;
    assert_eq!(names(&draft["servers"], "server_id"), ["git"]);
    assert!(draft["warnings"].is_null(), "{draft}");
    let odd = client.ok("remove_server_from_config", with("docs")).await;
    assert!(odd["warnings"].to_string().contains("was not in it"), "{odd}");
    let other = client.ok("view_draft_config", code()).await;
    assert_eq!(other["draft"], false, "another client's is its own");

    let cleared = client.ok("clear_draft_config", mine.clone()).await;
    assert_eq!(
        (&cleared["cleared"], &cleared["draft"], &cleared["servers"]),
        (&json!(true), &json!(false), &json!([]))
    );
    let again = client.ok("clear_draft_config", mine).await;
    assert_eq!(again["cleared"], false);
    world.end().await;
}

#[tokio::test]
async fn publishing_the_same_again_changes_nothing() {
    let operator = Operator::new();
    let mut world = operator.world().await;
    let (first, second) = (publish(&mut world).await, publish(&mut world).await);
    assert_eq!(
        (&first["changed"], &second["changed"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(first["signature"], second["signature"]);
    let sessions = world
        .client
        .ok("publish_config", json!({ "client_id": "sessions" }))
        .await;
    assert_ne!(
        sessions["artifact_id"], first["artifact_id"],
        "it says for whom it is"
    );
    assert_eq!(sessions["configuration"], first["configuration"]);
    assert!(
        sessions["message"].as_str().unwrap().contains("Sessions"),
        "{sessions}"
    );
    world.end().await;
}

#[tokio::test]
async fn a_deployment_that_fails_says_why() {
    let operator = Operator::new();
    let mut world = operator.world().await;
    let text = world.client.err("deploy_config", code()).await;
    assert!(
        text.starts_with("not_found") && text.contains("hint: publish_config"),
        "{text}"
    );
    publish(&mut world).await;
    let busy = Error::new(
        ErrorKind::Busy,
        "change the client's file",
        "somebody else wrote it meanwhile",
    )
    .with_hint("close the client and try again");
    *operator.deployer.fails.lock().unwrap() = Some(busy);
    let text = world.client.err("deploy_config", code()).await;
    assert!(
        text.starts_with("busy") && text.contains("hint: close the client") && text.contains("retry:"),
        "{text}"
    );
    world
        .client
        .ok("publish_config", json!({ "client_id": "sessions" }))
        .await;
    let text = world
        .client
        .err("deploy_config", json!({ "client_id": "sessions" }))
        .await;
    assert!(
        text.starts_with("invalid_argument: client_id") && text.contains("new sessions"),
        "{text}"
    );
    assert!(operator.deployer.deployed.lock().unwrap().is_empty());
    world.end().await;
}
