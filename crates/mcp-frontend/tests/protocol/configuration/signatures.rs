//! Keys, and artifacts that somebody changed.

use serde_json::{Value, json};

use super::{code, code_with, publish};
use crate::support::operator::Operator;

#[tokio::test]
async fn a_key_stays_unless_another_is_asked_for_and_old_signatures_hold() {
    let operator = Operator::new();
    let mut world = operator.world().await;
    let first = world.client.ok("initialize_keys", json!({})).await;
    assert_eq!(first["is_new"], true);
    let published = publish(&mut world).await;
    assert_eq!(published["signing_key_id"], first["signing_key_id"]);
    for arguments in [
        json!({}),
        json!({ "overwrite": false }),
        json!({ "overwrite": null }),
    ] {
        let same = world.client.ok("initialize_keys", arguments).await;
        assert_eq!(
            (&same["is_new"], &same["public_key"]),
            (&json!(false), &first["public_key"])
        );
        assert!(same["message"].as_str().unwrap().contains("stays"), "{same}");
    }
    let text = world
        .client
        .err("initialize_keys", json!({ "overwrite": "yes" }))
        .await;
    assert!(text.starts_with("invalid_argument: overwrite"), "{text}");
    let other = world
        .client
        .ok("initialize_keys", json!({ "overwrite": true }))
        .await;
    assert_eq!(other["is_new"], true);
    assert_ne!(other["signing_key_id"], first["signing_key_id"]);
    assert!(
        other["message"].as_str().unwrap().contains("still holds"),
        "{other}"
    );
    let read = world.client.ok("get_config", code()).await;
    assert_eq!(
        (&read["verified"], &read["signing_key_id"]),
        (&json!(true), &first["signing_key_id"])
    );
    world.client.ok("add_server_to_config", code_with("docs")).await;
    assert_eq!(
        publish(&mut world).await["signing_key_id"],
        other["signing_key_id"]
    );
    world.end().await;
}

#[tokio::test]
async fn an_artifact_that_somebody_changed_is_neither_shown_nor_deployed() {
    let operator = Operator::new();
    let mut world = operator.world().await;
    let whose = code();
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
    let whose = code();
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
